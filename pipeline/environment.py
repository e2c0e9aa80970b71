"""What must be set before other people's packages are imported, because they read it only then."""

from __future__ import annotations

import logging
import os
import sys
import tempfile

_DEFAULTS = {
    # Nothing leaves the machine unasked.
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Prefect's embedded server creates its database on the first start; its own limit of 20 s is too short.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # We state the packages that a model needs; MLflow's guessing takes tens of seconds.
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "KERAS_BACKEND": "tensorflow",
    # Above INFO and WARNING: TensorFlow greets with pages about the CPU.
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def prepare() -> None:
    """Set what the environment does not set yet."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def import_tensorflow() -> int:
    """Import TensorFlow and look for GPUs without its start-up chatter; return how many GPUs it sees.

    Its native libraries write to the standard error stream before any log level applies. What they
    wrote is shown where the import fails.
    """
    prepare()
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            import tensorflow as tf

            # Each trial is a network of its own and has to be traced; the warning means loops that needn't.
            logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in record.getMessage())
            return len(tf.config.list_physical_devices("GPU"))
        except BaseException:
            chatter.seek(0)
            os.write(shown, chatter.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)
