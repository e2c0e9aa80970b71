"""What stays of a registry on this machine, and what is removed."""

import json
import os
import time
from datetime import UTC, datetime

import pytest

from serving.cache import RegistryCache, Seals, touch
from serving.errors import ArtifactError
from serving.seal import check_seal

DAY = 86_400


@pytest.fixture
def cache(tmp_path):
    """An empty cache."""
    return RegistryCache(tmp_path / "cache", "sqlite:///a.db")


@pytest.fixture
def keep(cache, wine):
    """Keep a version, last used some seconds ago; return its copy."""

    def keep(version, unused=0, made="1"):
        with cache.unfinished() as folder:
            file = folder / "model.onnx"
            file.write_bytes(wine.path.read_bytes())
            copy = cache.keep("wine", version, file, check_seal(file), made)
        used = time.time() - unused
        os.utime(copy.path, (used, used))
        return copy

    return keep


def versions(cache):
    """Numbers of the versions that are there."""
    return [str(n) for n in range(1, 10) if cache.recall("wine", str(n)) is not None]


def test_what_was_kept_is_recalled(cache, keep, tmp_path):
    """For its own registry and model, and under the number that the model then had."""
    copy = keep("3")
    assert cache.recall("wine", "3") == cache.recall("wine", "3", "1") == copy
    assert cache.recall("wine", "3", "2") is None
    assert cache.recall("wine", "4") is None
    assert cache.recall("beer", "3") is None
    assert RegistryCache(tmp_path / "cache", "sqlite:///b.db").recall("wine", "3") is None
    assert RegistryCache(tmp_path / "cache", "sqlite:///a.db").recall("wine", "3") == copy


@pytest.mark.parametrize("record", ["", "[]", '{"file": "x"}', '{"file": 1, "digest": ""}'])
def test_a_broken_record_is_none(cache, keep, record):
    """The registry is asked again."""
    (keep("3").path.parent / "record.json").write_text(record)
    assert cache.recall("wine", "3") is None


def test_a_record_of_another_content_is_none(cache, keep):
    """Whoever puts another artifact there does not make it the version."""
    record = keep("3").path.parent / "record.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "digest": "0" * 64}))
    assert cache.recall("wine", "3") is None


def test_an_alias_is_what_it_was_when_last_asked(cache, tmp_path):
    """Confirming it changes when, moving it changes what."""
    assert cache.recall_alias("wine", "champion") is None
    cache.remember("wine", "champion", "2", ["champion", "newest"])
    (record,) = tmp_path.rglob("champion")
    os.utime(record, (0, 0))
    assert cache.recall_alias("wine", "champion").asked == datetime.fromtimestamp(0, UTC)
    cache.remember("wine", "champion", "2", ["champion", "newest"])
    pointed = cache.recall_alias("wine", "champion")
    assert (pointed.version, pointed.aliases) == ("2", ("champion", "newest"))
    assert (datetime.now(UTC) - pointed.asked).total_seconds() < 60
    cache.remember("wine", "champion", "3", ["champion"])
    assert cache.recall_alias("wine", "champion").version == "3"
    record.write_text("{")
    assert cache.recall_alias("wine", "champion") is None


def test_only_copies_that_nobody_needs_are_removed(cache, keep):
    """Old ones, beyond the five used last, that no alias names and that are not in use."""
    copies = {str(n): keep(str(n), unused=(20 - n) * DAY).path for n in range(1, 10)}
    cache.remember("wine", "champion", "3", ["champion"])
    touch(copies["1"])
    cache.prune("wine", {copies["2"]})
    assert versions(cache) == ["1", "2", "3", "6", "7", "8", "9"]
    assert not copies["4"].parent.exists()


def test_copies_used_within_a_day_stay(cache, keep):
    """However many they are: another service may serve them."""
    for version in range(1, 10):
        keep(str(version), unused=DAY - 60)
    cache.prune("wine", ())
    assert len(versions(cache)) == 9


def test_downloads_that_were_cut_off_are_removed(cache, keep, tmp_path):
    """After a day, when nothing writes there any more."""
    keep("1")
    (unfinished,) = tmp_path.rglob("unfinished")
    (unfinished / "old").mkdir()
    (unfinished / "old" / "model.onnx").touch()
    os.utime(unfinished / "old", (0, 0))
    (unfinished / "new").mkdir()
    cache.prune("wine", ())
    assert [path.name for path in unfinished.iterdir()] == ["new"]


def test_touching_is_no_change(keep):
    """The seal is not checked again for it."""
    path = keep("1", unused=DAY).path
    before = path.stat()
    touch(path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_atime > before.st_atime + DAY / 2
    touch(path.with_name("gone"))


def test_seals_are_read_once_for_each_content(make, tmp_path, monkeypatch):
    """Good and bad ones alike."""
    read = []
    monkeypatch.setattr("serving.cache.check_seal", lambda path: (read.append(path), check_seal(path))[1])
    seals, path = Seals(), tmp_path / "a.onnx"
    with pytest.raises(ArtifactError, match="cannot be read: No such file"):
        seals.digest(path)
    make(path, seed=1)
    first = seals.digest(path)
    assert seals.digest(path) == first
    path.replace(tmp_path / "old.onnx")
    make(path, seed=2)
    assert seals.digest(path) != first
    with path.open("ab") as file:
        file.write(b"more")
    for _ in range(2):
        with pytest.raises(ArtifactError, match="does not agree with its seal"):
            seals.digest(path)
    assert read == [path] * 3
