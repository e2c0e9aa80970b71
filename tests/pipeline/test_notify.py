"""What a run has come to reaches a real web server and a real command, and never harms the run."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from pipeline import notify
from pipeline.config import Config, Notify, load_config, told_of
from pipeline.data import Dataset
from pipeline.errors import InputError, PipelineError
from pipeline.fingerprint import fingerprint
from pipeline.report import tables

if TYPE_CHECKING:
    from pipeline.flow import Retrained

SECRET = "/services/T0/B0/s3cret"


class Webhook:
    """A web server that keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answers: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/json"
                outer.bodies.append(json.loads(body))
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}{SECRET}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """A web server, and no patience between one try and the next."""
    monkeypatch.setattr(notify, "PAUSES", (0.01, 0.01))
    webhook = Webhook()
    yield webhook
    webhook.server.shutdown()
    webhook.server.server_close()


def _result(promoted: bool = True) -> Retrained:
    return cast(
        "Retrained",
        SimpleNamespace(
            run_id="abc",
            tracking_uri="postgresql://user:hidden@host/db",
            model="wine",
            version=5,
            promoted=promoted,
            champion=5 if promoted else 4,
            reasons=["costs 0.25 a row", "and more"],
        ),
    )


def _write(folder: Path, section: str, rest: str = '[data]\nsource = "digits"\n') -> Path:
    path = folder / "wine.toml"
    path.write_text(f'name = "wine"\n{rest}[notify]\n{section}\n', encoding="utf-8")
    return path


def test_a_promotion_is_told(webhook: Webhook, tmp_path: Path) -> None:
    """The webhook gets one JSON object, with a sentence and without the password of the store."""
    path = _write(tmp_path, f'webhook = "{webhook.address}"')
    with notify.watching(path) as ended:
        ended(_result())
    (body,) = webhook.bodies
    assert body.pop("time")
    assert body == {
        "event": "promotion",
        "text": "wine version 5 is the champion: costs 0.25 a row",
        "model": "wine",
        "version": 5,
        "champion": 5,
        "reasons": ["costs 0.25 a row", "and more"],
        "run_id": "abc",
        "tracking_uri": "postgresql://user:…@host/db",
    }


@pytest.mark.parametrize(("on", "told"), [('["failure", "promotion"]', 0), ('["rejection"]', 1)])
def test_a_rejection_is_told_to_those_who_asked(
    webhook: Webhook, tmp_path: Path, on: str, told: int
) -> None:
    """Only what `on` names is told."""
    path = _write(tmp_path, f'webhook = "{webhook.address}"\non = {on}')
    with notify.watching(path) as ended:
        ended(_result(promoted=False))
    assert [body["text"] for body in webhook.bodies] == told * [
        "wine version 5 does not become the champion (version 4 stays): costs 0.25 a row"
    ]


def test_an_error_is_told_and_passes(webhook: Webhook, tmp_path: Path) -> None:
    """A failure names the model and what went wrong; an order to end is none."""
    path = _write(tmp_path, f'webhook = "{webhook.address}"')
    with pytest.raises(PipelineError, match="the disk is full"), notify.watching(path):
        raise PipelineError("the disk is full")
    with pytest.raises(ZeroDivisionError), notify.watching(path):
        raise ZeroDivisionError("by zero")
    with pytest.raises(KeyboardInterrupt), notify.watching(path):
        raise KeyboardInterrupt
    assert [(body["event"], body["text"]) for body in webhook.bodies] == [
        ("failure", "retraining wine has failed: the disk is full"),
        ("failure", "retraining wine has failed: ZeroDivisionError: by zero"),
    ]


def test_a_config_that_is_wrong_elsewhere_still_says_who_is_told(webhook: Webhook, tmp_path: Path) -> None:
    """The section is read by itself where the rest cannot be."""
    path = _write(tmp_path, f'webhook = "{webhook.address}"', "[serach]\nepochs = 3\n")
    with pytest.raises(InputError), notify.watching(path):
        load_config(path)
    (body,) = webhook.bodies
    assert body["text"].startswith("retraining wine has failed: config ")
    assert "did you mean 'search'?" in body["text"]


def test_nobody_is_told_of_what_cannot_be_read(tmp_path: Path) -> None:
    """A file that is missing or no TOML tells nobody, and its name stands for the model."""
    path = tmp_path / "wine.toml"
    assert told_of(path) == ("wine", Notify())
    path.write_text("name = ", encoding="utf-8")
    assert told_of(path) == ("wine", Notify())


def test_a_busy_server_is_tried_three_times(webhook: Webhook) -> None:
    """500 and 429 are tried again, and then it is a warning that names the host and no secret."""
    warnings: list[str] = []
    settings = Notify.model_validate({"webhook": webhook.address})
    webhook.answers = [503, 429]
    notify.send(settings, notify.Event("failure", "it failed", "wine"), warnings.append)
    assert (len(webhook.bodies), warnings) == (3, [])
    webhook.answers = [500, 500, 500]
    notify.send(settings, notify.Event("failure", "it failed", "wine"), warnings.append)
    assert len(webhook.bodies) == 6
    assert warnings == ["notify.webhook was not told of the failure: 127.0.0.1 answers 500"]


