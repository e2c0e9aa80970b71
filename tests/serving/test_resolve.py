"""MODEL arguments, one by one and once: paths, versions and aliases."""

import asyncio
import os
from unittest import mock

import mlflow
import pytest

from serving import resolve
from serving.client import Client
from serving.errors import ArtifactError, RegistryError
from serving.resolve import Address, Resolved
from serving.seal import check_seal
from serving.settings import Settings

from .registries import sqlite_store


@pytest.fixture(scope="module")
def store(tmp_path_factory, make):
    """A registry with versions 1 and 2 of `wine`; 2 is the champion."""
    folder = tmp_path_factory.mktemp("registry")
    with mock.patch.dict(os.environ):
        store = sqlite_store(folder)
        for seed in (1, 2):
            store.add(make(folder / f"{seed}.onnx", seed=seed).path)
        for alias in ("champion", "newest"):
            store.point(alias, "2")
        yield store
        mlflow.set_tracking_uri(None)


def look_up(settings, *models):
    """Resolve models to the end."""
    return asyncio.run(resolve.resolve(models, settings))


def test_each_kind_of_model_becomes_a_file(store, wine, tmp_path):
    """In the order asked, each once; what came from the registry is a copy in the cache."""
    settings = Settings(tracking_uri=store.uri, cache=str(tmp_path))
    models = ("models:/wine@champion", str(wine.path), "models:/wine/1", str(wine.path))
    champion, path, first = look_up(settings, *models)
    assert (champion.name, champion.version, champion.aliases) == ("wine", "2", ("champion", "newest"))
    assert (first.name, first.version, first.aliases) == ("wine", "1", ())
    assert path == Resolved(wine.path, "", "0", (), check_seal(wine.path))
    for one in (champion, first):
        assert tmp_path in one.path.parents
        assert one.path.read_bytes() == store.file(one.version).read_bytes()
        assert one.digest == check_seal(one.path)
    away = store.database.rename(tmp_path / "away.db")
    try:
        assert look_up(settings, "models:/wine/1") == [first]
        with pytest.raises(RegistryError, match="no registry at"):
            look_up(settings, "models:/wine@champion")
    finally:
        away.rename(store.database)


def test_a_path_may_have_an_alias(make, tmp_path):
    """Unless there is a file of just that name."""
    (tmp_path / "x@y").mkdir()
    made = make(tmp_path / "x@y" / "z.onnx")
    digest = check_seal(made.path)
    assert look_up(Settings(), f"{made.path}@challenger") == [
        Resolved(made.path, "", "0", ("challenger",), digest)
    ]
    named = made.path.rename(tmp_path / "a.onnx@b")
    assert look_up(Settings(), str(named)) == [Resolved(named, digest=digest)]


def test_a_path_must_be_an_artifact(tmp_path):
    """One that is not there, and one that is something else."""
    with pytest.raises(ArtifactError, match=r"x\.onnx: cannot be read: No such file"):
        look_up(Settings(), str(tmp_path / "x.onnx"))
    (tmp_path / "x.onnx").write_text("x")
    with pytest.raises(ArtifactError, match="no artifact of this product"):
        look_up(Settings(), str(tmp_path / "x.onnx"))


@pytest.mark.slow
def test_what_the_registry_refuses_is_raised(store, tmp_path):
    """In its sentence, which names what there is."""
    settings = Settings(tracking_uri=store.uri, cache=str(tmp_path))
    with pytest.raises(RegistryError, match="model 'wine' has no alias 'best'; there are"):
        look_up(settings, "models:/wine@best")


def test_a_missing_registry_is_not_made_by_looking(tmp_path):
    """A SQLite file that is not there stays away; one that is no registry stays as it is."""
    missing, empty = tmp_path / "no.db", tmp_path / "empty.db"
    empty.touch()
    with pytest.raises(RegistryError, match=r"there is no file .*no\.db; set --tracking-uri"):
        look_up(Settings(tracking_uri=f"sqlite:///{missing}", cache=str(tmp_path)), "models:/wine/1")
    with pytest.raises(RegistryError, match=r"empty\.db is a SQLite file, but no MLflow registry"):
        look_up(Settings(tracking_uri=f"sqlite:///{empty}", cache=str(tmp_path)), "models:/wine/1")
    assert not missing.exists()
    assert empty.stat().st_size == 0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("models:/wine/12", Address("wine", version="12")),
        ("models:/red wine@champion", Address("red wine", alias="champion")),
    ],
)
def test_addresses_are_parsed(text, address):
    """Name and version, or name and alias."""
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    "text",
    ["models:/", "models:/wine", "models:/wine/", "models:/wine/0", "models:/wine/latest", "models:/a/b/1"],
)
def test_other_addresses_are_refused(text):
    """The sentence says what an address looks like."""
    with pytest.raises(RegistryError, match="a registry address is models:/NAME@ALIAS or"):
        Address.parse(text)


@pytest.mark.slow
def test_the_service_starts_from_an_alias(process, store, tmp_path):
    """`serve models:/wine@champion` answers as version 2, under its aliases."""
    service = process("models:/wine@champion", "--tracking-uri", store.uri, "--cache", tmp_path)
    with Client(service.address()) as client:
        assert client.model("wine", "newest").aliases == ("champion", "newest")
        assert client.predict([[0.0] * 4]).version == "2"
    service.popen.terminate()
    assert service.end() == 0
