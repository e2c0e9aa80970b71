"""One training on two devices ends as it does on one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Search
from pipeline.errors import InputError
from pipeline.train import replicas

ROOT = Path(__file__).parent.parent.parent

# Devices are settled before TensorFlow is used, so that two CPUs take a process of their own.
PROGRAM = """
import json, sys
from pipeline import environment
environment.import_tensorflow(use=False)
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from dataclasses import replace
from pathlib import Path
from pipeline import losses, train
from pipeline.config import Config, Model, Named, Search
from pipeline.data import load
from pipeline.train import backup, replicas

case = json.loads(sys.argv[1])
data = load(Config.model_validate({"name": "d", "data": {"source": "digits"}}))
if case["weighted"]:
    random = np.random.default_rng(0)
    data = replace(data, weights=random.uniform(0.5, 2, len(data.y)).astype(np.float32))
replicas.check(2)
backup.EVERY = 0.0
loss = losses.build(case["loss"], {}, data.labels.topology)
cost = np.abs(np.subtract.outer(np.arange(10.0), np.arange(10.0)))


def fit(count, epochs, **more):
    model = Model(hidden=(16,), dropout=0.0, class_weight=case["class_weight"], precision="float32")
    search = Search(epochs=epochs, batch_size=case["batch"], learning_rate=0.01, replicas=count)
    return train.fit(data, loss, Named(name=case["head"]), model, search, 3, cost=cost, **more)


one, two = fit(1, 4), fit(2, 4)
class End(Exception): pass
def end(progress):
    if progress.epoch == 2:
        raise End
try:
    fit(2, 4, told=end, backup=Path(sys.argv[2]))
except End:
    assert any(Path(sys.argv[2]).iterdir())
again = fit(2, 4, backup=Path(sys.argv[2]))
answers = [one.model.predict(data.features[:64], verbose=0) for one in (one, two, again)]
print(json.dumps({
    "curves": [one.curves, two.curves, again.curves],
    "apart": [float(np.abs(answers[0] - answer).max()) for answer in answers[1:]],
    "again": float(np.abs(answers[1] - answers[2]).max()),
    "devices": sorted({weight.device for weight in map(lambda v: v.value, two.model.variables)}),
}))
"""


def _ran(tmp_path: Path, **case: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(case), str(tmp_path / "backup")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        {
            "loss": "cross_entropy",
            "head": "softmax",
            "batch": 64,
            "class_weight": "none",
            "weighted": False,
        },
        # 1,077 rows by 269: the last batch has one row, of which one of the two replicas gets none.
        {
            "loss": "expected_value",
            "head": "cumulative",
            "batch": 269,
            "class_weight": "balanced",
            "weighted": True,
        },
    ],
    ids=["plain", "weighted"],
)
def test_two_devices_train_as_one_does(case: dict[str, Any], tmp_path: Path) -> None:
    """The same curves and answers, also where weights count, a batch is too small, or it was cut off."""
    result = _ran(tmp_path, **case)
    one, two, again = result["curves"]
    assert one.keys() == two.keys()
    assert len(one["loss"]) == 4
    for name, curve in one.items():
        assert two[name] == pytest.approx(curve, rel=1e-4, abs=1e-5), name
        assert again[name] == two[name]
    assert max(result["apart"]) < 1e-3
    assert result["again"] == 0
    assert len(result["devices"]) == 1


def test_more_replicas_than_devices_are_refused() -> None:
    """A sentence says how many there are, before anything is trained."""
    replicas.check(1)
    with pytest.raises(
        InputError, match=r"search\.replicas must be at most the number of GPUs here: it is 3"
    ):
        replicas.check(3)
    assert Search().replicas == 1
