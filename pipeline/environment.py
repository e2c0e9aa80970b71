"""What must be set before other people's packages are imported, because they read it only then."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

DEFAULTS = {
    # Nothing leaves the machine unasked.
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Prefect's embedded server creates its database on the first start; its own limit of 20 s is too short.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # A run outlives two minutes without Prefect's server, and without the database behind that (its 500).
    "PREFECT_CLIENT_MAX_RETRIES": "6",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
    # We state the packages that a model needs; MLflow's guessing takes tens of seconds.
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    # Nor does it write among what our commands write.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "KERAS_BACKEND": "tensorflow",
    # Above INFO and WARNING: TensorFlow greets with pages about the CPU.
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


def prepare() -> None:
    """Set what the environment does not set yet."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def keep_interrupts() -> None:
    """Let SIGINT interrupt what this thread waits for, as Python has it.

    polars, which MLflow imports where it is installed, handles SIGINT too, and lets a wait go on after it.
    """
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what native libraries write to the standard error stream, before any log level applies.

    It is shown where an error passes.
    """
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as chatter:
        os.dup2(chatter.fileno(), 2)
        try:
            yield
        except BaseException:
            chatter.seek(0)
            os.write(shown, chatter.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)


def import_tensorflow(*, use: bool = True) -> None:
    """Import TensorFlow without its start-up chatter; without `use` its devices are not touched yet."""
    prepare()
    with quiet():
        import tensorflow as tf

        if use:
            tf.config.list_physical_devices("GPU")

    # Each trial is a network of its own and has to be traced; the warning means loops that needn't.
    logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in record.getMessage())


def take_devices(place: int, threads: int, replicas: int = 1) -> int:
    """Let TensorFlow use so many threads and some of the GPUs; return how many GPUs there are.

    Args:
        place: Of this process among those that train; they take the GPUs in turn.
        threads: 0 for as many as TensorFlow likes.
        replicas: GPUs that a training of this process is spread over.
    """
    with quiet():
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if gpus:
            count = min(replicas, len(gpus))
            mine = [gpus[(place * count + i) % len(gpus)] for i in range(count)]
            tf.config.set_visible_devices(mine, "GPU")
            for gpu in mine:
                tf.config.experimental.set_memory_growth(gpu, True)  # others may train on it too
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    return len(gpus)
