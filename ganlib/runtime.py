"""What holds for a whole process: set for some work, and put back after it."""

from __future__ import annotations

import contextlib
import functools
import os
import random
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

P = ParamSpec("P")
R = TypeVar("R")

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


@contextlib.contextmanager
def deterministic(*, enabled: bool) -> Iterator[None]:
    """Has TensorFlow choose kernels that give equal bits for equal inputs, or the fastest ones, whatever was set."""
    from tensorflow.python.framework import config  # only the switch on is public

    before = config.is_op_determinism_enabled()
    _switch(config, enabled)
    try:
        yield
    finally:
        _switch(config, before)


@contextlib.contextmanager
def without_remapper() -> Iterator[None]:
    """Has TensorFlow leave out an optimization of graphs that fails on networks' gradients.

    Grappler's remapper fuses a convolution with the activation whose input its own gradient needs, and fails with an
    error message for every graph: without it nothing is lost.
    """
    before = tf.config.optimizer.get_experimental_options().get("remapping", True)
    tf.config.optimizer.set_experimental_options({"remapping": False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"remapping": before})


@contextlib.contextmanager
def keras_seed(key: int) -> Iterator[None]:
    """Has networks that are built meanwhile start from the weights of a key: Keras draws seeds by Python's `random`."""
    before = random.getstate()
    random.seed(key)
    try:
        yield
    finally:
        random.setstate(before)


def without_autograph(function: Callable[P, R]) -> Callable[P, R]:
    """Has TensorFlow trace what a function makes graphs of as it is written.

    AutoGraph would read and rewrite the source of each, a second in all for a training; that is needed where a branch
    or loop of Python depends on a tensor, and none here does.
    """

    @functools.wraps(function)
    def traced_as_written(*args: P.args, **kwargs: P.kwargs) -> R:
        result: R = tf.autograph.experimental.do_not_convert(function)(*args, **kwargs)
        return result

    return traced_as_written


def _switch(config: object, enabled: bool) -> None:
    if enabled:
        tf.config.experimental.enable_op_determinism()
    else:
        config.disable_op_determinism()  # type: ignore[attr-defined]  # no part of the public interface
