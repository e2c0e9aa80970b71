"""The flow under Prefect's harness, with a real MLflow store in SQLite."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from prefect.testing.utilities import prefect_test_harness

from pipeline import flow
from pipeline.config import Config, Split
from pipeline.data import load
from pipeline.errors import InputError
from pipeline.flow import Retrained, verdict
from pipeline.tracking import registry
from serving.artifact import Artifact
from serving.errors import ArtifactError


@pytest.fixture(scope="module", autouse=True)
def _prefect() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


def _config(store: Path, **changes: object) -> Config:
    losses = ["cross_entropy", {"name": "expected_value", "lam": 0.1}, "distance_penalty"]
    return Config.model_validate(
        {
            "name": "digits",
            "data": {"source": "digits"},
            "model": {"hidden": [16]},
            "search": {"losses": losses, "trials": 4, "epochs": 6, "learning_rate": 0.01},
            "tracking": {"uri": f"sqlite:///{store / 'mlflow.db'}", "experiment": "ordered digits"},
            **changes,
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty working folder."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("flow")
        patch.chdir(path)
        yield path


@pytest.fixture(scope="module")
def retrained(folder: Path) -> Retrained:
    """One run of the flow."""
    return flow.retrain(_config(folder))


@pytest.fixture(scope="module")
def client(retrained: Retrained) -> MlflowClient:
    """A client of the store that the run wrote to."""
    return MlflowClient(retrained.tracking_uri)


def test_every_trial_is_a_nested_run(retrained: Retrained, client: MlflowClient) -> None:
    """Four trials: losses in turn, then the next seed; each a finished run below the flow's."""
    runs = client.search_runs(
        [retrained.experiment_id],
        f"tags.`mlflow.parentRunId` = '{retrained.run_id}'",
        order_by=["attributes.start_time"],
    )
    assert [(r.data.params["loss"], r.data.params["seed"]) for r in runs] == [
        ("cross_entropy", "0"),
        ("expected_value", "0"),
        ("distance_penalty", "0"),
        ("cross_entropy", "1"),
    ]
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert client.get_run(retrained.run_id).info.status == "FINISHED"


def test_a_trial_shows_curves_metrics_parameters_and_pictures(
    retrained: Retrained, client: MlflowClient
) -> None:
    """A nested run has one point an epoch, the validation metrics, its parameters, PNGs and its model."""
    (trial,) = client.search_runs(
        [retrained.experiment_id], "params.loss = 'expected_value'", max_results=10
    )
    curve = client.get_metric_history(trial.info.run_id, "val_loss")
    assert [point.step for point in curve] == list(range(6))
    assert {"validation/realised_cost", "validation/rps", "loss", "seconds"} <= set(trial.data.metrics)
    assert trial.data.params["loss.lam"] == "0.1"
    assert float(trial.data.params["loss.lam_scaled"]) == pytest.approx(0.1 * 81)
    assert trial.data.params["loss.proper"] == "True"
    assert trial.data.params["calibration.method"] in ("none", "temperature", "vector")
    assert {"uncalibrated/nll", "uncalibrated/threshold_ece", "temperature"} <= set(trial.data.metrics)
    files = {file.path for file in client.list_artifacts(trial.info.run_id)}
    assert {"confusion.png", "curves.png", "reliability.png", "reliability.csv", "model"} <= files
    picture = Path(client.download_artifacts(trial.info.run_id, "confusion.png"))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_cheapest_trial_is_the_champion(retrained: Retrained, client: MlflowClient) -> None:
    """The alias points at the version made of the trial with the lowest realised validation cost."""
    runs = client.search_runs(
        [retrained.experiment_id], f"tags.`mlflow.parentRunId` = '{retrained.run_id}'"
    )
    best = min(
        runs, key=lambda r: (r.data.metrics["validation/realised_cost"], r.data.metrics["validation/nll"])
    )
    champion = client.get_model_version_by_alias("digits", "champion")
    assert int(champion.version) == retrained.version == 1
    assert champion.run_id == retrained.run_id
    artifact = Artifact(retrained.artifact, "cpu")  # the seal holds: the registry keeps the very bytes
    assert artifact.manifest.best.run_id == best.info.run_id
    assert artifact.manifest.name == "digits"


