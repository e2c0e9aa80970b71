"""`ordinal-serving check`: whether an artifact may be served, and what it is."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving import manifest as schema
from serving.__main__ import main
from serving.cache import RegistryCache
from serving.seal import check_seal
from serving.settings import Settings

from .categorical_artifact import CATEGORICAL, LENIENT, NUMERIC, make_cars

QUALITY = schema.Quality(nll=1.25, rps=0.125, ece=0.0625, threshold_ece=0.03125)
BETTER = schema.Quality(nll=1.125, rps=0.11, ece=0.05, threshold_ece=0.02)


@pytest.fixture
def check(capsys):
    """Run the command in this process; return what it prints."""

    def run(*arguments):
        main_ended(["check", *map(str, arguments), "--device", "cpu"], 0)
        return capsys.readouterr().out

    return run


@pytest.fixture
def refused(capsys):
    """Run the command where it must refuse; return its sentence."""

    def run(*arguments):
        main_ended(["check", *map(str, arguments), "--device", "cpu"], 2)
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("ordinal-serving: ")
        return said.err

    return run


def main_ended(arguments, status):
    """Run the command to its end with an exit status."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status


def test_the_page_says_what_the_artifact_is(command, make, tmp_path):
    """A pipe gets a page of at most 100 columns with every fact of the manifest, and status 0."""
    members = (
        schema.Member(
            loss=schema.TrainedWith(name="cdw_ce", parameters={"alpha": 3}),
            head=schema.TrainedWith(name="cumulative", parameters={"link": "probit"}),
            proper=True,
            undone=("soft_labels", "class_weights"),
            run_id="a1b2c3",
        ),
        schema.Member(
            loss=schema.TrainedWith(name="brier"),
            head=schema.TrainedWith(name="softmax"),
            proper=True,
            run_id="d4e5f6",
        ),
    )
    calibration = schema.Calibration(
        method="temperature", slopes=[0.5] * 5, offsets=[0] * 5, rows=300, before=QUALITY, after=BETTER
    )
    made = make(tmp_path / "wine.onnx", members=members, passes=8, calibration=calibration)
    done = command("check", made.path, "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    page = done.stdout
    assert max(map(len, page.splitlines())) == 100
    assert "wine version 0" in page
    for fact in (str(made.path), check_seal(made.path), "kB", "CPUExecutionProvider"):
        assert fact in page
    assert "awful < poor < fair < good < superb" in page
    assert "0, 1, 2, 4, 8" in page
    assert "numeric: float32 [batch, 4], missing values not allowed" in page
    for line in (
        r"topology +linear",
        r"alcohol +-1 +1",
        r"absolute \(default\) +triage",
        r"awful +0 +1 +2 +3 +4 +awful +9 +3 +0",
        r"1 +cdw_ce \(alpha=3\) +yes +cumulative \(link=\"probit\"\) +soft labels, class weights +a1b2c3",
        r"2 +brier +yes +softmax +nothing +d4e5f6",
        r"8 passes",
        r"method +temperature",
        r"temperature +2",
        r"rows +300",
        r"NLL +1\.2500 +1\.1250",
        r"RPS +0\.1250 +0\.1100",
        r"ECE +0\.0625 +0\.0500",
        r"threshold ECE +0\.0312 +0\.0200",
        r"kind +central",
        r"coverage +0\.8",
        r"99 calibration rows",
        r"512 +[\d.]+ (µs|ms|s) +[\d.]+ (µs|ms|s) +[\d.]+ (µs|ms) +\d+",
        r"commit +unknown",
        r"may be served",
    ):
        assert re.search(line, page), line
    assert "warning" not in page


def test_json_has_the_same_facts(check, wine):
    """One object on one line: the manifest as it stands in the file, and what was found out about it."""
    printed = check(wine.path, "--json")
    assert printed.count("\n") == 1
    facts = json.loads(printed)
    assert facts.pop("manifest") == json.loads(wine.manifest.to_json())
    timings = facts.pop("timings")
    assert facts == {
        "name": "wine",
        "version": "0",
        "aliases": [],
        "file": str(wine.path),
        "bytes": wine.path.stat().st_size,
        "sha256": check_seal(wine.path),
        "provider": "CPUExecutionProvider",
        "choice": "",
        "gpu": None,
        "warnings": [],
    }
    assert [timing["batch"] for timing in timings] == [1, 32, 512]
    for timing in timings:
        assert 0 < timing["median_seconds"] <= timing["percentile_95_seconds"]
        assert timing["runs"] >= 5


def test_an_image_has_one_range(check, digits):
    """Its input is told in one line."""
    assert "image: uint8 [batch, 8, 8, 1], missing values not allowed, seen in training 0 … 16" in check(
        digits.path
    )


def test_a_registered_version_is_checked_by_its_address(check, wine, tmp_path):
    """models:/NAME/VERSION is resolved as `serve` resolves it, and titles the page."""
    settings = Settings(tracking_uri="sqlite:////nowhere/m.db", cache=str(tmp_path))
    cache = RegistryCache(settings.cache_folder(), settings.registry())
    with cache.unfinished() as folder:
        file = Path(shutil.copy(wine.path, folder))
        cache.keep("wine", "3", file, check_seal(file), "")
    where = ("--tracking-uri", settings.tracking_uri, "--cache", settings.cache)
    assert "wine version 3" in check("models:/wine/3", *where)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["/nowhere/x.onnx"], "/nowhere/x.onnx: cannot be read: No such file or directory"),
        (["models:/wine"], "a registry address is models:/NAME@ALIAS or models:/NAME/VERSION"),
        (["models:/wine@x", "--tracking-uri", "sqlite:////nowhere/m.db"], "there is no file /nowhere/m.db"),
    ],
)
def test_what_is_not_there_is_refused(refused, arguments, reason):
    """One sentence, exit status 2, and no page."""
    assert reason in refused(*arguments)


