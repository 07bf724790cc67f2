"""The devices and the precision of a training, chosen once per process."""

from __future__ import annotations

import functools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Distribution = Literal["auto", "mirrored"]
Compilation = Literal["auto"] | bool

NATIVE_BFLOAT16_CPU = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
NATIVE_BFLOAT16_GPU = (8, 0)  # compute capability from which NVIDIA's tensor cores take bfloat16
NATIVE_FLOAT16_GPU = (7, 0)  # and from which there are tensor cores, for float16: V100, T4


CLUSTER = "TF_CONFIG"
LOST = "another worker was lost"  # begins the message of those that are left
TRAINERS = ("chief", "worker")  # the tasks of a cluster that train


def resolve_strategy(replicas: int | None, distribution: Distribution = "auto") -> tf.distribute.Strategy:
    """Returns the strategy for a number of replicas; None means all GPUs, or one CPU.

    If `TF_CONFIG` names several workers, as set by TFJob and Vertex AI, it is a MultiWorkerMirroredStrategy of all of
    them, and this call waits for the others.

    Several replicas without GPUs run on logical CPU devices. These must be set up before TensorFlow uses a device, so
    the first call in a process fixes their number.

    Args:
        replicas: Total number of replicas.
        distribution: `mirrored` ignores `TF_CONFIG`.

    Raises:
        ValueError: There are fewer GPUs or logical devices than replicas, the workers have another number, or
            `TF_CONFIG` is invalid.
    """
    if distribution == "auto" and _count_workers() > 1:
        strategy = _of_workers()
        if replicas not in (None, strategy.num_replicas_in_sync):
            raise ValueError(
                f"expected the {strategy.num_replicas_in_sync} replicas of the workers in {CLUSTER}, or null. "
                f"Received: training.replicas={replicas}"
            )
        return strategy
    gpus = tf.config.list_physical_devices("GPU")
    count = replicas or max(1, len(gpus))
    if gpus:
        if count > len(gpus):
            raise ValueError(f"expected at most one replica a GPU, {len(gpus)}. Received: training.replicas={count}")
    elif count > 1:
        _set_up_logical_cpus(count)
    # One device needs no MirroredStrategy. The default strategy runs the same code without copies.
    return tf.distribute.get_strategy() if count == 1 else _mirrored(count, "GPU" if gpus else "CPU")


def _count_workers() -> int:
    """Returns the number of training processes in `TF_CONFIG`, 0 without it."""
    text = os.environ.get(CLUSTER)
    if not text:
        return 0
    try:
        cluster = json.loads(text)
        kind, index = cluster["task"]["type"], int(cluster["task"]["index"])
        trainers = {name: cluster["cluster"].get(name, []) for name in TRAINERS}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"expected JSON with `cluster` and `task` in the variable {CLUSTER}. Received: {text[:200]!r}"
        ) from error
    if kind not in TRAINERS:
        raise ValueError(f"expected a task of the kind {' or '.join(TRAINERS)} in {CLUSTER}. Received: type={kind!r}")
    for name, addresses in trainers.items():
        if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
            raise ValueError(f"expected a list of addresses as {name} in {CLUSTER}. Received: {name}={addresses!r}")
    if not 0 <= index < len(trainers[kind]):
        raise ValueError(
            f"expected a task's index below {len(trainers[kind])}, the number of each {kind} in {CLUSTER}. "
            f"Received: index={index}"
        )
    return sum(map(len, trainers.values()))