def test_the_run_says_how_far_the_champion_can_be_trusted(
    retrained: Retrained, client: MlflowClient
) -> None:
    """Its description, tables and pictures show calibration, expected and realised cost, and intervals."""
    run = client.get_run(retrained.run_id)
    note = run.data.tags["mlflow.note.content"]
    for title in ("### Calibration", "### Expected and realised cost", "### Intervals"):
        assert title in note
    files = {file.path for file in client.list_artifacts(retrained.run_id)}
    assert {"costs.csv", "costs.png", "intervals.csv", "reliability.csv", "reliability.png"} <= files
    text = Path(client.download_artifacts(retrained.run_id, "costs.csv")).read_text(encoding="utf-8")
    rows = {row["profile"]: row for row in csv.DictReader(text.splitlines())}
    for profile in ("zero_one", "absolute", "quadratic", "asymmetric"):
        assert float(rows[profile]["expected"]) == retrained.metrics[f"{profile}/expected_cost"]
        assert float(rows[profile]["realised"]) == retrained.metrics[f"{profile}/realised_cost"]
    text = Path(client.download_artifacts(retrained.run_id, "intervals.csv")).read_text(encoding="utf-8")
    levels = {float(row["wanted"]): row for row in csv.DictReader(text.splitlines())}
    assert list(levels) == [0.5, 0.8, 0.9, 0.95, 0.99]
    assert float(levels[0.9]["coverage"]) == retrained.metrics["interval_coverage"]
    widths = [float(row["width"]) for row in levels.values()]
    assert widths == sorted(widths)


def test_pages_in_mlflow_say_what_they_are_and_lead_to_the_report(
    retrained: Retrained, client: MlflowClient
) -> None:
    """Experiment, model, version, run and trial are described; run and trials name their data set."""
    run = client.get_run(retrained.run_id)
    report = f"#/experiments/{run.info.experiment_id}/runs/{retrained.run_id}/artifacts/report.html?"
    version = client.get_model_version("digits", "1")
    assert report in version.description
    assert "The gate lets it pass" in version.description
    assert "champion" in client.get_registered_model("digits").description
    assert report in run.data.tags["mlflow.note.content"]
    assert "#/models/digits/versions/1" in run.data.tags["mlflow.note.content"]
    experiment = client.get_experiment(retrained.experiment_id)
    assert experiment.name == "ordered digits"
    assert "#/models/digits" in experiment.tags["mlflow.note.content"]
    trial = client.search_runs([retrained.experiment_id], "params.loss = 'expected_value'")[0]
    assert f"/runs/{retrained.run_id}" in trial.data.tags["mlflow.note.content"]
    for one in (run, trial):
        (used,) = one.inputs.dataset_inputs
        assert used.dataset.name == "digits"
        assert json.loads(used.dataset.profile)["num_rows"] == 1797
        assert [tag.value for tag in used.tags] == ["training"]


def test_the_report_is_kept_with_its_figures(retrained: Retrained, client: MlflowClient) -> None:
    """The page is of this version and this run's numbers, and its figures are there as pictures."""
    files = {file.path for file in client.list_artifacts(retrained.run_id)}
    assert {"report.html", "trials.png", "slices.png", "intervals.png", "confusion.png"} <= files
    page = Path(client.download_artifacts(retrained.run_id, "report.html")).read_text(encoding="utf-8")
    assert "Decision explorer" in page
    assert f"{retrained.metrics['realised_cost']:.3f}" in page
    assert "Promoted" in page


def test_the_artifact_says_what_calibration_did(retrained: Retrained, client: MlflowClient) -> None:
    """The manifest has the scaling and the scores before and after, and the latter are not worse."""
    calibration = Artifact(retrained.artifact, "cpu").manifest.calibration
    assert calibration.before is not None
    assert calibration.after is not None
    assert calibration.after.nll <= calibration.before.nll
    assert calibration.after.rps <= calibration.before.rps
    logged = client.get_run(retrained.run_id).data.metrics
    assert logged["uncalibrated/nll"] == pytest.approx(calibration.before.nll)


