"""In how many bits the backbone computes while it is trained."""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

MIXED = "mixed_bfloat16"
"""Not float16, which ends at 65,504: gradients of steep costs and weighted rows go beyond. bfloat16 goes as
far as float32, and so takes no scaling of the loss."""
_HALF = (8, 0)  # the first compute capability whose units multiply bfloat16


def policy(precision: Literal["auto", "float32", "mixed"]) -> str:
    """Return the Keras policy of the backbone; "auto" is mixed where a GPU multiplies bfloat16."""
    mixed = precision == "mixed" or (precision == "auto" and _fast())
    return MIXED if mixed else "float32"


def _fast() -> bool:
    details = [
        tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")
    ]
    return bool(details) and all(one.get("compute_capability", (0, 0)) >= _HALF for one in details)