def constant(graph, name, value):
    """Give a constant another value."""
    old = next(entry for entry in graph.initializer if entry.name == name)
    old.CopyFrom(numpy_helper.from_array(np.array(value, numpy_helper.to_array(old).dtype), name))


def root_of_features(graph):
    """Take the root of every feature, which is NaN of negative ones, and not of the probe's zeros."""
    graph.node.insert(1, helper.make_node("Sqrt", ["cast"], ["root"]))
    next(node for node in graph.node if node.op_type == "Flatten").input[0] = "root"


def shifted(output, by):
    """Return an edit that adds `by` to an output."""

    def edit(graph):
        (node,) = [node for node in graph.node if output in node.output]
        node.output[0] = "unshifted"
        like = next(one for one in graph.output if one.name == output).type.tensor_type.elem_type
        dtype = np.int64 if like == TensorProto.INT64 else np.float32
        graph.initializer.append(numpy_helper.from_array(np.array(by, dtype), "by"))
        graph.node.append(helper.make_node("Add", ["unshifted", "by"], [output]))

    return edit


def other_default(graph):
    """Let the graph decide by other costs than the manifest's default profile."""
    constant(graph, "cost", 1 - np.eye(5)[np.newaxis, np.newaxis])


def dearest(graph):
    """Decide what costs most."""
    next(node for node in graph.node if node.op_type == "ArgMin").op_type = "ArgMax"


def beside_others(graph):
    """Let each row's probabilities depend on the rows beside it."""
    (gemm,) = [node for node in graph.node if node.op_type == "Gemm"]
    gemm.output[0] = "own"
    graph.initializer.append(numpy_helper.from_array(np.array([0]), "rows_axis"))
    at = list(graph.node).index(gemm) + 1
    graph.node.insert(at, helper.make_node("ReduceMean", ["own", "rows_axis"], ["others"], keepdims=1))
    graph.node.insert(at + 1, helper.make_node("Sub", ["own", "others"], ["score"]))


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (root_of_features, "probabilities must not be negative, and sum to 1"),
        (shifted("decision", 5), "the decision by 'absolute' must be one of actions 0 … 4"),
        (shifted("decision", -5), "the decision by 'absolute' must be one of actions 0 … 4"),
        (shifted("decision", 2), "the decision by 'absolute' must be one of actions 0 … 4"),
        (shifted("interval", 5), "the interval must go from a label to a label of 0 … 4"),
        (shifted("interval", [4, -4]), "the interval must go from a label to a label of 0 … 4"),
        (shifted("expected_value", np.inf), "output 'expected_value' must be finite"),
        (shifted("uncertainty", np.nan), "output 'uncertainty' must be finite"),
        (shifted("expected_cost", 1), "the expected costs of 'absolute' must be Σ p·cost"),
        (shifted("margin", 1), "the margin of 'absolute' must be what the runner-up costs more"),
        (dearest, "the decision by 'absolute' must cost least"),
        (
            lambda graph: constant(graph, "coverage", [0.3]),
            "where no coverage is asked for, the graph must take the manifest's, 0.8",
        ),
        (beside_others, "a row must be answered alike alone and among others"),
        (other_default, "the graph must decide by the default profile 'absolute'"),
    ],
)
def test_answers_without_sense_are_refused(refused, make, tmp_path, edit, reason):
    """A file that passes the loader's probe may still answer nonsense to other rows within the ranges."""
    made = make(tmp_path / "bad.onnx", edit=edit)
    said = refused(made.path)
    assert said.startswith(f"ordinal-serving: {made.path}: ")
    assert reason in said
    assert said.count("\n") == 1


