"""The file of tokens, and the command that writes it."""

import asyncio
import logging
import stat
import threading
from types import SimpleNamespace

import grpc
import pytest

from serving.errors import SettingError
from serving.security import Security
from serving.security.guard import Guard
from serving.security.tokens import Entry, Token, Tokens, digest, parse
from serving.security.tokens_file import add
from serving.settings import Settings
from serving.telemetry import Telemetry

GOOD = digest("good").hex()
RATE = "requests_per_second must be a number from 0.000001 to 1,000,000,000"
CONCURRENT = "concurrent must be a whole number from 1 to 1,000,000"


def test_a_table_is_a_token():
    """With its limits, or without."""
    text = f"""
        [tokens.mobile]
        sha256 = "{GOOD}"
        requests_per_second = 2
        concurrent = 3
        admin = true
        [tokens.other-1]
        sha256 = "{"0" * 64}"
    """
    first, second = parse(text.encode(), "file")
    assert first == Entry("mobile", digest("good"), 2, 3, admin=True)
    assert second == Entry("other-1", bytes(32))


FAULTS = {
    "no TOML": ("secret secret", r"must be TOML, and is not \(at line 1"),
    "no UTF-8": (b"\xff", "must be TOML"),
    "empty": ("", r"must have tables \[tokens.NAME\] and nothing else"),
    "another table": (f'[tokens.a]\nsha256="{GOOD}"\n[other]\n', "and nothing else"),
    "no table": ("tokens = 1", "and nothing else"),
    "a name with blanks": (f'[tokens."a b"]\nsha256="{GOOD}"', "names of tokens must be up to 64 letters"),
    "no hash": ("[tokens.a]\n", r"\[tokens.a\] must have sha256, the 64 hexadecimal digits"),
    "the token itself": ('[tokens.a]\nsha256="secret"', "must have sha256, the 64 hexadecimal digits"),
    "another key": (f'[tokens.a]\nsha256="{GOOD}"\nsecret=1', "must have no other keys than sha256, req"),
    "a text": (f'[tokens.a]\nsha256="{GOOD}"\nrequests_per_second="1"', RATE),
    "no requests": (f'[tokens.a]\nsha256="{GOOD}"\nrequests_per_second=0', RATE),
    "hardly any": (f'[tokens.a]\nsha256="{GOOD}"\nrequests_per_second=1e-320', RATE),
    "nan": (f'[tokens.a]\nsha256="{GOOD}"\nrequests_per_second=nan', RATE),
    "inf": (f'[tokens.a]\nsha256="{GOOD}"\nrequests_per_second=inf', RATE),
    "400 digits": (f'[tokens.a]\nsha256="{GOOD}"\nrequests_per_second={"9" * 400}', RATE),
    "5,000 digits": (f'[tokens.a]\nsha256="{GOOD}"\nrequests_per_second={"9" * 5000}', "must be TOML"),
    "deep": (f"a = {'[' * 10_000}", "must be TOML"),
    "half a call": (f'[tokens.a]\nsha256="{GOOD}"\nconcurrent=1.5', CONCURRENT),
    "no calls": (f'[tokens.a]\nsha256="{GOOD}"\nconcurrent=0', CONCURRENT),
    "all calls": (f'[tokens.a]\nsha256="{GOOD}"\nconcurrent=1000001', CONCURRENT),
    "admin 1": (f'[tokens.a]\nsha256="{GOOD}"\nadmin=1', "admin must be true or false"),
    "the same twice": (
        f'[tokens.a]\nsha256="{GOOD}"\n[tokens.b]\nsha256="{GOOD.upper()}"',
        "must have each sha256 once; a and b have the same",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_is_wrong_is_refused(name):
    """One sentence tells what must hold, and quotes nothing of the file."""
    text, reason = FAULTS[name]
    with pytest.raises(SettingError, match=reason) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), "file")
    assert "secret" not in str(caught.value)
    assert GOOD not in str(caught.value)


def test_a_file_without_tokens_is_refused_at_the_start(tmp_path):
    """Nobody could call; the sentence says how to make one."""
    (tmp_path / "tokens.toml").write_text("[tokens]\n")
    with pytest.raises(SettingError, match="ordinal-serving token NAME --file"):
        Tokens(str(tmp_path / "tokens.toml"))
    with pytest.raises(SettingError, match=r"--tokens: cannot read .*No such file"):
        Tokens(str(tmp_path / "missing.toml"))


