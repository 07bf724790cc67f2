"""Settings of TensorFlow and Keras that apply to the whole process. Each is set for some work and restored after it."""

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

# Environment variables that make libraries multiply float32 in a shorter type, and the values that do not.
SHORTCUTS = {
    "ONEDNN_DEFAULT_FPMATH_MODE": ("", "STRICT"),
    "DNNL_DEFAULT_FPMATH_MODE": ("", "STRICT"),
    "TF_SET_ONEDNN_FPMATH_MODE": ("", "STRICT"),
    "NVIDIA_TF32_OVERRIDE": ("", "0"),
}


@contextlib.contextmanager
def true_float32() -> Iterator[None]:
    """Makes the hardware multiply float32 in full precision, regardless of the precision of training.

    A GPU would use the shorter TensorFloat-32. Its rounding would affect every score, and the images with which an
    exported model is verified on another machine.

    Raises:
        ValueError: An environment variable makes a library use a shorter type, which cannot be changed from here.
    """
    for name, exact in SHORTCUTS.items():
        value = os.environ.get(name, "")
        if value.upper() not in exact:
            raise ValueError(
                f"expected full float32 for scores and exported models; unset {name}. Received: {name}={value!r}"
            )
    short = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(enabled=short)


@contextlib.contextmanager
def deterministic(*, enabled: bool) -> Iterator[None]:
    """Makes TensorFlow use deterministic kernels, or the fastest ones if not enabled, and restores the old setting."""
    from tensorflow.python.framework import config  # the public API can only enable it

    before = config.is_op_determinism_enabled()
    _switch(config, enabled)
    try:
        yield
    finally:
        _switch(config, before)


@contextlib.contextmanager
def without_remapper() -> Iterator[None]:
    """Disables a graph optimization of TensorFlow that fails on the gradients of networks.

    Grappler's remapper tries to fuse a convolution with an activation whose input the gradient needs. It fails and logs
    an error for every graph, so nothing is lost by disabling it.
    """
    before = tf.config.optimizer.get_experimental_options().get("remapping", True)
    tf.config.optimizer.set_experimental_options({"remapping": False})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"remapping": before})


@contextlib.contextmanager
def keras_seed(key: int) -> Iterator[None]:
    """Makes the initial weights of networks built in this context depend on a key. Keras draws seeds from `random`."""
    before = random.getstate()
    random.seed(key)
    try:
        yield
    finally:
        random.setstate(before)


def without_autograph(function: Callable[P, R]) -> Callable[P, R]:
    """Disables AutoGraph for the graphs that a function traces.

    AutoGraph would rewrite the source of each traced function, which takes about a second per training. It is only
    needed if a branch or loop of Python depends on a tensor, which is never the case here.
    """

    @functools.wraps(function)
    def call_without_autograph(*args: P.args, **kwargs: P.kwargs) -> R:
        result: R = tf.autograph.experimental.do_not_convert(function)(*args, **kwargs)
        return result

    return call_without_autograph


def _switch(config: object, enabled: bool) -> None:
    if enabled:
        tf.config.experimental.enable_op_determinism()
    else:
        config.disable_op_determinism()  # type: ignore[attr-defined]  # not part of the public API