def test_another_number_of_rows_is_refused(refused, make, tmp_path):
    """Every output answers every row once."""

    def twice(graph):
        (node,) = [node for node in graph.node if "uncertainty" in node.output]
        node.output[0] = "once"
        graph.node.append(helper.make_node("Concat", ["once", "once"], ["uncertainty"], axis=0))

    made = make(tmp_path / "bad.onnx", edit=twice)
    assert "output 'uncertainty' must answer each row, for 512 rows it has 1024" in refused(made.path)


def test_a_graph_for_one_row_only_is_refused(make, tmp_path, capsys):
    """The loader's probe is one row; here a batch is tried too."""
    made = make(tmp_path / "bad.onnx", edit=lambda graph: constant(graph, "any", [1]))
    main_ended(["check", str(made.path), "--device", "cpu"], 2)
    said = capsys.readouterr().err.splitlines()[-1]  # after what onnxruntime logs
    assert said.startswith(f"ordinal-serving: {made.path}: a run of 512 random rows fails: ")


def test_missing_values_are_tried_where_they_are_allowed(refused, make, wine, tmp_path):
    """A manifest that allows them beside a graph that cannot take them is refused."""
    spec = wine.manifest.inputs[0].model_copy(update={"missing": wine.manifest.inputs[0].features})
    made = make(tmp_path / "bad.onnx", spec)
    assert "probabilities must not be negative, and sum to 1" in refused(made.path)


def rooted(make, index):
    """Return a `make` whose graph takes the root of a category's code: NaN of unknown and missing ones."""

    def root(graph):
        (cast,) = [node for node in graph.node if node.output[0] == f"number_{index}"]
        cast.output[0] = "number"
        place = list(graph.node).index(cast) + 1
        graph.node.insert(place, helper.make_node("Sqrt", ["number"], [f"number_{index}"]))

    def make_rooted(path, spec, *, edit, **changes):
        def both(graph):
            edit(graph)
            root(graph)

        return make(path, spec, edit=both, **changes)

    return make_rooted


@pytest.mark.parametrize(
    ("index", "spec", "good"),
    [(0, CATEGORICAL, True), (0, LENIENT, False), (1, CATEGORICAL, False)],
    ids=["neither", "unknown", "missing"],
)
def test_unknown_and_missing_categories_are_tried_where_they_are_allowed(
    check, refused, make, tmp_path, index, spec, good
):
    """A graph that cannot take what its manifest allows is refused, and nothing else is asked of it."""
    made = make_cars(rooted(make, index), tmp_path / "m.onnx", NUMERIC, spec)
    if good:
        assert "may be served" in check(made.path)
    else:
        assert "probabilities must not be negative, and sum to 1" in refused(made.path)


def test_the_page_shows_categories_and_what_may_be_missing(check, make, tmp_path):
    """Each feature has its categories or its range, and whether its values may be missing."""
    page = check(make_cars(make, tmp_path / "cars.onnx", NUMERIC, LENIENT).path)
    flat = " ".join(page.split())
    assert (
        "numeric: float32 [batch, 2], missing values allowed in 1 of 2 features, also as '?', 'n/a'" in flat
    )
    assert (
        "categorical: string [batch, 3], missing values allowed in 2 of 3 features, also as '?', 'n/a', "
        "unknown categories allowed"
    ) in flat
    for line in (
        r"feature +missing +lowest in training +highest",
        r"age +no +0 +1",
        r"power +allowed +-1 +1",
        r"feature +missing +categories in training",
        r"colour +no +red, green, ' blue '",
        r"fuel +allowed +petrol, diesel",
        r"größe +allowed +klein, groß, ☃, 'groß '",
    ):
        assert re.search(line, page), line


