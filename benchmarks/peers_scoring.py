"""Compares the scoring of two folders of images with other packages, each in its own process, interleaved.

    python benchmarks/peers_scoring.py [--images 64] [--rounds 3] [--programs ours ...] [--out runs/peers_scoring.jsonl]
    python benchmarks/peers_scoring.py --images 10000 --rounds 1
    python benchmarks/peers_scoring.py --table

Needs requirements/peers.txt. Times are for whole processes that read PNG files, with the default number of threads. All
programs have the same random weights, see benchmarks/inception_parity.py. Peak memory is that of the largest process,
without other processes that read images. Few images show the cost of the start and of square roots of large matrices;
10,000 images, some 20 minutes for each program, show the waiting time of a user.

`ours` is the command `score`, which computes more than the other packages: errors, values for infinite images, density
and coverage. The other rows of ours have the same measures as the package that they are compared with. Values are equal
for the same resizing: legacy in ours, torch-fidelity and torchmetrics, clean in clean-fid, another one in
pytorch-fid.
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

SIDE = 32  # size of the images, as in CIFAR-10
WIDTH = 2048
LARGEST_SUBSET = 1000
OURS = "ours"
OURS_DISTANCE = "ours, distance"
OURS_ALIKE = "ours, distances, precision and recall"

Values = dict[str, float]


def main() -> None:
    """Runs all programs, or a single one in a subprocess."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, help="images in each folder")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds")
    parser.add_argument("--programs", nargs="+", choices=[OURS, *PROGRAMS], default=[OURS, *PROGRAMS])
    parser.add_argument("--out", type=Path, default=Path("runs/peers_scoring.jsonl"), help="file to append lines to")
    parser.add_argument("--table", action="store_true", help="only print the table of the file")
    parser.add_argument("--worker", nargs=4, metavar=("PROGRAM", "FIRST", "SECOND", "WEIGHTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, first, second, weights = options.worker
        print(json.dumps(PROGRAMS[name](first, second, weights)))
        return
    if not options.table:
        with tempfile.TemporaryDirectory() as folder:
            paths = write_inputs(Path(folder), options.images)
            measure_all(paths, options)
    print_table(options.out)


def write_inputs(folder: Path, count: int) -> list[str]:
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


def measure_all(paths: list[str], options: argparse.Namespace) -> None:
    """Appends a line for each program and round to the file of results."""
    first, second, weights = paths
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("a", encoding="utf-8") as file:
        for number in range(options.rounds):
            for name in options.programs:
                command = [sys.executable, __file__, "--worker", name, *paths]
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
                row = {"program": name, "images": options.images, "round": number, **measure(command)}
                print(json.dumps(row), file=file, flush=True)


def measure(command: list[str]) -> dict[str, object]:
    """Runs a command; returns its time, peak memory, and the values in its last line of output."""
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"a program failed. Received: exit code {process.returncode} of {command}")
        output.seek(0)
        result = json.loads(output.read().splitlines()[-1])
    values = {score["name"]: score["value"] for score in result["scores"]} if "scores" in result else result
    peak = usage.ru_maxrss / 1024  # KiB on Linux
    return {"seconds": seconds, "processor": usage.ru_utime + usage.ru_stime, "mebibytes": peak, "values": values}


def ours_alike(first: str, second: str, weights: str, *, pairs: bool = True) -> Values:
    """Returns the Frechet distance and, as in torch-fidelity, kernel distance, precision and recall."""
    from ganlib.data import Images
    from ganlib.evaluation import Inception, Statistics
    from ganlib.evaluation.measures.frechet import frechet_distance
    from ganlib.evaluation.measures.kernel import kernel_distance
    from ganlib.evaluation.measures.precision_recall import precision_recall

    space = Inception().load(Path(weights))
    one, other = (space.all_outputs(Images.at(folder).batches("rgb"))[0] for folder in (first, second))
    values = {"fid": frechet_distance(*(Statistics.of([side]) for side in (one, other)))}
    if pairs:
        values["kid"] = kernel_distance(one, other)[0]
        values["precision"], values["recall"] = precision_recall(one, other)
    return values


def ours_distance(first: str, second: str, weights: str) -> Values:
    """Returns only the Frechet distance."""
    return ours_alike(first, second, weights, pairs=False)


def torch_fidelity_alike(first: str, second: str, weights: str, *, pairs: bool = True) -> Values:
    """Returns the three measures of torch-fidelity that compare two sets of images."""
    import torch_fidelity

    count = min(len(list(Path(folder).iterdir())) for folder in (first, second))
    return torch_fidelity.calculate_metrics(
        input1=first,
        input2=second,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=weights,
        feature_layer_prc=str(WIDTH),  # the default is that of another network
        kid_subset_size=min(LARGEST_SUBSET, count),
        fid=True,
        kid=pairs,
        prc=pairs,
        cuda=False,
        cache=False,
        verbose=False,
    )


def torch_fidelity_distance(first: str, second: str, weights: str) -> Values:
    """Returns only the Frechet distance of torch-fidelity."""
    return torch_fidelity_alike(first, second, weights, pairs=False)


def pytorch_fid_distance(first: str, second: str, weights: str) -> Values:
    """Does the same as the command of pytorch-fid, without downloading weights."""
    import torch
    from pytorch_fid import fid_score, inception

    inception.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)
    workers = len(os.sched_getaffinity(0))
    return {"fid": float(fid_score.calculate_fid_given_paths([first, second], 50, "cpu", WIDTH, workers))}


def clean_fid_distance(first: str, second: str, weights: str) -> Values:
    """Computes the clean distance with the network of pytorch-fid: clean-fid's own is a file that includes weights."""
    import torch
    from cleanfid import fid
    from pytorch_fid import inception

    inception.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)
    network = inception.InceptionV3(resize_input=False).eval()

    def extract(images: torch.Tensor) -> torch.Tensor:
        return network(images / 256.0)[0].flatten(1)

    device, workers = torch.device("cpu"), len(os.sched_getaffinity(0))
    arguments = {"custom_feat_extractor": extract, "device": device, "num_workers": workers, "verbose": False}
    return {"fid": float(fid.compute_fid(first, second, mode="clean", **arguments))}


def torchmetrics_distance(first: str, second: str, weights: str) -> Values:
    """Computes the metric of torchmetrics with legacy resizing, from files."""
    import numpy as np
    import torch
    from PIL import Image
    from torchmetrics.image import FrechetInceptionDistance

    def batches(folder: str, size: int = 50) -> Iterator[torch.Tensor]:
        paths = sorted(Path(folder).iterdir())
        for start in range(0, len(paths), size):
            images = [np.asarray(Image.open(path).convert("RGB")) for path in paths[start : start + size]]
            yield torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)

    metric = FrechetInceptionDistance(feature_extractor_weights_path=weights, antialias=False)
    with torch.no_grad():
        for folder, real in ((first, False), (second, True)):
            for batch in batches(folder):
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
    """Prints the medians of a file as Markdown. Ratios are computed within each round."""
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
