"""The command `ordinal-serving`, as a shell runs it."""

import json
import re
from dataclasses import fields

import numpy as np
import pytest

from serving.client import Client
from serving.settings import Settings, setting, variable


@pytest.fixture(scope="module")
def rows():
    """Three rows of four features."""
    return np.random.default_rng(3).normal(size=(3, 4))


def test_predict_prints_a_table(command, running, wine, rows, tmp_path):
    """One line a row: most probable label, probability, expected value, each policy's decision."""
    np.save(tmp_path / "rows.npy", rows)
    done = command(
        "predict", "wine", tmp_path / "rows.npy", "--address", running.address, "--policy", "triage"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "wine version 0, CPUExecutionProvider" in done.stdout
    assert "triage: decision (expected cost, margin)" in done.stdout
    for row, probabilities in enumerate(wine.probabilities(rows.astype(np.float32))):
        label = wine.manifest.labels[probabilities.argmax()]
        line = rf"^\s*{row}\s+{label}\s+{probabilities.max():.3f}\s+[\d.]+\s+\w+ … \w+\s+"
        line += r"[\d.]+ \+ [\d.]+\s+\w+ \([\d.]+, [\d.]+\)"
        assert re.search(line, done.stdout, re.MULTILINE)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".json"])
def test_predict_reads_each_format(command, running, wine, rows, tmp_path, suffix):
    """The same rows in each format get the same answers, as JSON on request."""
    path = tmp_path / f"rows{suffix}"
    match suffix:
        case ".npy":
            np.save(path, rows)
        case ".npz":
            np.savez(path, rows=rows, other=rows[:1])
        case ".json":
            path.write_text(json.dumps(rows.tolist()))
    done = command("predict", "wine", path, "--json", "--address", running.address)
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["labels"] == list(wine.manifest.labels)
    np.testing.assert_allclose(
        answer["probabilities"], wine.probabilities(rows.astype(np.float32)), atol=1e-5
    )
    assert set(answer["decisions"]) == {"absolute"}
    assert len(answer["decisions"]["absolute"]["chosen"]) == 3


BAD_FILES = {
    "missing.npy": (None, "no such file"),
    "rows.txt": (
        "1,2",
        "rows are read from .csv, .tsv, .csv.gz, .tsv.gz, .json, .npy and .npz, not from '.txt'",
    ),
    "rows.Parquet": ("PAR1", "not from Parquet; save it as .csv"),
    "rows.json.gz": ("[[1]]", "not from '.gz'"),
    "rows": ("1,2", "not from 'no suffix'"),
    "rows.csv": ("a,b\n1,2", "the model's input 'image' has no features to be named by a header"),
    "text.npy": ("hello", "text.npy: "),
    "broken.json": ("[[1, 2", "broken.json: "),
    "objects.json": ('[{"pixel": 1}]', "the model's input 'image' has no features to be named by objects"),
    "object.json": ('{"pixel": [1]}', 'must hold a list of rows, it holds {"pixel": [1]}'),
    "words.json": ('[["a", "b"]]', "words.json: could not convert"),
    "ragged.json": ("[[1, 2], [3]]", "ragged.json: "),
    "fraction.json": ("[[0.5]]", "'image' is uint8: whole numbers from 0 to 255"),
    "shape.json": ("[[1, 2]]", "tensor.shape: must be [rows, 8, 8, 1], got [1, 2]"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_predict_refuses_a_bad_file(running, tmp_path, capsys, name):
    """A file that is not rows of the model is told in one sentence, with exit status 2."""
    from serving.__main__ import main

    content, reason = BAD_FILES[name]
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SystemExit) as ended:
        main(["predict", "digits", str(tmp_path / name), "--address", running.address])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


HEADER = "acidity,sugar,alcohol,pH\n"
TABLES = {
    "as it is": HEADER + "1,2,3,4\n-0.5,0,1e-1,2\n",
    "another order": "pH,sugar,acidity,alcohol\n4,2,1,3\n2,0,-0.5,0.1\n",
    "other columns between": "id,acidity,,sugar,note,alcohol,pH\n7,1,x,2,fine,3,4\n8,-.5,,0,,.1,2\n",
    "byte order mark": "\ufeff" + HEADER + "1,2,3,4\n-0.5,0,0.1,2\n",
    "quotes": '"acidity","sugar","alcohol","pH"\n"1","2","3","4"\n"-0.5",0,0.1," 2 "\n',
    "lines of another system": HEADER.replace("\n", "\r\n") + "1,2,3,4\r\n-0.5,0,0.1,2",
    "empty lines": HEADER + "\n1,2,3,4\n\n-0.5,0,0.1,2\n\n",
    "blanks": " acidity, sugar\t,alcohol,pH \n 1, 2,\t3,4 \n-0.5, 0 ,0.1,2\n",
}


def predicted(capsys, *arguments):
    """What `predict` prints in this process, which needs no other to be started."""
    from serving.__main__ import main

    with pytest.raises(SystemExit) as ended:
        main(["predict", *map(str, arguments)])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.err) == (0, "")
    return printed.out


