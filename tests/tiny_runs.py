"""Trainings of a few steps, for tests of tasks."""

from ganlib.training import TrainConfig
from ganlib.training.state import build_state
from ganlib.training.strategy import resolve_strategy

BATCH = 4


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
