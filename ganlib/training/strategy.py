"""Which devices train, in which precision, and with which seeds. Decided once a process."""

from __future__ import annotations

import functools
from pathlib import Path

from etils import epy

from ganlib.training.config import Precision

with epy.lazy_imports():
    import keras
    import tensorflow as tf

NATIVE_BFLOAT16_CPU = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
NATIVE_BFLOAT16_GPU = (8, 0)  # compute capability from which NVIDIA's tensor cores take bfloat16


def resolve_strategy(replicas: int | None) -> tf.distribute.Strategy:
    """Returns the strategy for a number of replicas; None means all GPUs, or one CPU.

    Several replicas without GPUs run on logical CPU devices, which must be set up before TensorFlow
    touches a device: the first call in a process decides how many there are.

    Raises:
        ValueError: More replicas are asked for than there are GPUs, or than this process set up.
    """
    gpus = tf.config.list_physical_devices("GPU")
    count = replicas or max(1, len(gpus))
    if gpus:
        if count > len(gpus):
            raise ValueError(f"expected at most one replica a GPU, {len(gpus)}. Received: training.replicas={count}")
    elif count > 1:
        _set_up_logical_cpus(count)
    # One device needs no MirroredStrategy: the default strategy runs the same code without its copies.
    return tf.distribute.get_strategy() if count == 1 else _mirrored(count, "GPU" if gpus else "CPU")


@functools.cache
def _mirrored(count: int, kind: str) -> tf.distribute.Strategy:
    """The one MirroredStrategy of a process and device set: a second one aborts in its collectives."""
    devices = [f"{kind}:{index}" for index in range(count)]
    # Collectives let CPU threads wait for each other: with them a step of two replicas took 1.24 times that of one
    # (benchmarks/training_speed.py), with sums on one device 1.04 times. GPUs keep NCCL.
    sums = tf.distribute.ReductionToOneDevice() if kind == "CPU" else None
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=sums)


def _set_up_logical_cpus(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    configured = tf.config.get_logical_device_configuration(cpu)
    if configured is not None and len(configured) >= count:
        return
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        raise ValueError(
            "the number of logical CPU devices is fixed once TensorFlow runs: ask for the replicas first in a process. "
            f"Received: training.replicas={count}"
        ) from error


def resolve_precision(precision: Precision) -> str:
    """Returns the Keras dtype policy, `float32` or `mixed_bfloat16`."""
    if precision == "auto":
        precision = "bfloat16" if _computes_bfloat16() else "float32"
    return {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]


def _computes_bfloat16() -> bool:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        return all(item.get("compute_capability", (0, 0)) >= NATIVE_BFLOAT16_GPU for item in details)
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and not NATIVE_BFLOAT16_CPU.isdisjoint(cpuinfo.read_text().split())


def seed_everything(seed: int, *, deterministic: bool) -> None:
    """Seeds Python, NumPy and TensorFlow, and asks for reproducible kernels if wanted."""
    # Grappler's remapper fuses a convolution with the activation whose input its own gradient needs, and
    # fails with an error message for every graph: without it nothing is lost.
    tf.config.optimizer.set_experimental_options({"remapping": False})
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