@pytest.mark.parametrize("name", TABLES)
def test_predict_reads_a_csv_by_its_header(running, wine, tmp_path, capsys, name):
    """Columns are found by name, whatever their order and whatever lies between them."""
    (tmp_path / "rows.csv").write_text(TABLES[name], encoding="utf-8", newline="")
    out = predicted(capsys, "wine", tmp_path / "rows.csv", "--json", "--address", running.address)
    rows = np.array([[1, 2, 3, 4], [-0.5, 0, 0.1, 2]], np.float32)
    np.testing.assert_allclose(json.loads(out)["probabilities"], wine.probabilities(rows), atol=1e-5)


def test_an_empty_field_is_a_missing_value(serving_of, make, wine, tmp_path, capsys):
    """A model that allows missing values gets NaN for an empty field."""
    spec = wine.manifest.inputs[0].model_copy(update={"missing": wine.manifest.inputs[0].features})
    made = make(tmp_path / "m.onnx", spec)
    (tmp_path / "rows.csv").write_text(HEADER + "1,2,3,4\n1,,3,4\n1,2,3,\nnan,2,3,4\n")
    with serving_of(made.path) as server:
        out = predicted(capsys, "wine", tmp_path / "rows.csv", "--json", "--address", server.address)
    missing = np.isnan(json.loads(out)["probabilities"]).any(axis=1)
    assert missing.tolist() == [False, True, True, True]