@pytest.mark.slow
def test_the_best_trials_answer_together(folder: Path, client: MlflowClient) -> None:
    """An ensemble of two, four passes each, is one artifact of the trials that cost least, and is unsure.

    What costs is a profile of the config's own, with an abstention.
    """
    search = {"losses": ["cross_entropy", "sord"], "trials": 3, "epochs": 3, "ensemble": 2}
    model = {"hidden": [16], "passes": 4, "dropout": 0.2, "class_weight": "balanced"}
    triage = {
        "actions": ["keep", "repair"],
        "cost": [[100 + k, 110 - k] for k in range(10)],
        "abstain": 101,
    }
    decision = {"profile": "triage", "profiles": {"triage": triage}}
    result = flow.retrain(_config(folder, name="several", search=search, model=model, decision=decision))
    manifest = Artifact(result.artifact, "cpu").manifest
    nested = client.search_runs([result.experiment_id], f"tags.`mlflow.parentRunId` = '{result.run_id}'")
    by_cost = sorted(
        nested, key=lambda r: (r.data.metrics["validation/realised_cost"], r.data.metrics["validation/nll"])
    )
    assert [member.run_id for member in manifest.members] == [run.info.run_id for run in by_cost[:2]]
    assert manifest.passes == 8
    undone = [", ".join(member.undone) or "nothing" for member in manifest.members]
    assert undone == [run.data.params["calibration.undone"] for run in by_cost[:2]]
    assert result.metrics["epistemic"] > 0
    assert "with the next 1 in an ensemble" in result.chosen
    assert all(run.data.metrics["validation/realised_cost"] >= 100 for run in nested)  # of the profile
    assert "(triage)" in result.chosen
    note = client.get_run(result.run_id).data.tags["mlflow.note.content"]
    assert "Under `triage` the decision is to abstain" in note
    text = Path(client.download_artifacts(result.run_id, "confusion.csv")).read_text(encoding="utf-8")
    counts = np.array([list(map(int, row[1:])) for row in list(csv.reader(text.splitlines()))[1:]])
    assert counts.shape == (10, 3)  # keep, repair, abstain
    assert result.metrics["triage/abstained"] == pytest.approx(counts[:, 2].sum() / counts.sum())
    client.delete_registered_model("several")