def test_tokens_come_and_go_with_the_file(tmp_path):
    """What is gone is valid no longer, what has come is, and what was counted stays with the rest."""
    path = tmp_path / "tokens.toml"
    kept, gone = add(path, "kept", requests_per_second=1), add(path, "gone")
    tokens = Tokens(str(path))
    first, second = tokens.find(kept), tokens.find(gone)
    first.take()
    add(path, "gone", replace=True)
    new = add(path, "new")
    assert tokens.look() == ""  # it must stand still for one look
    assert tokens.look() == f"{path} was read again: 3 tokens; new: ['gone', 'new']; no longer: ['gone']"
    assert tokens.look() == ""
    assert tokens.find(kept) is first
    assert first.wait() > 0.5
    assert not second.valid
    assert tokens.find(gone) is None
    assert tokens.find(new).entry.name == "new"


def test_a_file_that_has_become_wrong_changes_nothing(tmp_path):
    """It is told once, and the tokens before stay, also where the file is gone."""
    path = tmp_path / "tokens.toml"
    good = add(path, "good")
    tokens = Tokens(str(path))
    for wrong in ("nothing", None):
        path.unlink() if wrong is None else path.write_text(wrong)
        assert tokens.look() == ""
        with pytest.raises(SettingError):
            tokens.look()
        assert tokens.look() == ""
        assert tokens.find(good).valid


def test_limits_change_with_the_file(tmp_path):
    """A token keeps what it has used."""
    path = tmp_path / "tokens.toml"
    good = add(path, "good")
    tokens = Tokens(str(path))
    token = tokens.find(good)
    token.handlers["method"] = None
    path.write_text(path.read_text() + "concurrent = 1\n")
    tokens.look()
    tokens.look()
    assert (token.entry.concurrent, token.handlers, token.valid) == (1, {}, True)


def test_a_rate_that_comes_later_counts_from_then_on(tmp_path):
    """What was asked without one, or by another, does not lock a token out."""
    path = tmp_path / "tokens.toml"
    good = add(path, "good")
    text = path.read_text()
    tokens = Tokens(str(path))
    token = tokens.find(good)
    for rate, burst in ((5, 5), (20, 20), (0.5, 1)):
        for _ in range(10_000):
            token.take()
        path.write_text(f"{text}requests_per_second = {rate}\n")
        tokens.look()
        tokens.look()
        for _ in range(burst):
            assert token.wait() == 0.0
            token.take()
        assert token.wait() > 0.0


def test_limits_that_change_while_a_handler_is_made():
    """What was made of the old ones is not kept."""
    old, new = Entry("a", bytes(32)), Entry("a", bytes(32), concurrent=1)
    token = Token(old)

    class Found(grpc.GenericRpcHandler):
        def service(self, _):
            return grpc.unary_unary_rpc_method_handler(None)

    class Handlers(dict):
        def get(self, _):
            token.change(new)  # as the thread does that has read the file

    token.handlers = Handlers()
    guard = Guard([Found()], SimpleNamespace(find=lambda _: token), Telemetry())
    details = SimpleNamespace(method="/a/b", invocation_metadata=(("authorization", "Bearer x"),))
    guard.service(details)
    assert token.handlers == {}
    assert guard.service(details).request_streaming  # counted, so that it is read by the guard


@pytest.mark.parametrize("error", [RuntimeError("secret"), OSError("no room"), SettingError("wrong")])
def test_looks_go_on_whatever_is_in_a_file(tmp_path, monkeypatch, caplog, error):
    """The log tells of it, and what has changed later is taken in."""
    monkeypatch.setattr("serving.security._LOOK", 0.01)
    add(tmp_path / "tokens.toml", "good")
    security = Security(Settings(tokens=str(tmp_path / "tokens.toml")))
    looks = iter([error, error, "taken"])

    def look():
        found = next(looks, "")
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(security.tokens, "look", look)

    async def run():
        looking = asyncio.create_task(security.keep_looking())
        async with asyncio.timeout(10):
            while "taken" not in caplog.text:
                await asyncio.sleep(0.01)
        looking.cancel()

    caplog.set_level(logging.INFO)
    asyncio.run(run())
    assert caplog.text.count("what was read before stays in use") == 2
    assert "secret" not in caplog.text


def test_what_was_sent_is_looked_up_whole(tmp_path):
    """Neither a part of a token, nor more than one, nor anything that is very long is found."""
    path = tmp_path / "tokens.toml"
    good = add(path, "good")
    tokens = Tokens(str(path))
    assert tokens.find(good).entry.name == "good"
    for sent in ("", good[:-1], good + "x", f" {good}", good * 1000, digest(good).hex(), "\udcff", "ä"):
        assert tokens.find(sent) is None


