"""One look at a real MLflow registry in SQLite: what is found, copied, checked and refused."""

import os
import shutil
from unittest import mock

import mlflow
import pytest
import yaml

from serving.registry import Registry
from serving.registry_address import shown
from serving.resolve import Findings
from serving.seal import check_seal

from .registries import sqlite_store

pytestmark = pytest.mark.slow  # real processes, and seconds of load

CHAMPION = "models:/wine@champion"


@pytest.fixture(scope="module")
def store(tmp_path_factory, make):
    """A registry with versions 1 and 2 of `wine`, and `beer` without any."""
    folder = tmp_path_factory.mktemp("registry")
    with mock.patch.dict(os.environ):
        store = sqlite_store(folder)
        for seed in (1, 2):
            store.add(make(folder / f"{seed}.onnx", seed=seed).path)
        store.client.create_registered_model("beer")
        yield store
        mlflow.set_tracking_uri(None)


@pytest.fixture(autouse=True)
def pointing(store):
    """Aliases as every test finds them."""
    store.point("champion", "2")
    store.point("newest", "2")


@pytest.fixture
def registry(store, tmp_path):
    """The registry, with an empty cache."""
    return Registry(store.uri, tmp_path / "cache")


def problem(registry, model=CHAMPION):
    """Look, and return what is wrong with a model that has no file."""
    findings = registry.look([model])
    assert not findings.found
    return findings.problems[model]


def test_aliases_and_versions_become_copies_on_this_machine(registry, store, tmp_path):
    """A copy holds without the store's file; an alias brings all that point to its version."""
    findings = registry.look([CHAMPION, "models:/wine/1"])
    champion, first = findings.found[CHAMPION], findings.found["models:/wine/1"]
    assert (champion.name, champion.version, champion.aliases) == ("wine", "2", ("champion", "newest"))
    assert (first.name, first.version, first.aliases) == ("wine", "1", ())
    for one in (champion, first):
        assert tmp_path / "cache" in one.path.parents
        assert one.path.read_bytes() == store.file(one.version).read_bytes()
        assert check_seal(one.path) == one.digest
    assert findings.problems == {}
    assert Findings.from_line(findings.as_line().encode()) == findings
    away = store.file("2").rename(tmp_path / "away")
    try:
        assert registry.look([CHAMPION, "models:/wine/1"]) == findings
    finally:
        away.rename(store.file("2"))
    assert list(tmp_path.glob("cache/registries/*/unfinished/*")) == []


def test_a_copy_that_is_gone_or_damaged_is_made_anew(registry):
    """What is reported is whole, whatever happened to the cache."""
    found = registry.look([CHAMPION]).found
    path = found[CHAMPION].path
    path.write_bytes(path.read_bytes()[:-1])
    assert registry.look([CHAMPION]).found == found
    path.unlink()
    assert registry.look([CHAMPION]).found == found
    assert check_seal(path) == found[CHAMPION].digest


def test_an_alias_that_moved_is_another_version(registry, store):
    """The next look has its file; going back needs no second copy."""
    before = registry.look([CHAMPION]).found[CHAMPION]
    made = before.path.stat().st_ino
    store.point("champion", "1")
    after = registry.look([CHAMPION]).found[CHAMPION]
    assert (after.version, after.aliases) == ("1", ("champion",))
    assert after.digest != before.digest
    store.point("champion", "2")
    assert registry.look([CHAMPION]).found[CHAMPION] == before
    assert before.path.stat().st_ino == made


UNKNOWN = {
    "models:/whine/1": "no model 'whine' is registered; there are ['beer', 'wine']",
    "models:/wine/99": "model 'wine' has no version 99; there are [1, 2",
    "models:/wine@best": "model 'wine' has no alias 'best'; there are ['champion', 'newest']",
    "models:/beer/1": "model 'beer' has no version 1; there are []",
}


def test_unknown_names_are_told_with_the_known_ones(registry):
    """One sentence for each says what the registry has instead, and the others are found all the same."""
    findings = registry.look([*UNKNOWN, CHAMPION])
    assert list(findings.found) == [CHAMPION]
    assert {one.kind for one in findings.problems.values()} == {"registry"}
    for model, text in UNKNOWN.items():
        assert findings.problems[model].text.startswith(text)


