"""Whole scoring of two folders of images, ours and the peers', each program a process of its own, interleaved.

    python benchmarks/peers_scoring.py [--images 64] [--rounds 3] [--programs ours ...] [--out runs/peers_scoring.jsonl]
    python benchmarks/peers_scoring.py --images 10000 --rounds 1
    python benchmarks/peers_scoring.py --table

Needs requirements/peers.txt. From the start of a program to its end, with images read from PNG files, on as many
threads as it takes unasked; all have the same random weights, see benchmarks/inception_parity.py. The peak of memory is
that of the largest process: workers that read images for a peer are not added. Few images show what starting up and
square roots of large matrices cost; only 10,000, some 20 minutes a program, are what a user waits for.

`ours` is the command, which knows more than any peer: errors, what endless images would give, density and coverage.
The others compare like with like: ratios are to ours with the same measures. Values are equal where
the resize mode is: ours, torch-fidelity and torchmetrics have the legacy one, clean-fid the clean one,
pytorch-fid one of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SIDE = 32  # of the images, as in CIFAR-10
WIDTH = 2048
LARGEST_SUBSET = 1000
OURS = "ours"
OURS_DISTANCE = "ours, distance"
OURS_ALIKE = "ours, distances, precision and recall"

Values = dict[str, float]


def main() -> None:
    """Runs the programs, or one of them where it is told which."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, help="in each folder")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds")
    parser.add_argument("--programs", nargs="+", choices=[OURS, *PROGRAMS], default=[OURS, *PROGRAMS])
    parser.add_argument(
        "--out", type=Path, default=Path("runs/peers_scoring.jsonl"), help="file that lines are added to"
    )
    parser.add_argument("--table", action="store_true", help="only print what the file holds")
    parser.add_argument("--worker", nargs=4, metavar=("PROGRAM", "FIRST", "SECOND", "WEIGHTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, first, second, weights = options.worker
        print(json.dumps(PROGRAMS[name](first, second, weights)))
        return
    if not options.table:
        with tempfile.TemporaryDirectory() as folder:
            places = prepared(Path(folder), options.images)
            measure(places, options)
    print_table(options.out)


def prepared(folder: Path, count: int) -> list[str]:
    """Writes two folders of PNG files and a file of weights; returns their paths."""
    import numpy as np
    from PIL import Image
    from random_weights import write_weights

    for name, contrast in (("first", 0.95), ("second", 1.0)):
        (folder / name).mkdir()
        random = np.random.default_rng([count, int(100 * contrast)])
        for number in range(count):
            coarse = 128 + contrast * random.uniform(-128, 127, (8, 8, 3))
            picture = Image.fromarray(coarse.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            picture.save(folder / name / f"{number:05}.png")
    write_weights(folder / "weights.pth")
    return [str(folder / name) for name in ("first", "second", "weights.pth")]


def measure(places: list[str], options: argparse.Namespace) -> None:
    """Adds a line for each program and round to the file of results."""
    first, second, weights = places
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("a", encoding="utf-8") as file:
        for number in range(options.rounds):
            for name in options.programs:
                command = [sys.executable, __file__, "--worker", name, *places]
                if name == OURS:
                    command = [
                        sys.executable,
                        "-m",
                        "gan_pipelines",
                        "score",
                        first,
                        second,
                        "--weights",
                        weights,
                        "--json",
                    ]
                row = {"program": name, "images": options.images, "round": number, **measured(command)}
                print(json.dumps(row), file=file, flush=True)


def measured(command: list[str]) -> dict[str, object]:
    """Runs a command; returns its seconds, the peak of its memory, and the values on the last line it prints."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, env=surroundings)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"a program failed. Received: exit code {process.returncode} of {command}")
        output.seek(0)
        found = json.loads(output.read().splitlines()[-1])
    values = {score["name"]: score["value"] for score in found["scores"]} if "scores" in found else found
    peak = usage.ru_maxrss / 1024  # KiB on Linux
    return {"seconds": seconds, "processor": usage.ru_utime + usage.ru_stime, "mebibytes": peak, "values": values}


def ours_alike(first: str, second: str, weights: str, *, pairs: bool = True) -> Values:
    """The Frechet distance, and as torch-fidelity has them the kernel distance, precision and recall."""
    from ganlib.data import Images
    from ganlib.evaluation import Inception, Statistics
    from ganlib.evaluation.measures.frechet import frechet_distance
    from ganlib.evaluation.measures.kernel import kernel_distance
    from ganlib.evaluation.measures.precision_recall import precision_recall

    space = Inception().load(Path(weights))
    one, other = (space.all_outputs(Images.at(place).batches("rgb"))[0] for place in (first, second))
    found = {"fid": frechet_distance(*(Statistics.of([side]) for side in (one, other)))}
    if pairs:
        found["kid"] = kernel_distance(one, other)[0]
        found["precision"], found["recall"] = precision_recall(one, other)
    return found


def ours_distance(first: str, second: str, weights: str) -> Values:
    """The Frechet distance alone."""
    return ours_alike(first, second, weights, pairs=False)


def torch_fidelity_alike(first: str, second: str, weights: str, *, pairs: bool = True) -> Values:
    """The three measures of torch-fidelity that compare two sets."""
    import torch_fidelity

    count = min(len(list(Path(place).iterdir())) for place in (first, second))
    return torch_fidelity.calculate_metrics(
        input1=first,
        input2=second,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=weights,
        feature_layer_prc=str(WIDTH),  # unasked, it takes those of another network
        kid_subset_size=min(LARGEST_SUBSET, count),
        fid=True,
        kid=pairs,
        prc=pairs,
        cuda=False,
        cache=False,
        verbose=False,
    )


def torch_fidelity_distance(first: str, second: str, weights: str) -> Values:
    """Its Frechet distance alone."""
    return torch_fidelity_alike(first, second, weights, pairs=False)


def pytorch_fid_distance(first: str, second: str, weights: str) -> Values:
    """What its command does, but for fetching the weights."""
    import torch
    from pytorch_fid import fid_score, inception

    inception.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)
    workers = len(os.sched_getaffinity(0))
    return {"fid": float(fid_score.calculate_fid_given_paths([first, second], 50, "cpu", WIDTH, workers))}


def clean_fid_distance(first: str, second: str, weights: str) -> Values:
    """The clean distance, by the network of pytorch-fid: its own comes as a program, with weights in it."""
    import torch
    from cleanfid import fid
    from pytorch_fid import inception

    inception.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)
    network = inception.InceptionV3(resize_input=False).eval()

    def extract(images: torch.Tensor) -> torch.Tensor:
        return network(images / 256.0)[0].flatten(1)

    device, workers = torch.device("cpu"), len(os.sched_getaffinity(0))
    given = {"custom_feat_extractor": extract, "device": device, "num_workers": workers, "verbose": False}
    return {"fid": float(fid.compute_fid(first, second, mode="clean", **given))}


def torchmetrics_distance(first: str, second: str, weights: str) -> Values:
    """Its metric, fed from files, with the resize mode of the original."""
    import numpy as np
    import torch
    from PIL import Image
    from torchmetrics.image import FrechetInceptionDistance

    def batches(place: str, size: int = 50) -> Iterator[torch.Tensor]:
        paths = sorted(Path(place).iterdir())
        for start in range(0, len(paths), size):
            images = [np.asarray(Image.open(path).convert("RGB")) for path in paths[start : start + size]]
            yield torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)

    metric = FrechetInceptionDistance(feature_extractor_weights_path=weights, antialias=False)
    with torch.no_grad():
        for place, real in ((first, False), (second, True)):
            for batch in batches(place):
                metric.update(batch, real=real)
    return {"fid": float(metric.compute())}


PROGRAMS: dict[str, Callable[[str, str, str], Values]] = {
    OURS_DISTANCE: ours_distance,
    "pytorch-fid": pytorch_fid_distance,
    "clean-fid": clean_fid_distance,
    "torchmetrics": torchmetrics_distance,
    "torch-fidelity, distance": torch_fidelity_distance,
    OURS_ALIKE: ours_alike,
    "torch-fidelity, distances, precision and recall": torch_fidelity_alike,
}


def print_table(path: Path) -> None:
    """Prints the medians of a file as Markdown; ratios are those within each round."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    print("| images | program | seconds | times ours | images/s | CPU seconds | peak MiB | values |")
    print("|---|---|---|---|---|---|---|---|")
    for images, name in dict.fromkeys((row["images"], row["program"]) for row in rows):
        own = [row for row in rows if (row["images"], row["program"]) == (images, name)]
        alike = OURS_ALIKE if name == OURS or "precision" in name else OURS_DISTANCE
        base = [row for row in rows if (row["images"], row["program"]) == (images, alike)]
        seconds, processor, peak = (
            statistics.median(row[key] for row in own) for key in ("seconds", "processor", "mebibytes")
        )
        pairs = zip(own, base, strict=False)
        ratio = statistics.median([row["seconds"] / ours["seconds"] for row, ours in pairs]) if base else float("nan")
        values = ", ".join(f"{key} {value:.7g}" for key, value in own[-1]["values"].items())
        speed = 2 * images / seconds
        cells = f"{seconds:.1f} | {ratio:.2f} | {speed:.1f} | {processor:.0f} | {peak:.0f} | {values}"
        print(f"| {images} | {name} | {cells} |")


if __name__ == "__main__":
    main()
