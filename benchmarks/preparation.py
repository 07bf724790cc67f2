"""Measures speed and memory of the preparation of image files: with one core, two cores, and a plain Pillow loop.

    python benchmarks/preparation.py --data FOLDER [--rounds 5] [--archive flowers_128.zip --archive ...]

Writes the 60,000 training images of Fashion-MNIST (idx files in FOLDER) as PNG files to a temporary folder, and
prepares them in eight shards. Then prepares the photos of archives at 64x64, with hard links to make 60,000 files. The
candidates run in turn, and the result is the median of the ratios of the rounds. Each run is a process. Its time is
from the list of files to the dataset on disk. Memory is measured in an extra run, because that takes time: the
highest sum over all its processes (PSS). The datasets are compared byte by byte, and memory is measured for twice as
many files, too.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

SHARDS = 8
CANDIDATES = {"one core": ("ours", 1), "two cores": ("ours", 2), "Pillow loop": ("loop", 1)}


def main() -> None:
    """Runs the measurements and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the four idx files of Fashion-MNIST")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--archive", type=Path, default=[], action="append", help="zip file of colour images")
    parser.add_argument("--run", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(*arguments.run)
        return
    with tempfile.TemporaryDirectory() as folder:
        images = write_fashion_mnist(arguments.data, Path(folder) / "images", count=arguments.images)
        measure("grey 28x28, PNG", images, Path(folder), rounds=arguments.rounds, size=28)
        add_links(images, 2 * arguments.images)
        result = run_process("ours", 2, images, Path(folder) / "twice", size=28, measure_memory=True)
        print(f"twice as many, two cores: {result['speed']:.0f} images/s, {result['memory']:.0f} MB\n", flush=True)
        for archive in arguments.archive:
            photos = Path(folder) / archive.stem
            with zipfile.ZipFile(archive) as file:
                file.extractall(photos)
            add_links(photos, arguments.images)
            measure(f"{archive.stem}, to colour 64x64", photos, Path(folder), rounds=arguments.rounds, size=64)


def write_fashion_mnist(data: Path, folder: Path, *, count: int) -> Path:
    """Writes the images as `<class>/<number>.png`."""
    raw = [gzip.decompress((data / f"train-{name}-ubyte.gz").read_bytes()) for name in ("images-idx3", "labels-idx1")]
    pixels = np.frombuffer(raw[0], np.uint8, offset=16).reshape(-1, 28, 28)
    for index, label in enumerate(raw[1][8 : 8 + count]):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[index]).save(folder / str(label) / f"{index:05d}.png")
    return folder


def add_links(folder: Path, count: int) -> None:
    """Adds hard links to files until there are `count` files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for number in range(len(files), count):
        path = files[number % len(files)]
        os.link(path, path.with_name(f"{number // len(files)}-{path.name}"))


def measure(title: str, images: Path, folder: Path, *, rounds: int, size: int) -> None:
    """Measures all candidates in turn and prints medians, ranges and ratios."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in CANDIDATES}
    for number in range(rounds):
        for name, (kind, cores) in list(CANDIDATES.items())[:: 1 if number % 2 == 0 else -1]:
            results[name].append(run_process(kind, cores, images, folder / name.replace(" ", "-"), size=size))
    memory = {
        name: run_process(*candidate, images, folder / "watched", size=size, measure_memory=True)["memory"]
        for name, candidate in CANDIDATES.items()
    }
    same = contents(folder / "one-core") == contents(folder / "two-cores")
    print(f"{title}; {results['one core'][0]['images']:.0f} images, {rounds} rounds", flush=True)
    for name, runs in results.items():
        speeds = sorted(run["speed"] for run in runs)
        ratios = sorted(run["speed"] / base["speed"] for run, base in zip(runs, results["one core"], strict=True))
        print(
            f"{name:12} {statistics.median(speeds):6.0f} images/s ({speeds[0]:.0f} to {speeds[-1]:.0f}), "
            f"{statistics.median(ratios):.2f} times one core ({ratios[0]:.2f} to {ratios[-1]:.2f}), "
            f"listing {statistics.median(run['listing'] for run in runs):.2f} s, "
            f"CPU {statistics.median(run['cpu'] for run in runs):.1f} s, "
            f"memory {memory[name]:.0f} MB",
            flush=True,
        )
    print(f"one core and two cores: {'the same bytes' if same else 'DIFFERENT BYTES'}\n", flush=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Returns the files of a dataset."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run_process(
    kind: str, cores: int, images: Path, output: Path, *, size: int, measure_memory: bool = False
) -> dict[str, float]:
    """Runs a candidate in a process on some cores; measures its memory in MB on request, which takes time."""
    arguments = [kind, str(cores), str(images), str(output), str(size)]
    command = [sys.executable, __file__, "--data", ".", "--run", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        highest = [0]
        thread = threading.Thread(target=record_memory, args=(process, highest))
        if measure_memory:
            thread.start()
        output_text, _ = process.communicate()
        if measure_memory:
            thread.join()
    if process.returncode:
        raise SystemExit(output_text)
    return {**json.loads(output_text.splitlines()[-1]), "memory": highest[0] / 1e6}


def record_memory(process: subprocess.Popen[str], highest: list[int]) -> None:
    """Records the highest total memory of a process and its children."""
    while process.poll() is None:
        total = 0
        try:
            root = psutil.Process(process.pid)
            for child in [root, *root.children(recursive=True)]:
                total += child.memory_full_info().pss
        except psutil.Error:
            continue
        highest[0] = max(highest[0], total)
        time.sleep(0.2)


def run(kind: str, cores: str, images: str, output: str, size: str) -> None:
    """Prepares images with one candidate and prints the measurements as JSON on the last line."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    colour = "grey" if size == "28" else "rgb"
    began = time.perf_counter()
    if kind == "loop":
        count, listed = pillow_loop(Path(images), Path(output), size=int(size), mode="L" if colour == "grey" else "RGB")
    else:
        from ganlib.data import DataConfig, ImageFolder, prepare

        source = ImageFolder(path=images)
        source.listing()  # once more, to measure its time
        listed = time.perf_counter() - began
        began = time.perf_counter()
        dataset = prepare(DataConfig(source=source, size=int(size), colour=colour, shards=SHARDS), Path(output))
        count = dataset.count("train") + dataset.count("test")
    seconds = time.perf_counter() - began
    spent = [os.times().user, os.times().system, os.times().children_user, os.times().children_system]
    print(json.dumps({"images": count, "speed": count / seconds, "listing": listed, "cpu": sum(spent)}))


def pillow_loop(folder: Path, output: Path, *, size: int, mode: str) -> tuple[int, float]:
    """A plain loop: open, convert, resize and store, without checks, split, order or checksums."""
    began = time.perf_counter()
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
    listed = time.perf_counter() - began
    images = np.empty((len(paths), size, size, len(mode) if mode == "RGB" else 1), np.uint8)
    for index, path in enumerate(paths):
        with Image.open(path) as image:
            converted = image.convert(mode)
            if converted.size != (size, size):
                converted = converted.resize((size, size))
            images[index] = np.asarray(converted).reshape(size, size, -1)
    output.mkdir(exist_ok=True)
    np.save(output / "images.npy", images)
    return len(paths), listed


if __name__ == "__main__":
    main()