@pytest.mark.slow
def test_a_table_is_reported_and_the_winner_trained_once_more(
    folder: Path, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Warnings, labels and columns stand in the run; validation rows are learned from in the end."""
    random = np.random.default_rng(0)
    lines = ["size,colour,plant,grade"]
    for size in random.normal(size=400):
        colour = random.choice(["red", "green", ""])
        grade = ("low", "mid", "high")[int(np.digitize(size + (colour == "red"), [-0.3, 0.8]))]
        lines.append(f"{size:.4f},{colour},A,{grade}")
    (folder / "things.csv").write_text("\n".join(lines), encoding="utf-8")
    data = {
        "source": str(folder / "things.csv"),
        "label": "grade",
        "labels": ["low", "mid", "high"],
    }
    search = {"losses": ["rps"], "trials": 2, "epochs": 3, "refit": True}
    config = _config(folder, name="things", data=data, search=search, gate={"slices": ["colour"]})
    result = flow.retrain(config)
    found = load(config)
    nested = client.search_runs([result.experiment_id], f"tags.`mlflow.parentRunId` = '{result.run_id}'")
    assert len(nested) == 2
    note = client.get_run(result.run_id).data.tags["mlflow.note.content"]
    assert "columns that say nothing: 'plant' is always 'A'" in note
    assert "columns that say nothing: 'plant' is always 'A'" in caplog.text
    text = Path(client.download_artifacts(result.run_id, "data/labels.csv")).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["label"] for row in rows] == ["low", "mid", "high"]
    assert sum(int(row["train"]) for row in rows) == len(found.parts.train)
    text = Path(client.download_artifacts(result.run_id, "data/columns.csv")).read_text(encoding="utf-8")
    assert [row["kind"] for row in csv.DictReader(text.splitlines())] == ["number", "category", "category"]
    manifest = Artifact(result.artifact, "cpu").manifest
    assert manifest.provenance.refitted
    assert manifest.provenance.data_fingerprint == found.fingerprint
    assert manifest.inputs == found.refitting().inputs
    assert manifest.calibration.rows == len(found.parts.validation)
    client.delete_registered_model("things")


def test_mlflow_itself_can_load_the_champion(retrained: Retrained) -> None:
    """`mlflow.pyfunc` answers as the artifact does."""
    mlflow.set_tracking_uri(retrained.tracking_uri)
    rows = np.random.default_rng(0).integers(0, 17, (5, 8, 8, 1)).astype(np.uint8)
    theirs = mlflow.pyfunc.load_model("models:/digits@champion").predict({"image": rows})
    ours = Artifact(retrained.artifact, "cpu").run({"image": rows})
    np.testing.assert_allclose(theirs["probabilities"], ours.probabilities, atol=1e-6)


def test_the_result_describes_the_test_part(retrained: Retrained, client: MlflowClient) -> None:
    """The metrics returned are those of the exported file, and are logged with the run."""
    logged = client.get_run(retrained.run_id).data.metrics
    assert {f"test/{name}": value for name, value in retrained.metrics.items()} == {
        name: value for name, value in logged.items() if name.startswith("test/")
    }
    assert retrained.metrics["accuracy"] > 0.8
    assert retrained.promoted
    assert "lowest realised validation cost of 4 trials" in retrained.chosen
    assert "the best decision by base rates" in retrained.reasons[0]


def test_a_copy_that_may_not_be_served_is_never_registered(
    folder: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the loader refuses what MLflow kept, there is no version and no alias."""
    log = registry.log

    def spoiling(*arguments: Any) -> registry.Logged:
        logged = log(*arguments)
        content = bytearray(logged.path.read_bytes())
        content[len(content) // 2] ^= 1
        logged.path.write_bytes(content)
        return logged

    monkeypatch.setattr(registry, "log", spoiling)
    search = {"losses": ["cross_entropy"], "trials": 1, "epochs": 1}
    with pytest.raises(ArtifactError, match="changed or cut short"):
        flow.retrain(_config(folder, name="spoilt", search=search))
    assert [m.name for m in client.search_registered_models()] == ["digits"]


@pytest.mark.slow
def test_a_report_that_cannot_be_made_costs_no_run(
    folder: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The champion stands, the pages say what came of it, and a tag says what is missing and why."""

    def failing(**given: object) -> str:
        raise ZeroDivisionError(f"of {len(given)}")

    monkeypatch.setattr(verdict.report, "build", failing)
    search = {"losses": ["cross_entropy"], "trials": 1, "epochs": 12}
    result = flow.retrain(_config(folder, name="unseen", search=search))
    assert registry.champion(result.tracking_uri, "unseen") == result.version
    run = client.get_run(result.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["report.failed"].startswith("ZeroDivisionError: of ")
    assert "is the champion" in run.data.tags["mlflow.note.content"]
    assert "The gate lets it pass" in client.get_model_version("unseen", str(result.version)).description
    client.delete_registered_model("unseen")


@pytest.mark.slow
def test_a_trial_that_diverges_is_left_out(folder: Path, client: MlflowClient) -> None:
    """Its run ends FAILED, and the best of the others is registered, whatever they were drawn with."""
    space = {"learning_rate": {"choices": [0.01, 1e30]}}
    search = {"losses": ["cross_entropy"], "trials": 4, "epochs": 1, "space": space, "sampler": "random"}
    result = flow.retrain(_config(folder, name="lucky", search=search))
    nested = client.search_runs([result.experiment_id], f"tags.`mlflow.parentRunId` = '{result.run_id}'")
    ends = {(run.data.params["search.learning_rate"], run.info.status) for run in nested}
    assert ends == {("0.01", "FINISHED"), ("1e+30", "FAILED")}
    assert result.version == 1
    client.delete_registered_model("lucky")


BACKBONE = """
import os, pathlib, signal, time
import keras

def small(shape, classes):
    log = pathlib.Path("built")
    number = len(log.read_text()) if log.exists() else 0
    log.write_text("x" * (number + 1))
    match pathlib.Path("mood").read_text(), number:
        case "failing", 2: raise RuntimeError("out of luck, say")
        case "dying", 2: os.kill(os.getpid(), signal.SIGKILL)
        case "idling", 2: time.sleep(600)
    rows = keras.Input(shape)
    return keras.Model(rows, keras.layers.Dense(8, activation="relu")(keras.layers.Flatten()(rows)))
"""


def _moody(folder: Path, mood: str, **search: object) -> Config:
    """Return a config whose backbone is in a mood when it is built for the second trial."""
    (folder / "moody.py").write_text(BACKBONE, encoding="utf-8")
    (folder / "mood").write_text(mood, encoding="utf-8")
    (folder / "built").unlink(missing_ok=True)
    model = {"backbone": f"{folder / 'moody.py'}:small"}
    chosen = {"losses": ["cross_entropy"], "trials": 3, "epochs": 1, **search}
    return _config(folder, name=mood, search=chosen, model=model)


@pytest.mark.slow
def test_a_failure_half_way_registers_nothing_and_is_gone_on_with(
    folder: Path, client: MlflowClient
) -> None:
    """When the second trial fails, no other begins and both runs end FAILED; the next run begins there."""
    config = _moody(folder, "failing")
    with pytest.raises(InputError, match="out of luck, say"):
        flow.retrain(config)
    experiment = client.get_experiment_by_name("ordered digits").experiment_id
    runs = client.search_runs([experiment], order_by=["attributes.start_time DESC"], max_results=3)
    assert sorted(r.info.status for r in runs) == ["FAILED", "FAILED", "FINISHED"]
    assert "failing" not in {m.name for m in client.search_registered_models()}
    (parent,) = {run.data.tags["mlflow.parentRunId"] for run in runs if run.data.tags["kind"] == "trial"}
    result = flow.retrain(config)
    assert result.run_id == parent
    nested = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert sorted(run.info.status for run in nested) == ["FAILED", "FINISHED", "FINISHED", "FINISHED"]
    assert client.get_run(parent).info.status == "FINISHED"
    client.delete_registered_model("failing")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mood", "status", "told"),
    [("dying", "FAILED", "ended by SIGKILL (too little memory"), ("idling", "KILLED", "out of time")],
)
def test_a_process_that_dies_or_overruns_leaves_the_other_trials(
    folder: Path, client: MlflowClient, caplog: pytest.LogCaptureFixture, mood: str, status: str, told: str
) -> None:
    """Its run tells what became of it. Where the seconds are spent no other trial begins."""
    config = _moody(folder, mood, **({"seconds": 20} if mood == "idling" else {}))
    result = flow.retrain(config)
    nested = client.search_runs([result.experiment_id], f"tags.`mlflow.parentRunId` = '{result.run_id}'")
    ended = sorted(run.info.status for run in nested)
    assert ended == (["FINISHED", "KILLED"] if mood == "idling" else ["FAILED", "FINISHED", "FINISHED"])
    assert status in ended
    assert told in caplog.text
    assert result.version == 1
    client.delete_registered_model(mood)


@pytest.mark.slow
def test_trials_are_drawn_pruned_and_judged_against_the_champion(
    folder: Path, client: MlflowClient
) -> None:
    """Two workers, and hopeless trials end early; a lesser one stays challenger; seen rows are left out."""
    space = {"learning_rate": {"choices": [0.01, 1e-7]}, "dropout": {"low": 0.0, "high": 0.3}}
    search = {"trials": 12, "epochs": 20, "patience": 2, "workers": 2, "space": space, "sampler": "random"}
    config = _config(folder, name="drawn", search={"losses": ["rps"], **search})
    first = flow.retrain(config)
    nested = client.search_runs([first.experiment_id], f"tags.`mlflow.parentRunId` = '{first.run_id}'")
    pruned = [run for run in nested if run.info.status == "KILLED"]
    assert pruned
    assert "1e-07" in {run.data.params["search.learning_rate"] for run in pruned}
    assert all(run.data.tags["ended"].startswith("pruned after") for run in pruned)
    assert all("val_realised_cost" in run.data.metrics for run in pruned)
    assert {run.info.status for run in nested} == {"FINISHED", "KILLED"}
    assert len(nested) == 12
    assert (first.promoted, first.champion) == (True, 1)

    search = config.search.model_copy(update={"trials": 1})  # one of those that the first was the best of
    second = flow.retrain(config.model_copy(update={"search": search}))
    assert (second.version, second.promoted, second.champion) == (2, False, 1)
    assert "under 'absolute'" in second.reasons[0]
    assert client.get_model_version("drawn", "2").tags["gate.verdict"] == "failed"
    assert int(client.get_model_version_by_alias("drawn", "challenger").version) == 2
    verdict = json.loads(Path(client.download_artifacts(second.run_id, "verdict.json")).read_text())
    assert (verdict["champion"], verdict["left_out"], verdict["passed"]) == (1, 0, False)
    assert "**Not promoted:**" in Path(client.download_artifacts(second.run_id, "verdict.md")).read_text()

    third = flow.retrain(config.model_copy(update={"split": Split(seed=5)}))
    verdict = json.loads(Path(client.download_artifacts(third.run_id, "verdict.json")).read_text())
    test = len(load(config.model_copy(update={"split": Split(seed=5)})).parts.test)
    assert verdict["left_out"] > 0.6 * test
    assert verdict["rows"] == test - verdict["left_out"]
    assert any("trained on" in check["words"] for check in verdict["checks"] if check["name"] == "rows")
    client.delete_registered_model("drawn")
