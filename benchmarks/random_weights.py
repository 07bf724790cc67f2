"""Writes random weights of the Inception network in the format of the PyTorch port, without TensorFlow."""

from pathlib import Path

import numpy as np
import torch

from ganlib.evaluation.extractors import inception_network


def write_weights(path: Path) -> None:
    """Writes random weights that keep the scale of activations."""
    random = np.random.default_rng(0)
    state = {}
    for scope, (height, width, depth, filters) in inception_network.kernel_shapes().items():
        port = inception_network.PORTS[scope]
        deviation = np.sqrt(2.0 / (height * width * depth))
        state[f"{port}.conv.weight"] = random.normal(0.0, deviation, (filters, depth, height, width))
        state[f"{port}.bn.weight"] = random.uniform(0.6, 1.3, filters)
        state[f"{port}.bn.bias"] = random.normal(0.0, 0.1, filters)
        state[f"{port}.bn.running_mean"] = random.normal(0.0, 0.1, filters)
        state[f"{port}.bn.running_var"] = random.uniform(0.5, 1.5, filters)
    state["fc.weight"] = random.normal(0.0, 0.02, (inception_network.CLASSES, inception_network.FEATURES))
    state["fc.bias"] = random.normal(0.0, 1.0, inception_network.CLASSES)
    tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in state.items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