def test_a_wrong_address_is_not_tried_again(webhook: Webhook) -> None:
    """404 will not change; nobody at the port is tried again and told."""
    warnings: list[str] = []
    webhook.answers = [404]
    event = notify.Event("failure", "it failed", "wine")
    notify.send(Notify.model_validate({"webhook": webhook.address}), event, warnings.append)
    assert len(webhook.bodies) == 1
    notify.send(Notify.model_validate({"webhook": "http://127.0.0.1:9/s3cret"}), event, warnings.append)
    assert "127.0.0.1 answers 404" in warnings[0]
    assert "Connection refused" in warnings[1]
    assert "s3cret" not in "".join(warnings)


def test_the_address_comes_from_the_environment(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$NAME` is read when something is told; one that is not set is a warning."""
    warnings: list[str] = []
    settings = Notify.model_validate({"webhook": "$WINE_HOOK"})
    event = notify.Event("failure", "it failed", "wine")
    notify.send(settings, event, warnings.append)
    assert warnings == [
        "notify.webhook was not told of the failure: the environment variable WINE_HOOK is not set"
    ]
    monkeypatch.setenv("WINE_HOOK", webhook.address)
    notify.send(settings, event, warnings.append)
    assert [body["text"] for body in webhook.bodies] == ["it failed"]


def test_a_command_is_told(tmp_path: Path) -> None:
    """It reads the same JSON, and finds its parts in the environment."""
    program = (
        "import json, os, sys\n"
        f"json.dump([json.load(sys.stdin), dict(os.environ)], open({str(tmp_path / 'told')!r}, 'w'))"
    )
    settings = Notify.model_validate({"command": [sys.executable, "-c", program]})
    event = notify.Event("promotion", "it is", "wine", 5, 5, ["one", "two"])
    warnings: list[str] = []
    notify.send(settings, event, warnings.append)
    assert warnings == []
    body, environment = json.loads((tmp_path / "told").read_text(encoding="utf-8"))
    assert (body["text"], body["version"]) == ("it is", 5)
    assert environment["ORDINAL_EVENT"] == "promotion"
    assert environment["ORDINAL_TEXT"] == "it is"
    assert environment["ORDINAL_REASONS"] == "one\ntwo"
    assert "ORDINAL_RUN_ID" not in environment  # there is none


@pytest.mark.parametrize(
    ("command", "warning"),
    [
        (["no-such-program"], "no-such-program cannot be run: No such file or directory"),
        (["sh", "-c", "echo no display >&2; exit 3"], "sh ended with status 3: no display"),
        (["sleep", "60"], "sleep did not end within 0.2 s"),
    ],
)
def test_a_command_that_fails_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, command: list[str], warning: str
) -> None:
    """One that is missing, fails or does not end costs the run nothing."""
    monkeypatch.setattr(notify, "SECONDS", 0.2)
    warnings: list[str] = []
    settings = Notify.model_validate({"command": command})
    notify.send(settings, notify.Event("failure", "it failed", "wine"), warnings.append)
    assert warnings == [f"notify.command was not told of the failure: {warning}"]


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ('webhook = "hooks.example/s3cret"', "notify.webhook: must be an http:// or https:// address"),
        ('command = "page s3cret"', "notify.command: must be a list, such as […]"),
        ('webhook = ["https://x/s3cret"]', "notify.webhook: Input should be a valid string"),
        ('on = ["failures"]', "notify.on.0: Input should be 'failure', 'promotion' or 'rejection'"),
        ('url = "https://x"', "[notify] has no key 'url'"),
    ],
)
def test_a_wrong_section_is_one_sentence(tmp_path: Path, section: str, sentence: str) -> None:
    """A mistake names the key; the webhook itself is not shown."""
    with pytest.raises(InputError) as caught:
        load_config(_write(tmp_path, section))
    assert sentence in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_section_that_is_no_table_is_not_shown(tmp_path: Path) -> None:
    """An address where the section belongs is a secret all the same."""
    path = tmp_path / "wine.toml"
    path.write_text('name = "wine"\nnotify = "https://x/s3cret"\ndata.source = "digits"', encoding="utf-8")
    with pytest.raises(InputError, match=r"notify: Input should be a valid dictionary") as caught:
        load_config(path)
    assert "s3cret" not in str(caught.value)


def test_who_is_told_is_no_part_of_a_run(config: Config, data: Dataset) -> None:
    """Neither what a run is a run of, nor its parameters in MLflow, nor what Prefect is given has it."""
    told = config.model_copy(update={"notify": Notify.model_validate({"webhook": "https://x/s3cret"})})
    assert fingerprint(told, data, "") == fingerprint(config, data, "")
    assert tables.parameters(told, data) == tables.parameters(config, data)
    assert "s3cret" not in told.model_dump_json() + repr(told)
