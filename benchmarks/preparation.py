"""How fast, and in how much memory, real image files become a dataset: by one core, by two, and by a plain Pillow loop.

    python benchmarks/preparation.py --data FOLDER [--rounds 5] [--archive flowers_128.zip --archive ...]

Writes the 60,000 training images of Fashion-MNIST (idx files in FOLDER) as PNG files into a temporary folder, and
prepares them in eight shards; then the photos of archives, brought to 64x64, each under so many names that they are
60,000 files too. The ways take turns, so that each round meets the same machine; what counts is the median
of the rounds' ratios. Each run is a process of its own: its time is that from the listing to the whole dataset on the
disk. Memory, which costs time to look at, is that of one more run each: the highest sum of what all its processes have
for themselves (PSS). The bytes of every way are compared, and memory is measured for twice as many files too.
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
WAYS = {"one core": ("ours", 1), "two cores": ("ours", 2), "Pillow loop": ("loop", 1)}


def main() -> None:
    """Measures, and prints a table."""
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
    with tempfile.TemporaryDirectory() as place:
        images = write_fashion_mnist(arguments.data, Path(place) / "images", count=arguments.images)
        measure("grey 28x28, PNG", images, Path(place), rounds=arguments.rounds, size=28)
        lengthen(images, 2 * arguments.images)
        found = timed("ours", 2, images, Path(place) / "twice", size=28, watched=True)
        print(f"twice as many, two cores: {found['speed']:.0f} images/s, {found['memory']:.0f} MB\n", flush=True)
        for archive in arguments.archive:
            photos = Path(place) / archive.stem
            with zipfile.ZipFile(archive) as file:
                file.extractall(photos)
            lengthen(photos, arguments.images)
            measure(f"{archive.stem}, to colour 64x64", photos, Path(place), rounds=arguments.rounds, size=64)


def write_fashion_mnist(data: Path, folder: Path, *, count: int) -> Path:
    """Writes images as `<class>/<number>.png`."""
    raw = [gzip.decompress((data / f"train-{name}-ubyte.gz").read_bytes()) for name in ("images-idx3", "labels-idx1")]
    pixels = np.frombuffer(raw[0], np.uint8, offset=16).reshape(-1, 28, 28)
    for index, label in enumerate(raw[1][8 : 8 + count]):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[index]).save(folder / str(label) / f"{index:05d}.png")
    return folder


def lengthen(folder: Path, count: int) -> None:
    """Gives files further names until there are so many."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for number in range(len(files), count):
        path = files[number % len(files)]
        os.link(path, path.with_name(f"{number // len(files)}-{path.name}"))


def measure(title: str, images: Path, place: Path, *, rounds: int, size: int) -> None:
    """Times every way in turns and prints medians, spreads and ratios."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way, (kind, cores) in list(WAYS.items())[:: 1 if number % 2 == 0 else -1]:
            found[way].append(timed(kind, cores, images, place / way.replace(" ", "-"), size=size))
    memory = {way: timed(*WAYS[way], images, place / "watched", size=size, watched=True)["memory"] for way in WAYS}
    same = contents(place / "one-core") == contents(place / "two-cores")
    print(f"{title}; {found['one core'][0]['images']:.0f} images, {rounds} rounds", flush=True)
    for way, runs in found.items():
        speeds = sorted(run["speed"] for run in runs)
        ratios = sorted(run["speed"] / base["speed"] for run, base in zip(runs, found["one core"], strict=True))
        print(
            f"{way:12} {statistics.median(speeds):6.0f} images/s ({speeds[0]:.0f} to {speeds[-1]:.0f}), "
            f"{statistics.median(ratios):.2f} times one core ({ratios[0]:.2f} to {ratios[-1]:.2f}), "
            f"listing {statistics.median(run['listing'] for run in runs):.2f} s, "
            f"CPU {statistics.median(run['cpu'] for run in runs):.1f} s, "
            f"memory {memory[way]:.0f} MB",
            flush=True,
        )
    print(f"one core and two: {'the same bytes' if same else 'OTHER BYTES'}\n", flush=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Returns the files of a dataset."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def timed(kind: str, cores: int, images: Path, output: Path, *, size: int, watched: bool = False) -> dict[str, float]:
    """Runs one way in a process of its own on some cores; memory in MB if it is watched, which costs time itself."""
    words = [kind, str(cores), str(images), str(output), str(size)]
    command = [sys.executable, __file__, "--data", ".", "--run", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        highest = [0]
        watcher = threading.Thread(target=watch, args=(process, highest))
        if watched:
            watcher.start()
        said, _ = process.communicate()
        if watched:
            watcher.join()
    if process.returncode:
        raise SystemExit(said)
    return {**json.loads(said.splitlines()[-1]), "memory": highest[0] / 1e6}


def watch(process: subprocess.Popen[str], highest: list[int]) -> None:
    """Notes the highest sum of the memory of a process and those below it."""
    while process.poll() is None:
        total = 0
        try:
            root = psutil.Process(process.pid)
            for one in [root, *root.children(recursive=True)]:
                total += one.memory_full_info().pss
        except psutil.Error:
            continue
        highest[0] = max(highest[0], total)
        time.sleep(0.2)


def run(kind: str, cores: str, images: str, output: str, size: str) -> None:
    """Prepares images one way and prints what it took as the last line."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    colour = "grey" if size == "28" else "rgb"
    began = time.perf_counter()
    if kind == "loop":
        count, listed = pillow_loop(Path(images), Path(output), size=int(size), mode="L" if colour == "grey" else "RGB")
    else:
        from ganlib.data import DataConfig, ImageFolder, prepare

        source = ImageFolder(path=images)
        source.listing()  # once more than need be, to time it
        listed = time.perf_counter() - began
        began = time.perf_counter()
        made = prepare(DataConfig(source=source, size=int(size), colour=colour, shards=SHARDS), Path(output))
        count = made.count("train") + made.count("test")
    seconds = time.perf_counter() - began
    spent = [os.times().user, os.times().system, os.times().children_user, os.times().children_system]
    print(json.dumps({"images": count, "speed": count / seconds, "listing": listed, "cpu": sum(spent)}))


def pillow_loop(folder: Path, output: Path, *, size: int, mode: str) -> tuple[int, float]:
    """What a person writes: open, convert, resize, keep; no check, no split, no order, no checksum."""
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
