"""A file that may not be served is refused at the start, with the reason."""

import json

import pytest

CASES = {
    "missing": "cannot be read: No such file",
    "a folder": "cannot be read: Is a directory",
    "empty": "carries no 'ordinal_sha256' seal",
    "text": "carries no 'ordinal_sha256' seal",
    "unsealed": "carries no 'ordinal_sha256' seal",
    "cut short": "carries no 'ordinal_sha256' seal",
    "first half": "carries no 'ordinal_sha256' seal",
    "changed byte": "does not agree with its seal",
    "unknown schema version": "schema version 99; this version of ordinal understands 1",
    "manifest is no JSON": "manifest: Invalid JSON",
    "missing output": "the graph has no output 'margin'",
    "labels do not fit": "2 labels but 5 values",
    "other input": "its manifest names ['image']",
}


def spoil(case, made, make, folder):
    """Write the bad file of a case; return its path."""
    path = folder / "bad.onnx"
    content = made.path.read_bytes()
    manifest = json.loads(made.manifest.to_json())
    match case:
        case "missing":
            pass
        case "a folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "text":
            path.write_text("hello")
        case "unsealed":
            make(path, sealed=False)
        case "cut short":
            path.write_bytes(content[:-20])
        case "first half":
            path.write_bytes(content[: len(content) // 2])
        case "changed byte":
            path.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
        case "unknown schema version":
            make(path, described=json.dumps({**manifest, "schema_version": 99}))
        case "manifest is no JSON":
            make(path, described="{")
        case "missing output":
            make(path, without_output="margin")
        case "labels do not fit":
            make(path, described=json.dumps({**manifest, "labels": ["a", "b"]}))
        case "other input":
            image = {"name": "image", "dtype": "uint8", "shape": [8, 8, 1], "ranges": [[0, 16]]}
            make(path, described=json.dumps({**manifest, "inputs": [image]}))
    return path


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_refused_with_the_reason(case, wine, make, tmp_path, capsys):
    """Exit status 2 and one sentence that names the file and what is wrong with it."""
    from serving.__main__ import main

    path = spoil(case, wine, make, tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(path), "--port", "0", "--device", "cpu"])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"ordinal-serving: {path}: ")
    assert CASES[case] in said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["/nowhere/x.onnx"], "/nowhere/x.onnx: cannot be read: No such file or directory"),
        (["models:/wine"], "a registry address is models:/NAME@ALIAS or models:/NAME/VERSION"),
        (["models:/wine/latest"], "where VERSION is a number"),
        (
            ["--tracking-uri", "sqlite:////nowhere/m.db", "models:/wine@champion"],
            "there is no file /nowhere/m.db",
        ),
    ],
)
def test_a_bad_start_is_one_sentence_and_status_2(command, arguments, reason):
    """The process of a service that cannot start ends without a traceback."""
    ended = command("serve", "--port", "0", *arguments)
    assert ended.returncode == 2
    assert reason in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_cuda_without_a_gpu_does_not_start(command, wine):
    """`--device cuda` never falls back to the CPU."""
    from pathlib import Path

    if any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg")):
        pytest.skip("this machine has a GPU")
    ended = command("serve", wine.path, "--device", "cuda", "--port", "0")
    assert ended.returncode == 2
    assert "device 'cuda' was asked for, but" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_two_files_of_one_name_are_refused(wine, make, tmp_path):
    """Two different files cannot both be version 0 of a model; the same file twice is one."""
    from serving.errors import ArtifactError
    from serving.repository import load
    from serving.resolve import Resolved

    other = make(tmp_path / "other.onnx", seed=9)
    with pytest.raises(ArtifactError, match="version 0 of 'wine' is already served from"):
        load([Resolved(wine.path), Resolved(other.path)], "cpu")
    assert len(list(load([Resolved(wine.path), Resolved(wine.path)], "cpu"))) == 1
