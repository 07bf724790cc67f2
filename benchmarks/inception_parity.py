"""Compares our Inception network with those in PyTorch, with the same random weights, images and threads.

    python benchmarks/inception_parity.py [--images 64] [--rounds 5] [--batch 32] [--threads 2]

Needs requirements/peers.txt and requirements/train.txt. The weights are random, in the format of
pt_inception-2015-12-05-6726825d.pth, which is hard to get; the comparison does not depend on the weights. The images of
clean-fid's resizing go through the network of pytorch-fid, of which clean-fid has a copy.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torchvision  # noqa: F401

# Both before TensorFlow: otherwise torchvision crashes, and ganlib enables oneDNN, which TensorFlow reads once.
import ganlib  # noqa: F401

# isort: split
import numpy as np
import tensorflow as tf
from cleanfid.resize import make_resizer
from pytorch_fid import inception as pytorch_fid
from random_weights import write_weights
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from ganlib.evaluation.extractors import Inception
from ganlib.evaluation.extractors.base import FittedExtractor
from ganlib.evaluation.extractors.resizing import resize_images

SIDE = 32  # size of the images, as in CIFAR-10


def main() -> None:
    """Runs the comparison and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, help="images in each round")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--batch", type=int, default=32, help="batch size")
    parser.add_argument("--threads", type=int, default=2, help="threads of each program")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.pth"
        write_weights(weights)
        ours = {
            resize_mode: replace(Inception(resize_mode=resize_mode).load(weights), batch=options.batch)
            for resize_mode in ("legacy", "clean")
        }
        fidelity = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], str(weights))
        fid = _pytorch_fid(weights)
    images = np.random.default_rng(1).integers(0, 256, (options.images, SIDE, SIDE, 3), np.uint8)
    _compare(ours, fidelity, fid, images[: options.batch])
    candidates = {
        f"ours, {resize_mode}": lambda batch, space=space: space.all_outputs([batch])
        for resize_mode, space in ours.items()
    }
    candidates["torch-fidelity"] = lambda batch: fidelity(_channels_first(batch))
    candidates["pytorch-fid"] = lambda batch: fid(_channels_first(batch) / 255.0)
    _time(candidates, images, options)


def _pytorch_fid(weights: Path) -> torch.nn.Module:
    """Returns the network of pytorch-fid with these weights instead of downloaded ones."""
    pytorch_fid.load_state_dict_from_url = lambda *_, **__: torch.load(weights, weights_only=True)
    return pytorch_fid.InceptionV3(normalize_input=True).eval()


def _channels_first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _compare(
    ours: dict[str, FittedExtractor], fidelity: torch.nn.Module, fid: torch.nn.Module, images: np.ndarray
) -> None:
    legacy = ours["legacy"].network.predict_on_batch(resize_images(images, resize_mode="legacy", side=299))
    theirs = fidelity(_channels_first(images))
    rows = [
        ("legacy features, torch-fidelity", _relative(legacy[0], theirs[0])),
        ("legacy logits, torch-fidelity", _relative(legacy[1], theirs[1])),
    ]
    raw = np.asarray(resize_images(images, resize_mode="legacy", side=299))
    fid.resize_input = False
    # It computes 2 x - 1 for x in 0..1. In the original network 1 is grey level 256, here 255.
    rows.append(("network only, pytorch-fid", _relative(legacy[0], fid(_channels_first(raw) / 256.0)[0].flatten(1))))
    resize = make_resizer("PIL", False, "bicubic", (299, 299))  # noqa: FBT003
    pillow = np.stack([resize(image) for image in images])
    clean = np.asarray(resize_images(images, resize_mode="clean", side=299))
    rows.append(("clean resizing, clean-fid, grey levels", float(np.abs(clean - pillow).max())))
    features = ours["clean"].network.predict_on_batch(clean)[0]
    rows.append(("clean features, clean-fid", _relative(features, fid(_channels_first(pillow) / 256.0)[0].flatten(1))))
    fid.resize_input = True
    print("| comparison | largest difference |\n|---|---|")
    for name, difference in rows:
        print(f"| {name} | {difference:.1e} |")
    print()


def _relative(ours: np.ndarray, theirs: torch.Tensor) -> float:
    """Returns the largest difference relative to the largest value."""
    expected = theirs.numpy()
    return float(np.abs(ours - expected).max() / np.abs(expected).max())


def _time(
    candidates: dict[str, Callable[[np.ndarray], object]], images: np.ndarray, options: argparse.Namespace
) -> None:
    batches = [images[start : start + options.batch] for start in range(0, len(images), options.batch)]
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for run in candidates.values():
        run(batches[0])
    for _ in range(options.rounds):
        for name, run in candidates.items():
            started, used = time.perf_counter(), time.process_time()
            for batch in batches:
                run(batch)
            seconds[name].append((time.perf_counter() - started, time.process_time() - used))
    print("| program | images/s | slowest to fastest round | CPU ms per image |\n|---|---|---|---|")
    for name, measured in seconds.items():
        speeds = [len(images) / wall for wall, _ in measured]
        work = 1000 * statistics.median(used for _, used in measured) / len(images)
        print(f"| {name} | {statistics.median(speeds):.1f} | {min(speeds):.1f} to {max(speeds):.1f} | {work:.0f} |")


if __name__ == "__main__":
    main()
