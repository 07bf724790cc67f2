"""The feature spaces that `degradations.py` compares: those of the project, and some that it might have had."""

from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np

from ganlib.evaluation.extractors import FittedExtractor, Random
from ganlib.evaluation.extractors.network import NetworkSettings
from ganlib.evaluation.extractors.resizing import resized

Features = Callable[[np.ndarray], np.ndarray]
SQUEEZENET = "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"
SEED = 1
PIXEL_SIDE, SQUEEZENET_SIDE = 32, 96
FIRES = range(2, 10)  # its blocks
MEAN = np.array([103.939, 116.779, 123.68], np.float32)  # of ImageNet's blue, green and red


def pixels(training: np.ndarray, labels: np.ndarray, folder: Path) -> Features:
    """The images themselves, reduced to 32x32 where they are larger."""
    del training, labels, folder

    def flat(images: np.ndarray) -> np.ndarray:
        if images.shape[1] > PIXEL_SIDE:
            images = resized(images, treatment="clean", side=PIXEL_SIDE).numpy()
        return images.reshape(len(images), -1).astype(np.float32) / 255.0

    return flat


def classifier(training: np.ndarray, labels: np.ndarray, folder: Path) -> Features:
    """The project's `classifier`."""
    del folder
    return _trained(training, labels)


def rotation(training: np.ndarray, labels: np.ndarray, folder: Path) -> Features:
    """The project's `rotation`."""
    del labels, folder
    turned = np.concatenate([np.rot90(training, k, axes=(1, 2)) for k in range(4)])
    return _trained(turned, np.repeat(np.arange(4), len(training)))


def random(training: np.ndarray, labels: np.ndarray, folder: Path) -> Features:
    """The project's `random`."""
    del training, labels, folder
    return _of(Random().load())


def squeezenet(training: np.ndarray, labels: np.ndarray, folder: Path) -> Features:
    """Means over the last map of SqueezeNet (Iandola et al. 2016, https://arxiv.org/abs/1602.07360) for ImageNet."""
    del training, labels
    with h5py.File(folder / SQUEEZENET) as file:
        network = _squeezenet(file)
    return _of(FittedExtractor("squeezenet", network, (), {}, treatment="clean"))


def _trained(images: np.ndarray, labels: np.ndarray) -> Features:
    network = NetworkSettings().train(images, labels, classes=int(labels.max()) + 1, seed=SEED)
    return _of(FittedExtractor("trained", network, (), {}))


def _of(extractor: FittedExtractor) -> Features:
    return lambda images: extractor.all_outputs([images])[0]


def _squeezenet(file: h5py.File) -> keras.Model:
    def convolved(x: keras.KerasTensor, name: str, **settings: object) -> keras.KerasTensor:
        arrays: dict[int, np.ndarray] = {}
        file[name].visititems(lambda _, item: arrays.update({item.ndim: item[()]}) if hasattr(item, "ndim") else None)
        layer = keras.layers.Conv2D(arrays[4].shape[-1], arrays[4].shape[0], activation="relu", **settings)
        x = layer(x)
        layer.set_weights([arrays[4], arrays[1]])
        return x

    images = keras.Input((SQUEEZENET_SIDE, SQUEEZENET_SIDE, 3))
    x = convolved(images[..., ::-1] - MEAN, "conv1", strides=2)
    for number in FIRES:
        if number in (2, 4, 6):
            x = keras.layers.MaxPooling2D(3, 2)(x)
        x = convolved(x, f"fire{number}/squeeze1x1")
        sides = ("expand1x1", "expand3x3")
        x = keras.layers.Concatenate()([convolved(x, f"fire{number}/{side}", padding="same") for side in sides])
    features = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, [features, features[:, :1]])


SPACES = {space.__name__: space for space in (pixels, classifier, rotation, random, squeezenet)}