BAD_TABLES = {
    "an empty field": (HEADER + "1,2,3,4\n1,2,,4\n", "must be finite; got nan at row 1, feature 'alcohol'"),
    "a row too short": (
        HEADER + "1,2,3,4\n1,2,3\n",
        "row 1 must have a field for each of 4 columns, it has 3",
    ),
    "a row too long": (HEADER + "1,2,3,4,5\n", "row 0 must have a field for each of 4 columns, it has 5"),
    "a column twice": (
        "pH," + HEADER + "1,1,2,3,4\n",
        "its header must name each feature once; it has more of ['pH']",
    ),
    "no number": (HEADER + "1,2,3,4\n1,much,3,4\n", "row 1, feature 'sugar': must be a number, got 'much'"),
    "a comma for the point": (
        HEADER + '"1,5",2,3,4\n',
        "feature 'acidity': must be a number, got '1,5'; write it with a decimal point",
    ),
    "a blank": (HEADER + "1,2,3, \n", "must be finite; got nan at row 0, feature 'pH'"),
    "a blank within": (HEADER + "1,2,3,4 0\n", "row 0, feature 'pH': must be a number, got '4 0'"),
    "a column twice but for blanks": (
        "acidity,sugar,alcohol,pH, pH\n1,2,3,4,5\n",
        "its header must name each feature once; it has more of ['pH']",
    ),
    "infinity": (HEADER + "1,2,3,inf\n", "got inf at row 0, feature 'pH'"),
    "a column left out": (
        "pH,acidity,sugar\n1,2,3\n",
        "its header must name every feature of the model; missing are ['alcohol'], it names "
        "['pH', 'acidity', 'sugar']",
    ),
    "other names": ("a,b,c,d\n1,2,3,4\n", "missing are ['acidity', 'sugar', 'alcohol', 'pH']"),
    "no header": ("1,2,3,4\n", "its header must name every feature of the model"),
    "empty": ("", "rows.csv: is empty; its first line must name the columns"),
    "no rows": (HEADER, "at least one row, got 0"),
    "an open quote": (HEADER + '1,2,3,"4\n', "row 0 begins a quotation mark that is never closed"),
    "no utf-8": (
        b"\xe4cidity,sugar\n1,2\n",
        "rows.csv: line 1 is not utf-8 (byte 0xe4); save it as UTF-8, or give --encoding, such as latin-1",
    ),
    "a number of 200,000 digits": (HEADER + "1" * 200_000 + ",2,3,4\n", "got inf at row 0"),
    "nan": (HEADER + "1,2,3,nan\n", "must be finite; got nan at row 0, feature 'pH'"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_predict_refuses_a_bad_csv(running, tmp_path, capsys, name):
    """A table that is none of the model's is told in one sentence, with exit status 2."""
    from serving.__main__ import main

    content, reason = BAD_TABLES[name]
    (tmp_path / "rows.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SystemExit) as ended:
        main(["predict", "wine", str(tmp_path / "rows.csv"), "--address", running.address])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("ordinal-serving: ")
    assert reason in said
    assert said.count("\n") == 1


def test_predict_with_a_coverage(running, wine, tmp_path, capsys):
    """`--coverage` makes the intervals; table and JSON have them, with both parts of the uncertainty."""
    (tmp_path / "rows.csv").write_text(TABLES["as it is"])
    arguments = ("wine", tmp_path / "rows.csv", "--coverage", "0.55", "--address", running.address)
    with Client(running.address) as client:
        answer = client.predict([[1.0, 2.0, 3.0, 4.0], [-0.5, 0.0, 0.1, 2.0]], "wine", coverage=0.55)
    found = json.loads(predicted(capsys, *arguments, "--json"))
    assert found["interval"]["coverage"] == pytest.approx(0.55)
    assert list(zip(found["interval"]["lower"], found["interval"]["upper"], strict=True)) == (
        answer.interval.ends
    )
    assert set(found["interval"]["lower"]) <= set(wine.manifest.labels)
    np.testing.assert_allclose(found["uncertainty"]["aleatoric"], answer.uncertainty.aleatoric, atol=1e-6)
    assert found["uncertainty"]["epistemic"] == [0, 0]
    table = predicted(capsys, *arguments)
    assert "interval of 0.55" in table
    assert "aleatoric + epistemic" in table
    for (lower, upper), aleatoric in zip(answer.interval.ends, answer.uncertainty.aleatoric, strict=True):
        assert re.search(rf"\s{lower} … {upper}\s+{aleatoric:.3f} \+ 0\.000\s", table)


def test_predict_without_a_coverage_has_that_of_the_model(running, tmp_path, capsys):
    """Left out, the manifest's coverage is used and told."""
    (tmp_path / "rows.csv").write_text(TABLES["as it is"])
    assert "interval of 0.8 " in predicted(
        capsys, "wine", tmp_path / "rows.csv", "--address", running.address
    )


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (["predict", "wine", "rows.json", "--coverage", "1.5"], 2, "must lie between 0 and 1, got 1.5"),
        (["predict", "wine", "rows.json", "--coverage", "0"], 2, "must lie between 0 and 1, got 0"),
        (["predict", "wine", "rows.json", "--coverage", "nan"], 2, "must lie between 0 and 1, got nan"),
        (["predict", "beer", "rows.json"], 2, "model 'beer' is not served"),
        (["predict", "wine", "rows.json", "--policy", "absolut"], 2, "did you mean 'absolute'?"),
        (["predict", "wine", "rows.json", "--address", "127.0.0.1:1"], 1, "127.0.0.1:1: "),
        (
            ["predict", "wine", "rows.json", "--encoding", "utf9", "--address", "127.0.0.1:1"],
            2,
            "--encoding must name one that Python knows, such as utf-8, latin-1 or cp1252, got 'utf9'",
        ),
        (["health", "--address", "127.0.0.1:1"], 1, "no health from 127.0.0.1:1"),
    ],
)
def test_expected_errors_are_one_sentence(
    running, tmp_path, monkeypatch, capsys, arguments, status, reason
):
    """Errors of the service and the connection are sentences too."""
    from serving.__main__ import main

    (tmp_path / "rows.json").write_text("[[1, 2, 3, 4]]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORDINAL_ADDRESS", running.address)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status
    said = capsys.readouterr().err
    assert said.startswith("ordinal-serving: ")
    assert reason in said
    assert said.count("\n") == 1


def test_health_is_status_0_only_when_serving(command, serving_of, wine):
    """What a container's health check calls tells the two states apart."""
    with serving_of() as server:
        before = command("health", "--address", server.address)
        server.do(server.server.load([str(wine.path)]))
        after = command("health", "--address", server.address)
    assert (before.returncode, before.stdout) == (1, "NOT_SERVING\n")
    assert (after.returncode, after.stdout) == (0, "SERVING\n")


def test_serve_logs_what_it_serves(process, wine, digits):
    """The log names models, version, provider and address, and the service answers there."""
    service = process(wine.path, digits.path)
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", service.address())
    log = "".join(service.log)
    assert "wine version 0 on CPUExecutionProvider: labels awful < poor < fair < good < superb" in log
    assert "digits version 0 on CPUExecutionProvider" in log
    service.popen.terminate()
    assert service.end() == 0


def test_the_command_line_comes_before_the_environment(process, wine):
    """ORDINAL_… sets what the command line leaves open."""
    service = process(
        wine.path, env={"ORDINAL_HOST": "127.0.0.2", "ORDINAL_PORT": "1", "ORDINAL_PAUSE": "0"}
    )
    assert service.address().startswith("127.0.0.2:")  # host from the environment, port from --port 0
    service.popen.terminate()
    assert service.end() == 0


def test_help_names_every_setting(command):
    """Each setting has its flag, its variable and its help in `serve --help`."""
    page = command("serve", "--help", env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"}).stdout
    for entry in fields(Settings):
        assert f"--{entry.name.replace('_', '-')} " in page
        assert variable(entry.name) in page
        assert setting(entry.name).metadata["help"] in page
    assert "Traceback" not in page


def test_health_asks_the_port_of_the_setting(running, command):
    """A container told its port by the environment is asked there."""
    ended = command("health", env={"ORDINAL_PORT": str(running.server.port)})
    assert (ended.returncode, ended.stdout) == (0, "SERVING\n")
