"""`models:/` addresses against a real MLflow registry in SQLite."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from serving import resolve
from serving.client import Client
from serving.errors import RegistryError
from serving.resolve import Address, Resolved
from serving.settings import Settings

REGISTER = """
import sys, logging, mlflow, onnx
from mlflow import MlflowClient
database, artifacts, *files = sys.argv[1:]
mlflow.set_tracking_uri(database)
client = MlflowClient(database)
experiment = client.create_experiment("wine", artifact_location=artifacts)
for file in files:
    with mlflow.start_run(experiment_id=experiment):
        logged = mlflow.onnx.log_model(
            onnx.load(file), name="wine", pip_requirements=["onnx"], save_as_external_data=False
        )
    mlflow.register_model(logged.model_uri, "wine")
client.set_registered_model_alias("wine", "champion", "2")
client.set_registered_model_alias("wine", "newest", "2")
client.create_registered_model("beer")
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory, make):
    """The address of a registry with versions 1 and 2 of `wine`; 2 is the champion."""
    folder = tmp_path_factory.mktemp("registry")
    files = [make(folder / f"{seed}.onnx", seed=seed).path for seed in (1, 2)]
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    artifacts = (folder / "artifacts").as_uri()
    quiet = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-c", REGISTER, uri, artifacts, *map(str, files)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **quiet})
    return uri


def look_up(settings, *models):
    """Resolve models to the end."""
    return asyncio.run(resolve.resolve(models, settings))


def test_alias_and_version_become_files_in_place(registry, tmp_path, make):
    """A local store's files are used where they are; an alias brings all that point to its version."""
    settings = Settings(tracking_uri=registry, cache=str(tmp_path))
    champion, first, path = look_up(settings, "models:/wine@champion", "models:/wine/1", "x.onnx")
    assert (champion.name, champion.version, champion.aliases) == ("wine", "2", ("champion", "newest"))
    assert (first.name, first.version, first.aliases) == ("wine", "1", ())
    assert path == Resolved(Path("x.onnx"), "", "0", ())
    (named,) = look_up(settings, f"{tmp_path}/x@y/z.onnx@challenger")
    assert named == Resolved(Path(f"{tmp_path}/x@y/z.onnx"), "", "0", ("challenger",))
    (tmp_path / "a.onnx@b").touch()
    assert look_up(settings, f"{tmp_path}/a.onnx@b") == [Resolved(tmp_path / "a.onnx@b")]
    expected = make(tmp_path / "2.onnx", seed=2)
    assert onnx.load(champion.path).graph == onnx.load(expected.path).graph
    assert registry.removeprefix("sqlite:///").removesuffix("mlflow.db") in str(champion.path)


@pytest.fixture
def asked(monkeypatch, wine):
    """Replace the registry's process by an answer; return the addresses that it was asked for."""
    asked = []

    async def answer(models, _):
        asked.extend(models)
        return [Resolved(wine.path, "wine", "1") for _ in models]

    monkeypatch.setattr("serving.resolve._ask", answer)
    return asked


def test_a_version_resolved_before_needs_no_registry(tmp_path, asked):
    """The record in the cache answers for a version, never for an alias, which may have moved."""
    settings = Settings(tracking_uri="sqlite:///a.db", cache=str(tmp_path))
    first = look_up(settings, "models:/wine/1")
    assert look_up(settings, "models:/wine/1") == first
    look_up(settings, "models:/wine@champion")
    look_up(settings, "models:/wine@champion")
    assert asked == ["models:/wine/1", "models:/wine@champion", "models:/wine@champion"]


def test_a_record_holds_for_one_registry_and_one_content(tmp_path, asked):
    """Another registry is asked, and so is the same one when the file is not as it was."""
    cache = str(tmp_path)
    look_up(Settings(tracking_uri="sqlite:///a.db", cache=cache), "models:/wine/1")
    (record,) = tmp_path.rglob("record.json")
    look_up(Settings(tracking_uri="sqlite:///b.db", cache=cache), "models:/wine/1")
    assert len(asked) == 2
    record.write_text(json.dumps({**json.loads(record.read_text()), "digest": "0" * 64}))
    look_up(Settings(tracking_uri="sqlite:///a.db", cache=cache), "models:/wine/1")
    assert len(asked) == 3


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path, asked, caplog):
    """Resolving works without a cache, and the log says what that costs."""
    (tmp_path / "cache").write_text("not a folder")
    look_up(Settings(tracking_uri="sqlite:///a.db", cache=str(tmp_path / "cache")), "models:/wine/1")
    assert "the next start asks the registry again" in caplog.text
    assert asked == ["models:/wine/1"]


UNKNOWN = {
    "models:/whine/1": "no model 'whine' is registered; there are ['beer', 'wine']",
    "models:/wine/9": "model 'wine' has no version 9; there are [1, 2]",
    "models:/wine@best": "model 'wine' has no alias 'best'; there are ['champion', 'newest']",
    "models:/beer/1": "model 'beer' has no version 1; there are []",
}

LOOK_UP = """
import sys
from pathlib import Path
from serving import registry
from serving.errors import RegistryError
for text in sys.argv[3:]:
    try:
        registry.look_up([registry.Address.parse(text)], sys.argv[1], Path(sys.argv[2]))
    except RegistryError as error:
        print(error)
"""


def test_unknown_names_are_told_with_the_known_ones(registry, tmp_path):
    """One sentence says what the registry has instead."""
    command = [sys.executable, "-c", LOOK_UP, registry, str(tmp_path), *UNKNOWN]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(UNKNOWN.values())


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


def test_the_service_starts_from_an_alias(process, registry, tmp_path):
    """`serve models:/wine@champion` answers as version 2, under its aliases."""
    service = process("models:/wine@champion", "--tracking-uri", registry, "--cache", tmp_path)
    with Client(service.address()) as client:
        assert client.model("wine", "newest").aliases == ("champion", "newest")
        assert client.predict([[0.0] * 4]).version == "2"
    service.popen.terminate()
    assert service.end() == 0
