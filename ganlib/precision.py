"""The one place that says how exact float32 is: whatever is scored, shipped or compared is computed in true float32."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

# Variables by which users have libraries multiply float32 as something shorter, and the values that do not.
SHORTCUTS = {
    "ONEDNN_DEFAULT_FPMATH_MODE": ("", "STRICT"),
    "DNNL_DEFAULT_FPMATH_MODE": ("", "STRICT"),
    "TF_SET_ONEDNN_FPMATH_MODE": ("", "STRICT"),
    "NVIDIA_TF32_OVERRIDE": ("", "0"),
}


@contextlib.contextmanager
def true_float32() -> Iterator[None]:
    """Has the hardware multiply float32 as float32, whatever training in this process does meanwhile.

    A GPU would take the shorter TensorFloat-32, whose rounding would be part of every score, and of every image that a
    model is checked by on another machine.

    Raises:
        ValueError: A variable of the environment has a library take a shorter type, which cannot be undone from here.
    """
    for name, exact in SHORTCUTS.items():
        value = os.environ.get(name, "")
        if value.upper() not in exact:
            raise ValueError(
                f"expected true float32 for what is scored or shipped; unset {name}. Received: {name}={value!r}"
            )
    short = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(enabled=short)
