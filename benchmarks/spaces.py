"""The feature spaces for `degradations.py`: those of this project, and pixels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ganlib.evaluation.extractors import FittedExtractor, Random, SqueezeNet
from ganlib.evaluation.extractors.network import NetworkSettings
from ganlib.evaluation.extractors.resizing import resize_images

Features = Callable[[np.ndarray], np.ndarray]
SQUEEZENET = "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"
SEED = 1
PIXEL_SIDE = 32


def pixels(training: np.ndarray, labels: np.ndarray, folder: Path) -> Features:
    """Pixels of the images, reduced to 32x32 if they are larger."""
    del training, labels, folder

    def flatten(images: np.ndarray) -> np.ndarray:
        if images.shape[1] > PIXEL_SIDE:
            images = resize_images(images, resize_mode="clean", side=PIXEL_SIDE).numpy()
        return images.reshape(len(images), -1).astype(np.float32) / 255.0

    return flatten


def classifier(training: np.ndarray, labels: np.ndarray, folder: Path) -> Features:
    """The project's `classifier`."""
    del folder
    return _train(training, labels)


def rotation(training: np.ndarray, labels: np.ndarray, folder: Path) -> Features:
    """The project's `rotation`."""
    del labels, folder
    rotated = np.concatenate([np.rot90(training, k, axes=(1, 2)) for k in range(4)])
    return _train(rotated, np.repeat(np.arange(4), len(training)))


def random(training: np.ndarray, labels: np.ndarray, folder: Path) -> Features:
    """The project's `random`."""
    del training, labels, folder
    return _of(Random().load())


def squeezenet(training: np.ndarray, labels: np.ndarray, folder: Path) -> Features:
    """The project's `squeezenet`."""
    del training, labels
    return _of(SqueezeNet().load(folder / SQUEEZENET))


def _train(images: np.ndarray, labels: np.ndarray) -> Features:
    network = NetworkSettings().train(images, labels, classes=int(labels.max()) + 1, seed=SEED)
    return _of(FittedExtractor("trained", network, (), {}))


def _of(extractor: FittedExtractor) -> Features:
    return lambda images: extractor.all_outputs([images])[0]


SPACES = {space.__name__: space for space in (pixels, classifier, rotation, random, squeezenet)}