@functools.cache
def _of_workers() -> tf.distribute.Strategy:
    """Returns the strategy of all workers, which must be created before TensorFlow computes anything."""
    print(f"train: waits for the other workers that {CLUSTER} names", flush=True)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # TensorFlow handles the signal, and does nothing
    return strategy


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process scores, records and saves: the chief of several workers, or the only process."""
    cluster = strategy.cluster_resolver
    if cluster is None:
        return True
    leader = "chief" if "chief" in cluster.cluster_spec().jobs else "worker"
    return bool(cluster.task_type == leader and cluster.task_id == 0)


def sum_over_workers(strategy: tf.distribute.Strategy, values: Sequence[float]) -> list[float]:
    """Returns the sums of values over all workers, so that all of them decide the same; the values without workers.

    Values that only the chief knows are zero on the others.
    """
    if strategy.cluster_resolver is None:
        return list(values)
    own_replicas = strategy.num_replicas_in_sync // _count_workers()

    def own(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
        first = context.replica_id_in_sync_group % own_replicas == 0
        return tf.constant([*values] if first else [0.0] * len(values), tf.float64)

    spread = strategy.experimental_distribute_values_from_function(own)
    totals: list[float] = strategy.reduce(tf.distribute.ReduceOp.SUM, spread, axis=None).numpy().tolist()
    return totals


def agree(strategy: tf.distribute.Strategy, value: Callable[[], Sequence[float]]) -> bool:
    """Returns whether values are equal on all workers. Without workers they are not computed."""
    if strategy.cluster_resolver is None:
        return True
    own = list(value())
    chiefs = sum_over_workers(strategy, own if is_chief(strategy) else [0.0] * len(own))
    return sum_over_workers(strategy, [float(chiefs != own)]) == [0.0]


@contextmanager
def report_lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Replaces TensorFlow's errors about a lost worker by one line.

    Raises:
        RuntimeError: Another worker was lost.
    """
    errors = tf.errors
    gone = (errors.AbortedError, errors.CancelledError, errors.DeadlineExceededError, errors.InternalError)
    try:
        yield
    except (*gone, errors.UnavailableError) as error:
        if strategy.cluster_resolver is None:
            raise
        raise RuntimeError(f"{LOST}; start all workers again to resume from the last checkpoint") from error


@functools.cache
def _mirrored(count: int, kind: str) -> tf.distribute.Strategy:
    """Returns the only MirroredStrategy of these devices, since a second one aborts in its collectives."""
    devices = [f"{kind}:{index}" for index in range(count)]
    # With collectives CPU threads wait for each other: a step of two replicas took 1.24 times that of one, with sums on
    # one device 1.04 times (benchmarks/training_speed.py). GPUs use NCCL.
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
            "the number of logical CPU devices is fixed once TensorFlow runs; resolve the replicas first in a process. "
            f"Received: training.replicas={count}"
        ) from error


def resolve_compilation(compilation: Compilation, replicas: int) -> bool:
    """Returns whether XLA compiles the updates.

    Args:
        compilation: The setting.
        replicas: Replicas in all.

    Raises:
        ValueError: There are several replicas, which exchange gradients within an update.
    """
    if compilation == "auto":
        return replicas == 1 and bool(tf.config.list_physical_devices("GPU"))
    if compilation and replicas > 1:
        raise ValueError(
            "several replicas cannot be compiled, expected training.compile=auto or false. "
            f"Received: training.compile=true, replicas={replicas}"
        )
    return compilation


def resolve_precision(precision: Precision, replicas: int = 1) -> str:
    """Returns the Keras dtype policy: `float32`, `mixed_bfloat16` or `mixed_float16`.

    Args:
        precision: The setting.
        replicas: Replicas in all.

    Raises:
        ValueError: float16 with several replicas, since Keras skips an update by the gradients of one of them.
    """
    if precision == "float16" and replicas > 1:
        raise ValueError(
            "float16 trains on one replica, expected training.precision=auto, float32 or bfloat16 for several. "
            f"Received: training.precision=float16, replicas={replicas}"
        )
    if precision == "auto":
        precision = "bfloat16" if _computes_bfloat16() else "float32"
        if precision == "float32" and replicas == 1 and _least_capability() >= NATIVE_FLOAT16_GPU:
            precision = "float16"
    return precision if precision == "float32" else f"mixed_{precision}"


def _least_capability() -> tuple[int, int]:
    """Returns the lowest compute capability of the GPUs; (0, 0) without GPUs or where it is unknown."""
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return min((item.get("compute_capability", (0, 0)) for item in details), default=(0, 0))


def _computes_bfloat16() -> bool:
    if tf.config.list_physical_devices("GPU"):
        return _least_capability() >= NATIVE_BFLOAT16_GPU
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and not NATIVE_BFLOAT16_CPU.isdisjoint(cpuinfo.read_text(encoding="utf-8").split())