def test_the_file_has_hashes_only_and_is_its_owners(tmp_path):
    """Made anew it may be read by nobody else, and no token is in it."""
    path = tmp_path / "tokens.toml"
    made = [add(path, "a", requests_per_second=0.5, concurrent=2, admin=True), add(path, "b")]
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any(token in text for token in made)
    assert [entry.name for entry in parse(text.encode(), "")] == ["a", "b"]
    assert parse(text.encode(), "")[0] == Entry("a", digest(made[0]), 0.5, 2, admin=True)
    assert len(set(made)) == 2
    assert all(len(token) > 43 for token in made)
    assert [one.name for one in tmp_path.iterdir()] == ["tokens.toml"]


@pytest.mark.parametrize(
    ("mode", "kept"), [(0o640, 0o640), (0o600, 0o600), (0o440, 0o440), (0o666, 0o640), (0o4755, 0o640)]
)
def test_the_mode_of_a_file_that_is_there_is_kept(tmp_path, mode, kept):
    """So that a service of its group goes on reading it; others may not, and nobody may run it."""
    path = tmp_path / "tokens.toml"
    add(path, "a")
    path.chmod(mode)
    add(path, "b")
    assert stat.S_IMODE(path.stat().st_mode) == kept


def test_a_token_is_replaced_only_when_asked_to(tmp_path):
    """Its table alone is another then; comments and the rest of the file stay."""
    path = tmp_path / "tokens.toml"
    first = add(path, "a", concurrent=7)
    add(path, "b")
    path.write_text("# kept\n" + path.read_text())
    with pytest.raises(SettingError, match="has a token a already: take another name, or --replace it"):
        add(path, "a")
    second = add(path, "a", replace=True)
    text = path.read_text()
    assert text.startswith("# kept\n")
    entries = {entry.name: entry for entry in parse(text.encode(), "")}
    assert entries["a"] == Entry("a", digest(second))
    assert "b" in entries
    assert digest(first).hex() not in text


def test_a_file_in_another_style_is_left_alone(tmp_path):
    """What this command cannot replace is told, and nothing is lost."""
    path = tmp_path / "tokens.toml"
    path.write_text(f'tokens = {{ a = {{ sha256 = "{GOOD}" }} }}\n')
    before = path.read_text()
    with pytest.raises(SettingError, match="must be TOML, and is not"):
        add(path, "a", replace=True)
    assert path.read_text() == before


def test_many_may_add_at_once(tmp_path):
    """None of the tokens gets lost."""
    path = tmp_path / "tokens.toml"
    threads = [threading.Thread(target=add, args=(path, f"t{number}")) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(parse(path.read_bytes(), "")) == 20


def test_a_link_to_the_file_stays_one(tmp_path):
    """The file that it points to is replaced."""
    (tmp_path / "link.toml").symlink_to(tmp_path / "tokens.toml")
    add(tmp_path / "link.toml", "a")
    assert (tmp_path / "link.toml").is_symlink()
    assert (tmp_path / "tokens.toml").exists()


def test_the_command_prints_the_token_once(tmp_path, capsys):
    """Alone on standard output, so that it can be put elsewhere by a pipe."""
    from serving.__main__ import main

    path = tmp_path / "tokens.toml"
    for arguments in (["a", "--requests-per-second", "5", "--concurrent", "2", "--admin"], ["b"]):
        with pytest.raises(SystemExit) as ended:
            main(["token", *arguments, "--file", str(path)])
        assert ended.value.code == 0
    printed = capsys.readouterr()
    first, second = printed.out.splitlines()
    assert [entry.sha256 for entry in parse(path.read_bytes(), "")] == [digest(first), digest(second)]
    assert "token a is in" in printed.err
    assert first not in printed.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["a b"], "NAME must be up to 64 letters, digits, - and _, got 'a b'"),
        (["a", "--requests-per-second", "0"], RATE),
        (["a", "--requests-per-second", "1e400"], RATE),
        (
            ["a", "--file", "/nowhere/tokens.toml"],
            "--file: cannot write /nowhere/tokens.toml: No such file",
        ),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, capsys, arguments, reason):
    """In one sentence, with exit status 2; nothing is written."""
    from serving.__main__ import main

    with pytest.raises(SystemExit) as ended:
        main(["token", "--file", str(tmp_path / "tokens.toml"), *arguments])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert reason in printed.err
    assert (printed.err.count("\n"), printed.out) == (1, "")
    assert list(tmp_path.iterdir()) == []
