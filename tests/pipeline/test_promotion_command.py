"""`promote`, `rollback` and `history` as commands."""

from __future__ import annotations

import json
import sys

import pytest
from registered import NAME, Store

from pipeline.__main__ import main
from pipeline.tracking import registry


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process, since each of its own would load MLflow anew."""
    monkeypatch.setattr(sys, "argv", ["ordinal-pipeline", *arguments])
    for variable in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(variable, "1")
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_the_champion_is_moved_and_its_history_shown(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three commands after one another, each telling what it did."""
    at = ("--tracking-uri", store.uri)
    assert _run(monkeypatch, "history", NAME, *at) == 0
    assert "the champion of digits was never changed" in capsys.readouterr().err
    assert _run(monkeypatch, "promote", NAME, "1", "--why", "the first", *at) == 0
    assert capsys.readouterr().err == "digits: the champion was none, and is version 1 now\n"
    assert _run(monkeypatch, "promote", NAME, "2", "--why", "new [sensor]", *at) == 0
    assert _run(monkeypatch, "promote", NAME, "2", "--why", "again", *at) == 0
    assert "digits: version 2 is the champion already; nothing is changed" in capsys.readouterr().err
    assert _run(monkeypatch, "rollback", NAME, "--why", "complaints", *at) == 0
    assert capsys.readouterr().err == "digits: the champion was version 2, and is version 1 now\n"
    assert registry.champion(store.uri, NAME) == 1
    assert _run(monkeypatch, "history", NAME, *at) == 0
    table = capsys.readouterr().out
    for text in ("none → 1", "1 → 2", "2 → 1", "rollback", "new [sensor]", "complaints", "finished"):
        assert text in table
    assert _run(monkeypatch, "history", NAME, "--json", *at) == 0
    changes = json.loads(capsys.readouterr().out)
    assert [(one["number"], one["kind"], one["from"], one["to"]) for one in changes] == [
        (1, "promote", None, 1),
        (2, "promote", 1, 2),
        (3, "rollback", 2, 1),
    ]
    assert changes[1]["when"].endswith("+00:00")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("promote", NAME, "9", "--why", "x"), 2, "no version '9' (allowed: 1, 2, 3)"),
        (("promote", "digit", "1", "--why", "x"), 2, "did you mean 'digits'? (allowed: digits)"),
        (("rollback", NAME, "--why", "x"), 2, "no alias 'champion' (allowed: none)"),
        (("history", "digit"), 2, "no model 'digit'; did you mean 'digits'?"),
        (("promote", NAME, "1", "--why", ""), 2, "a change of the champion needs a reason"),
    ],
    ids=["unknown version", "unknown model", "no champion", "no history", "no reason"],
)
def test_what_cannot_be_is_one_sentence(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    """The exit status says whose matter it is, and those that there are are named."""
    assert _run(monkeypatch, *arguments, "--tracking-uri", store.uri) == status
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith("ordinal-pipeline: ")
    assert message in line
    assert shown.out == ""


def test_a_failing_store_is_status_1(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the database says, without a trace."""
    with store.failing("insert on registered_model_aliases"):
        assert _run(monkeypatch, "promote", NAME, "1", "--why", "x", "--tracking-uri", store.uri) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be used: database or disk is full" in line


@pytest.mark.parametrize("command", ["promote", "rollback", "history"])
def test_looking_for_a_registry_makes_none(
    command: str, tmp_path: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A SQLite file that is missing is told."""
    monkeypatch.chdir(str(tmp_path))
    more = {"promote": ("1", "--why", "x"), "rollback": ("--why", "x"), "history": ()}[command]
    assert _run(monkeypatch, command, NAME, *more, "--tracking-uri", "sqlite:///none.db") == 2
    assert "there is no file none.db" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["promote", "rollback", "history"])
def test_help_has_an_example(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And names the options."""
    monkeypatch.setenv("COLUMNS", "100")
    assert _run(monkeypatch, command, "--help") == 0
    shown = capsys.readouterr().out
    assert f"Example: ordinal-pipeline {command} wine" in shown
    assert "--tracking-uri" in shown
