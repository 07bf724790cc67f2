"""Compares our paired measures with scikit-image, TorchMetrics and TensorFlow: values and time.

    pip install -r requirements/peers.txt scikit-image==0.26.0
    python benchmarks/paired_peers.py [--sides 64 256] [--images 8] [--rounds 3]

A row is a program and measure at a size: its value, its largest difference to ours over single images, and the median
time for 100 images. Each program is given the settings that come nearest to our definitions. The images are smooth
ones with a flat white quarter, against the same with noise. PyTorch gets float64.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional import image as torchmetrics

from ganlib.evaluation.measures import ms_ssim, ssim
from ganlib.evaluation.measures.paired import PairedMeasures

REASONS = {
    "TorchMetrics ssim": "also counts windows that reach into reflected pixels beyond the edge",
    "TorchMetrics ms_ssim": "the same in its last scale; averages channels before it multiplies the scales",
    "TensorFlow ssim": "computes in float32",
    "TensorFlow ms_ssim": "computes in float32",
}

Program = Callable[[np.ndarray, np.ndarray], np.ndarray]


def pairs(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns noisy and true images, uint8 [count, side, side, 3]."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, side // 8 + 1, side // 8 + 1, 3))
    truths = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :side, :side]
    truths[:, : side // 2, : side // 2] = 255
    samples = np.clip(np.round(truths + random.normal(0, 20, truths.shape)), 0, 255)
    return samples.astype(np.uint8), truths.astype(np.uint8)


def each(measure: Callable[[np.ndarray, np.ndarray], float]) -> Program:
    """Returns a program that applies a measure of one pair to each pair."""
    return lambda samples, truths: np.array([float(measure(*pair)) for pair in zip(samples, truths, strict=True)])


def tensors(measure: Callable[..., torch.Tensor]) -> Callable[[np.ndarray, np.ndarray], float]:
    """Returns a measure of PyTorch's for one pair of arrays."""
    return lambda *pair: measure(*(torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1)[None] for image in pair))


def all_of_ours(samples: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Computes all paired measures as `evaluate` does."""
    measures = PairedMeasures()
    measures.add(samples, truths)
    return np.array([score.value for score in measures.scores()])


def programs(side: int) -> Iterator[tuple[str, str, Program]]:
    """Yields measure, program and function; of each measure ours first."""
    yield "all", "ours", all_of_ours
    yield "psnr", "ours", each(lambda x, y: -10 * np.log10(np.square((x.astype(np.float64) - y) / 255).mean()))
    yield "psnr", "scikit-image", each(lambda x, y: peak_signal_noise_ratio(y, x, data_range=255))
    yield "psnr", "TorchMetrics", each(tensors(lambda x, y: torchmetrics.peak_signal_noise_ratio(x, y, (0.0, 255.0))))
    yield "ssim", "ours", each(lambda x, y: ssim.similarity_maps(x, y).similarity.mean())
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": -1}
    yield "ssim", "scikit-image", each(lambda x, y: structural_similarity(x, y, data_range=255, **settings))
    similarity = functools.partial(torchmetrics.structural_similarity_index_measure, data_range=255.0)
    yield "ssim", "TorchMetrics", each(tensors(similarity))
    inside = (slice(None), slice(None), slice(5, -5), slice(5, -5))
    cut = tensors(lambda x, y: similarity(x, y, return_full_image=True)[1][inside].mean())
    yield "ssim", "TorchMetrics, edges of its map cut off", each(cut)
    tensorflow = {"ssim": tf.image.ssim}
    if side >= ms_ssim.SMALLEST_SIDE:
        tensorflow["ms_ssim"] = tf.image.ssim_multiscale
        ours = ms_ssim.multi_scale_similarity
        yield "ms_ssim", "ours", each(lambda x, y: ours(x, y, full_size=ssim.similarity_maps(x, y)))
        multiscale = torchmetrics.multiscale_structural_similarity_index_measure
        yield "ms_ssim", "TorchMetrics", each(tensors(functools.partial(multiscale, data_range=255.0)))
    for name, measure in tensorflow.items():
        graph = tf.function(lambda x, y, measure=measure: measure(x, y, 255))
        yield name, "TensorFlow", lambda x, y, graph=graph: graph(x, y).numpy()


def milliseconds(program: Program, samples: np.ndarray, truths: np.ndarray, rounds: int) -> float:
    """Returns the median time for 100 images."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        program(samples, truths)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000 * 100 / len(samples)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print("| side | measure | program | value | largest difference to ours | ms for 100 images | why |\n|" + "---|" * 7)
    for side in arguments.sides:
        samples, truths = pairs(arguments.images, side)
        ours: dict[str, np.ndarray] = {}
        for measure, name, program in programs(side):
            result = program(samples, truths)
            difference = np.abs(result - ours.setdefault(measure, result)).max()
            took = milliseconds(program, samples, truths, arguments.rounds)
            value = "" if measure == "all" else f"{result.mean():.10f}"
            reason = REASONS.get(f"{name} {measure}", "")
            print(f"| {side} | {measure} | {name} | {value} | {difference:.1e} | {took:.0f} | {reason} |", flush=True)


if __name__ == "__main__":
    main()
