"""The bare loop on small networks, as several test files run it."""

import numpy as np
import tiny_runs

from ganlib import runtime
from ganlib.models import Dcgan
from ganlib.tasks import Generation
from ganlib.training import TrainConfig
from ganlib.training.strategy import resolve_precision
from ganlib.training.trainer import Trainer

TASK, MODEL = Generation(latent_dim=8), Dcgan(width=4)


def begun(digits, *, replicas=1, precision="float32", task=TASK, architecture=MODEL, **settings):
    """Config, strategy and state before the first step."""
    config = TrainConfig(**{"batch_size": 8, "precision": precision, "seed": 3, "ema_decay": 0.9, **settings})
    strategy, _, state = tiny_runs.build(
        task,
        architecture,
        config,
        image_shape=digits.image_shape,
        classes=len(digits.classes),
        dtype=resolve_precision(precision),
        replicas=replicas,
    )
    return config, strategy, state


def stepped(digits, *, objective, task=TASK, start=None, **settings):
    """State and rows after some steps of the bare loop; the state before is copied into `start`."""
    config, strategy, state = begun(digits, task=task, **{"steps": 20, "steps_per_loop": 7, **settings})
    if start is not None:
        start.update(arrays(state))
    trainer = Trainer(state, task=task, objective=objective, strategy=strategy, config=config)
    rows = []

    class Keep:
        every = None

        def __call__(self, step, row, state):
            rows.append({"step": step, **row})

    with runtime.deterministic(enabled=config.deterministic), runtime.without_remapper():
        trainer.run(lambda at: digits.batches(batch_size=8, seed=3, start=at), steps=config.steps, callbacks=[Keep()])
    return state, rows


def arrays(state):
    return {name: np.array(variable) for name, variable in state.trained.variables().items()}
