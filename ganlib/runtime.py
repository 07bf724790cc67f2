"""What holds for a whole process: set for some work, and put back after it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf


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


def _switch(config: object, enabled: bool) -> None:
    if enabled:
        tf.config.experimental.enable_op_determinism()
    else:
        config.disable_op_determinism()  # type: ignore[attr-defined]  # no part of the public interface
