"""Compares the speed of our loop with the tutorial's: same network, batch size and images, interleaved.

    python benchmarks/training_speed.py [--rounds 7] [--steps 3] [--onednn]

Prints medians over the rounds, ratios to the tutorial's loop, and the speed relative to the matrix product peak of this
machine, measured in the same rounds. bfloat16 is measured if the CPU supports it natively. `--onednn` measures the
effect of TF_ENABLE_ONEDNN_OPTS in subprocesses.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SIZE, BATCH = 28, 256


def main() -> None:
    """Runs the measurements and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds")
    parser.add_argument("--steps", type=int, default=3, help="steps of each candidate in a round")
    parser.add_argument("--onednn", action="store_true", help="compare oneDNN on and off instead")
    options = parser.parse_args()
    if options.onednn:
        _compare_onednn(options.rounds, options.steps)
        return
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder), options.rounds, options.steps)


def _measure(folder: Path, rounds: int, steps: int) -> None:
    # Before TensorFlow, because it sets environment variables for it; they apply to all candidates.
    from ganlib.data import DataConfig, prepare
    from ganlib.training.strategy import resolve_precision, resolve_strategy

    resolve_strategy(2)  # must create the logical devices before TensorFlow is used
    from tutorial import Tutorial

    dataset = prepare(DataConfig(size=SIZE), folder / "dataset")
    tutorial = Tutorial(dataset.load("train")[0], seed=0)
    tutorial.train(2)  # traced before our loop changes options of the graph optimiser
    candidates: dict[str, Callable[[int], float]] = {
        "tutorial": lambda count: _timed(lambda: tutorial.train(count), count),
        "ours float32": _ours(dataset),
        "ours float32, alternating": _ours(dataset, updates="alternating"),
        "ours float32, two replicas": _ours(dataset, replicas=2),
    }
    if resolve_precision("auto") == "mixed_bfloat16":
        candidates["ours bfloat16"] = _ours(dataset, dtype="mixed_bfloat16")
        candidates["ours bfloat16, alternating"] = _ours(dataset, dtype="mixed_bfloat16", updates="alternating")
    else:
        print("bfloat16 is not measured: this CPU does not support it")
    for run in candidates.values():
        run(2)  # traces the graph and warms up
    times: dict[str, list[float]] = {name: [] for name in candidates}
    peaks = []
    for _ in range(rounds):
        peaks.append(_matrix_peak())
        for name, run in candidates.items():
            times[name].append(run(steps))
    peak = statistics.median(peaks)
    megaflops = _flops_per_image(alternating=False) / 1e6
    print(f"float32 matrix-product peak {peak / 1e9:.0f} GFLOP/s; {megaflops:.0f} MFLOP per image")
    for name, seconds in times.items():
        ratios = sorted(base / own for base, own in zip(times["tutorial"], seconds, strict=True))
        rate = BATCH / statistics.median(seconds)
        flops = _flops_per_image(alternating="alternating" in name)
        print(
            f"RESULT {name:<28} {statistics.median(seconds) * 1e3:7.0f} ms per step  {rate:6.0f} images/s  "
            f"{100 * rate * flops / peak:3.0f} % of peak  "
            f"{statistics.median(ratios):.3f} times the tutorial's speed ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )
    pairs = zip(times["ours float32, two replicas"], times["ours float32"], strict=True)
    costs = sorted(two / one - 1 for two, one in pairs)
    print(f"RESULT two replicas cost {100 * statistics.median(costs):.0f} % more time than one")


def _ours(
    dataset, *, replicas: int = 1, dtype: str = "float32", updates: str = "simultaneous"
) -> Callable[[int], float]:
    """Returns a function that runs steps of our loop and returns the seconds per step.

    Updates are simultaneous by default, as in the tutorial.
    """
    from ganlib import runtime
    from ganlib.models import Dcgan
    from ganlib.objectives import NonSaturating
    from ganlib.tasks import Generation
    from ganlib.training import TrainConfig
    from ganlib.training.state import build_state
    from ganlib.training.strategy import resolve_strategy
    from ganlib.training.trainer import Trainer

    # Not deterministic, like the tutorial's loop.
    config = TrainConfig(batch_size=BATCH, deterministic=False, steps_per_loop=100, updates=updates)
    strategy, task = resolve_strategy(replicas), Generation()
    state = build_state(
        strategy,
        task=task,
        architecture=Dcgan(),
        config=config,
        image_shape=dataset.image_shape,
        classes=0,
        dtype=dtype,
    )
    trainer = Trainer(state, task=task, objective=NonSaturating(), strategy=strategy, config=config)

    class Clock:
        every = None
        seconds = 0.0

        def __call__(self, step, row, state) -> None:
            Clock.seconds = 1.0 / row["speed/steps_per_second"]

    def run(count: int) -> float:
        def batches(start: int):
            return dataset.batches(batch_size=BATCH, seed=0, start=start)

        with runtime.without_remapper():
            trainer.run(batches, steps=state.clock.step + count, callbacks=[Clock()])
        return Clock.seconds

    return run


def _timed(work: Callable[[], None], count: int) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) / count


def _matrix_peak() -> float:
    """Returns the floating-point operations per second of a large float32 matrix product."""
    import tensorflow as tf

    side, repeats = 2048, 4
    matrix = tf.random.normal([side, side])
    product = tf.function(lambda value: tf.reduce_sum(value @ value))
    product(matrix).numpy()
    seconds = _timed(lambda: [product(matrix).numpy() for _ in range(repeats)], repeats)
    return 2 * side**3 / seconds


def _flops_per_image(*, alternating: bool) -> float:
    """Returns the operations of a step per image: two for each multiplication in convolutions and dense layers.

    The generator has one forward pass, and backward passes for weights and activations: three times its products. The
    discriminator has the same for real and fake images, and a backward pass for activations in the generator's update:
    seven times its products. Alternating updates add a forward pass.
    """
    dense, first, second, last = 100 * 12544, 49 * 256 * 128 * 25, 49 * 128 * 64 * 25, 196 * 64 * 25
    generator = dense + first + second + last
    discriminator = 196 * 25 * 64 + 49 * 25 * 64 * 128 + 6272
    return 2.0 * (3 * generator + (8 if alternating else 7) * discriminator)


def _compare_onednn(rounds: int, steps: int) -> None:
    """Runs this script with and without oneDNN in turn and prints the ratio of our loop's speeds."""
    rates: dict[str, list[float]] = {"0": [], "1": []}
    for _ in range(2):
        for value, milliseconds in rates.items():
            command = [sys.executable, __file__, "--rounds", str(rounds), "--steps", str(steps)]
            environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": value}
            process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            match = re.search(r"RESULT ours float32 +(\d+) ms", process.stdout)
            if match is None:
                raise RuntimeError(f"expected a result line. Received: {process.stdout!r}")
            milliseconds.append(float(match.group(1)))
    ratio = statistics.median(off / on for off, on in zip(rates["0"], rates["1"], strict=True))
    print(f"RESULT oneDNN makes a step {ratio:.2f} times as fast: {rates['0']} ms without, {rates['1']} ms with")


if __name__ == "__main__":
    main()
