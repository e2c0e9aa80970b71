"""The services of compose.yaml as processes of this machine, from nothing to a prediction."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import composed
import numpy as np
import pytest

from serving.client import Client


@pytest.mark.slow
@pytest.mark.skipif(
    not composed.PROGRAMS, reason="no PostgreSQL (Debian: apt install postgresql; make postgres)"
)
def test_the_services_start_in_order_and_end_with_an_answer(root: Path, tmp_path: Path) -> None:
    """Each becomes healthy by its check, the first retraining makes a champion, the service answers.

    No password is on a command line or in a log, and a second start trains nothing.
    """
    stack = composed.Stack(tmp_path)
    project = stack.folder_of("work")
    (project / "examples").mkdir()
    shutil.copy(root / "examples" / "digits.toml", project / "examples")
    plan = (root / "prefect.yaml").read_text(encoding="utf-8")
    few = plan.replace("changes: []", 'changes: ["search.trials=3", "search.epochs=2"]')
    assert few != plan
    (project / "prefect.yaml").write_text(few, encoding="utf-8")
    with composed.postgres(stack.ports["postgres"]) as administrator:
        try:
            script = root / "deploy" / "compose" / "databases.sh"
            environment = {**administrator, "SECRETS": str(stack.secrets)}
            subprocess.run([script], env=environment, check=True)
            stack.start_objects()
            stack.run("bucket")
            for name in ("mlflow", "prefect"):
                stack.start(name)
            stack.run("deploy", where=project)
            stack.start("worker", PYTHONPATH=str(root))
            assert "begins, since there is nothing to serve yet" in stack.run("seed")
            stack.start("serve")
            assert stack.run("seed") == ""
            with Client(f"127.0.0.1:{stack.ports['serve']}") as client:
                answer = client.predict(np.zeros((1, 8, 8, 1), np.uint8))
            assert answer.probabilities.sum() == pytest.approx(1, abs=1e-5)
            secrets = [path.read_text(encoding="utf-8") for path in stack.secrets.iterdir()]
            passwords = set(re.findall(r"[0-9a-f]{20,}", " ".join(secrets)))
            lines = ""
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):  # a process that has gone
                    lines += path.read_bytes().replace(b"\0", b" ").decode(errors="replace") + "\n"
            said = lines + "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.log"))
            assert "--pool=retraining" in lines
            assert not any(word in said for word in passwords)
        finally:
            stack.close()
