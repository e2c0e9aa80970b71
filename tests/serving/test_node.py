"""The example for Node calls a real service, and says what the Python client says."""

import json
import re
import shutil
import subprocess

import pytest

from serving.client import Client

pytestmark = [
    pytest.mark.slow,  # npm fetches packages
    pytest.mark.skipif(
        shutil.which("node") is None or shutil.which("npm") is None,
        reason="node and npm are not both installed (Debian: apt install nodejs npm)",
    ),
]

ROWS = {"acidity": [0.1, 0.9], "sugar": [-0.5, 0.2], "alcohol": [0.3, 0.1], "pH": [0.0, -1.0]}


@pytest.fixture(scope="module")
def example(root, tmp_path_factory):
    """The example beside the protos, as in the repository, with its packages installed by its lock."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(root / "protos", copy / "protos")
    folder = copy / "examples" / "node"
    shutil.copytree(root / "examples" / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_it_says_what_the_python_client_says(example, running, cars):
    """Probabilities, expected values and decisions of numbers and categories, and who has answered."""
    numeric, categorical = cars.manifest.inputs
    table = {name: [0.5, -0.5] for name in numeric.features}
    for name, known in zip(categorical.features, categorical.categories, strict=True):
        table[name] = [known[0], known[-1]]
    for model, rows in (("wine", ROWS), ("cars", table)):
        done = asked(example, running.address, model, json.dumps(rows))
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        with Client(running.address) as client:
            expected = client.predict(rows, model)
        assert (told["model"], told["version"], len(told["answers"])) == (model, "0", 2)
        for row, answer in enumerate(told["answers"]):
            assert list(answer["probabilities"]) == list(expected.labels)
            assert list(answer["probabilities"].values()) == expected.probabilities[row].tolist()
            assert answer["expected_value"] == expected.expected_value[row]
            assert answer["decisions"] == {
                name: one.chosen[row] for name, one in expected.decisions.items()
            }


def test_it_says_what_is_wrong(example, running):
    """The status and the text of the service, and exit status 1."""
    done = asked(example, running.address, "beer", "{}")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.match(r"NOT_FOUND: .*'beer' is not served", done.stderr)


def asked(folder, *arguments):
    """Run it to its end."""
    return subprocess.run(
        ["node", "predict.mjs", *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_the_lock_names_no_registry(root):
    """Whoever installs takes packages from where they are used to."""
    lock = (root / "examples" / "node" / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert '"integrity"' in lock