def test_a_damaged_version_is_refused_until_asked_again(registry, store, make, tmp_path):
    """Its file is not fetched at each look, but it is when somebody asks to look."""
    version = store.add(make(tmp_path / "3.onnx", seed=3).path)
    store.point("champion", version)
    file = store.file(version)
    whole = file.read_bytes()
    file.write_bytes(whole[:-7] + b"changed")
    assert problem(registry).kind == "artifact"
    refused = (
        f"models:/wine/{version}: the content does not agree with its seal: changed or cut short after"
    )
    assert problem(registry).text.startswith(refused)
    file.write_bytes(whole)
    assert problem(registry).kind == "artifact"
    registry.forget_refusals()
    assert registry.look([CHAMPION]).found[CHAMPION].version == version


def test_another_file_than_was_registered_is_refused(registry, store, make, tmp_path):
    """A whole artifact in the place of another does not agree with the seal that the version was given."""
    path = make(tmp_path / "4.onnx", seed=4).path
    version = store.add(path, **{"ordinal.sha256": check_seal(path)})
    store.point("champion", version)
    original = store.file(version).read_bytes()
    store.file(version).write_bytes(make(tmp_path / "5.onnx", seed=5).path.read_bytes())
    assert problem(registry).kind == "artifact"
    assert "its file is whole, but not the one that was registered" in problem(registry).text
    store.file(version).write_bytes(original)
    registry.forget_refusals()
    assert registry.look([CHAMPION]).found[CHAMPION].digest == check_seal(path)


def test_a_model_of_another_kind_is_refused(registry, store, make, tmp_path):
    """A version that `mlflow.onnx` has not made says so."""
    version = store.add(make(tmp_path / "6.onnx", seed=6).path)
    store.point("champion", version)
    described = store.files(version) / "MLmodel"
    content = yaml.safe_load(described.read_text())
    del content["flavors"]["onnx"]
    described.write_text(yaml.safe_dump(content))
    assert problem(registry).kind == "registry"
    assert problem(registry).text.startswith(f"models:/wine/{version} is not an ONNX model")


def test_a_store_without_its_files_is_out_of_reach(registry, store, make, tmp_path):
    """A share that is not mounted may come back: the alias may still be what it was."""
    version = store.add(make(tmp_path / "7.onnx", seed=7).path)
    store.point("champion", version)
    shutil.rmtree(store.files(version))
    assert problem(registry).kind == "unreachable"
    assert problem(registry).text.startswith(f"models:/wine/{version}: its files are gone")


def test_a_model_that_was_made_anew_numbers_its_versions_anew(registry, store, make, tmp_path):
    """Version 1 of a model that was deleted and registered again is another file, and is fetched."""
    ale = "models:/ale@champion"
    for seed in (8, 9):
        path = make(tmp_path / f"{seed}.onnx", seed=seed).path
        store.point("champion", store.add(path, "ale"), "ale")
        found = registry.look([ale]).found[ale]
        assert (found.version, found.digest) == ("1", check_seal(path))
        store.client.delete_registered_model("ale")


def test_a_registry_that_is_away_is_asked_once_a_look(registry, store, tmp_path):
    """Every alias has the same problem; copies of versions are found without it."""
    models = [CHAMPION, "models:/wine@newest", "models:/wine/1"]
    registry.look(models)
    away = store.database.rename(tmp_path / "away.db")
    try:
        with mock.patch.object(registry, "_ask_for", wraps=registry._ask_for) as asked:
            findings = registry.look(models)
        assert asked.call_count == 1
        assert list(findings.found) == ["models:/wine/1"]
        assert {one.kind for one in findings.problems.values()} == {"unreachable"}
        assert not store.database.exists()
    finally:
        away.rename(store.database)
    assert set(registry.look(models).found) == set(models)


def test_a_cache_that_cannot_be_made_is_told(store, tmp_path):
    """The sentence names the folder and the setting."""
    (tmp_path / "cache").write_text("not a folder")
    found = problem(Registry(store.uri, tmp_path / "cache"))
    assert found.kind == "registry"
    assert "cannot be written (Not a directory): set --cache to one that can" in found.text


def test_an_alias_that_cannot_be_noted_is_found_all_the_same(registry, tmp_path):
    """Only a start without the registry would miss the record."""
    found = registry.look([CHAMPION]).found
    (aliases,) = tmp_path.glob("cache/registries/*/wine/aliases")
    shutil.rmtree(aliases)
    aliases.write_text("not a folder")
    findings = registry.look([CHAMPION])
    assert findings.found == found
    assert "a start while the registry is away would not know" in findings.problems[CHAMPION].text


def test_passwords_are_not_shown():
    """The address of a database may hold one."""
    assert shown("postgresql://me:secret@db:5432/mlflow") == "postgresql://me:…@db:5432/mlflow"
    assert shown("http://mlflow:5000") == "http://mlflow:5000"