def test_the_page_says_where_unknown_categories_are_refused(check, make, tmp_path):
    """Without gaps in training there is no column about them; many categories are cut short."""
    many = CATEGORICAL.model_copy(
        update={
            "missing": (),
            "categories": (tuple(f"colour {n}" for n in range(1000)), *CATEGORICAL.categories[1:]),
        }
    )
    page = check(make_cars(make, tmp_path / "cars.onnx", many).path)
    assert (
        "categorical: string [batch, 3], missing values not allowed, unknown categories not allowed" in page
    )
    assert re.search(r"feature +categories in training", page)
    flat = " ".join(page.split())
    assert "colour 0, colour 1" in flat
    assert "… 977 more …, colour 999" in flat
    assert "colour 500" not in flat
    assert max(map(len, page.splitlines())) == 100


def test_a_loss_that_is_not_proper_is_a_warning(check, make, tmp_path):
    """The page and the JSON say so; the artifact may be served all the same."""
    member = schema.Member(
        loss=schema.TrainedWith(name="expected_value"),
        head=schema.TrainedWith(name="softmax"),
        proper=False,
        run_id="run",
    )
    made = make(tmp_path / "wine.onnx", members=(member,))
    assert "warning: the loss of the best member, 'expected_value', is not strictly proper" in check(
        made.path
    )
    (warning,) = json.loads(check(made.path, "--json"))["warnings"]
    assert "not strictly proper" in warning


@pytest.mark.parametrize(
    ("coverage", "rows", "enough"), [(0.8, 3, False), (0.8, 4, True), (0.9, 8, False), (0.9, 9, True)]
)
def test_too_few_calibration_rows_are_a_warning(check, make, tmp_path, coverage, rows, enough):
    """With fewer than coverage / (1 − coverage) rows every interval holds every label."""
    interval = schema.Interval(coverage=coverage, rows=rows)
    made = make(
        tmp_path / "wine.onnx",
        interval=interval,
        edit=lambda graph: constant(graph, "coverage", [coverage]),
    )
    warnings = json.loads(check(made.path, "--json"))["warnings"]
    assert warnings == (
        []
        if enough
        else [
            f"a coverage of {coverage} takes at least {rows + 1} calibration rows, there were {rows}: "
            "every interval of this coverage holds every label"
        ]
    )


def test_what_is_too_large_is_shortened(check, make, tmp_path):
    """Of hundreds of features some are shown; a cost matrix that does not fit is told by its size."""
    many = 300
    spec = schema.Input(
        name="numeric",
        dtype="float32",
        shape=(many,),
        features=tuple(f"f{place}" for place in range(many)),
        ranges=((-1, 1),) * many,
    )
    actions = tuple(f"action {place}" for place in range(40))
    wide = schema.Profile(actions=actions, cost=[[1.0] * 40] * 5)
    profiles = {**make(tmp_path / "small.onnx").manifest.profiles, "wide": wide}
    page = check(make(tmp_path / "wine.onnx", spec, profiles=profiles).path)
    assert "f0 " in page
    assert "f299" not in page
    assert "… and 276 more features: see --json" in page
    assert "5 labels × 40 actions, too large for this page: see --json" in page
    assert max(map(len, page.splitlines())) == 100


@pytest.mark.parametrize("columns", [50, 80, 160])
def test_a_terminal_gets_a_page_as_wide_as_it_is(check, wine, monkeypatch, columns):
    """No line is longer than the terminal, and its headings are bold."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    page = check(wine.path)
    assert "\x1b[1m" in page
    assert max(len(re.sub(r"\x1b\[[\d;]*m", "", line)) for line in page.splitlines()) == columns


def test_names_of_a_file_cannot_write_to_the_terminal(check, make, tmp_path):
    """Control characters are shown escaped, brackets and colons as they are."""
    labels = ("a\x1b[2J", "b\nc", "[bold]d", ":smile:", "e" * 100)
    page = check(make(tmp_path / "wine.onnx", labels=labels).path)
    assert "\x1b" not in page
    assert r"a\x1b[2J < b\nc < [bold]d < :smile: < " + "e" * 39 + "…" in " ".join(page.split())
