"""Trainings of a few steps, for tests of tasks."""

import keras
import numpy as np

from ganlib.models import Unet
from ganlib.training import TrainConfig
from ganlib.training.state import build_state
from ganlib.training.strategy import resolve_strategy

BATCH = 4
SMALL = {"width": 4, "discriminator_layers": 1, "discriminator_width": 4}


class Linear(Unet):
    """Networks that multiply each pixel by a number, and leave it so."""

    gain: float = 1.0

    def generator(self, *, image_shape, channels, dtype, seed):
        del seed
        image = keras.Input((None, None, image_shape[2]), name="image", dtype="float32")
        same = keras.layers.Conv2D(channels, 1, use_bias=False, dtype=dtype)
        network = keras.Model({"image": image}, same(image), name="generator")
        same.kernel.assign(self.gain * np.eye(image_shape[2], channels)[None, None])
        return network


def config(**changes):
    """Settings of four steps, each of which is looked at."""
    return TrainConfig(
        **{
            "steps": 4,
            "batch_size": BATCH,
            "steps_per_loop": 1,
            "score_every": 2,
            "sample_every": 4,
            "checkpoint_every": 2,
            "score_samples": 20,
            "precision": "float32",
            **changes,
        }
    )


def build(task, architecture, settings, *, image_shape, classes=0, dtype="float32", replicas=1):
    """Returns the strategy, the settings and the state before the first step."""
    strategy = resolve_strategy(replicas)
    state = build_state(
        strategy,
        task=task,
        architecture=architecture,
        config=settings,
        image_shape=image_shape,
        classes=classes,
        dtype=dtype,
    )
    return strategy, settings, state
