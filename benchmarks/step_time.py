"""Minutes of training per 1,000 steps, by size of the images and preset.

    python benchmarks/step_time.py [--presets dcgan r3gan] [--sizes 32 64 128] [--batch-size 64]

Trains on random colour images, twice for each line: a few steps, then more. The difference is the time of the
additional steps alone, without tracing, scores and checkpoints. Two times are printed: what the clock shows, and the
processors' time divided by their number. The second one is a lower bound of the first one, and hardly depends on other
programs that run.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from ganlib.data import prepare
from ganlib.evaluation import measure_reference
from ganlib.training import train
from pipelines.settings import resolve

import numpy as np  # isort: skip

IMAGES = 200
WARMUP = 4  # steps of the shorter training
PIXELS = 40 * 32 * 32  # of the additional steps: 40 of 32x32, 10 of 64x64, but at least 4


def main() -> None:
    """Measures and prints a Markdown table, a row at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["dcgan", "r3gan"], help="loss presets")
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 64, 128], help="sides of the images in pixels")
    parser.add_argument("--batch-size", type=int, default=64, help="images in a step")
    options = parser.parse_args()
    print("| preset | size | clock, min per 1,000 steps | processors, min per 1,000 steps |")
    print("|---|---|---|---|")
    for preset in options.presets:
        for size in options.sizes:
            with tempfile.TemporaryDirectory() as folder:
                clock, cores = measure(preset, size, options.batch_size, Path(folder))
            print(f"| `{preset}` | {size} | {clock:.1f} | {cores:.1f} |", flush=True)


def measure(preset: str, size: int, batch_size: int, folder: Path) -> tuple[float, float]:
    """Returns minutes per 1,000 steps by the clock, and those of the processors divided by their number."""
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, size, size, 3), np.uint8)
    np.savez(folder / "images.npz", images=images)
    more = max(4, PIXELS // size**2)
    assignments = [
        "data.source.kind=arrays",
        f"data.source.path={folder / 'images.npz'}",
        f"data.size={size}",
        "evaluation.extractor=random",
        f"training.batch_size={batch_size}",
        "training.score_every=1000",
        "training.sample_every=1000",
        "training.checkpoint_every=1000",
    ]
    config = resolve(chosen=["folder", preset], assignments=assignments)
    dataset = prepare(config.data, folder / "dataset")
    reference = measure_reference(dataset, config.evaluation, folder / "reference")
    times = []
    for steps in (WARMUP, WARMUP + more):
        clock, processors = time.perf_counter(), time.process_time()
        train(
            dataset,
            reference,
            task=config.task,
            architecture=config.model,
            objective=config.objective,
            config=config.training.model_copy(update={"steps": steps}),
            output=folder / str(steps),
        )
        times.append((time.perf_counter() - clock, (time.process_time() - processors) / (os.cpu_count() or 1)))
    (few, few_cores), (many, many_cores) = times
    return (many - few) / more * 1000 / 60, (many_cores - few_cores) / more * 1000 / 60


if __name__ == "__main__":
    main()
