"""Which version a request means."""

import numpy as np
import pytest

from serving.artifact import Artifact
from serving.entries import Inputs
from serving.errors import ModelNotFound
from serving.policies import profile_rules
from serving.repository import Repository, Served

COST, COVERAGE = np.zeros((1, 1, 5, 5), np.float32), np.array([0.9], np.float32)


@pytest.fixture(scope="module")
def artifact(wine):
    """One artifact that stands for every version."""
    return Artifact(wine.path, "cpu")


@pytest.fixture(scope="module")
def repository_of(artifact):
    """Make a repository of (name, version, aliases)."""

    def repository_of(*entries):
        return Repository(
            Served(
                name,
                version,
                aliases,
                artifact,
                profile_rules(artifact.manifest),
                COST,
                COVERAGE,
                Inputs(artifact.manifest.inputs),
            )
            for name, version, aliases in entries
        )

    return repository_of


@pytest.mark.parametrize(
    ("entries", "model", "version", "found"),
    [
        ([("a", "0", ())], "", "", ("a", "0")),
        ([("a", "0", ())], "a", "0", ("a", "0")),
        ([("a", "3", ("champion",)), ("a", "10", ())], "a", "", ("a", "3")),
        ([("a", "3", ()), ("a", "10", ("champion", "new"))], "", "", ("a", "10")),
        ([("a", "3", ()), ("a", "10", ("champion", "new"))], "a", "new", ("a", "10")),
        ([("a", "3", ()), ("a", "10", ("champion",))], "a", "3", ("a", "3")),
        ([("a", "3", ("challenger",))], "a", "", ("a", "3")),
        ([("a", "3", ()), ("b", "4", ())], "b", "", ("b", "4")),
        ([("a", "3", ()), ("a", "3", ("champion",))], "a", "champion", ("a", "3")),
    ],
)
def test_lookup_finds(repository_of, entries, model, version, found):
    """Empty names mean the only model, and the champion or the only version; aliases work like numbers."""
    served = repository_of(*entries).lookup(model, version)
    assert (served.name, served.version) == found


@pytest.mark.parametrize(
    ("entries", "model", "version", "message"),
    [
        ([("a", "0", ()), ("b", "0", ())], "", "", r"names no model, .* served are \['a', 'b'\]"),
        ([("a", "0", ())], "c", "", r"model 'c' is not served; served are \['a'\]"),
        (
            [("a", "3", ()), ("a", "10", ("new",))],
            "a",
            "",
            r"names no version of 'a', and none of several is its champion; served are versions "
            r"\['3', '10'\] and aliases \['new'\]",
        ),
        ([("a", "3", ())], "a", "champion", r"version 'champion' of 'a' is not served; .* \['3'\]$"),
        ([("a", "3", ())], "a", "4", r"version '4' of 'a' is not served; served are versions \['3'\]"),
        ([], "", "", r"served are \[\]"),
    ],
)
def test_lookup_names_what_is_there(repository_of, entries, model, version, message):
    """What is not served is refused with the names that are."""
    with pytest.raises(ModelNotFound, match=message):
        repository_of(*entries).lookup(model, version)


def test_the_same_version_twice_is_served_once_under_all_its_aliases(repository_of):
    """A number and an alias of one version are one entry."""
    repository = repository_of(("a", "3", ()), ("a", "3", ("champion",)), ("a", "3", ("new",)))
    (served,) = repository
    assert served.aliases == ("champion", "new")
