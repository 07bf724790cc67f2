"""The loop: many steps inside the graph, then the callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from etils import epy

from ganlib.training.strategy import is_chief, summed
from ganlib.training.train_step import TrainStep

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives import Objective
    from ganlib.tasks import Task
    from ganlib.training.config import TrainConfig
    from ganlib.training.state import TrainState

Row = dict[str, float]
SPEED = "speed/steps_per_second"


class Callback(Protocol):
    """Something that happens at fixed steps.

    Attributes:
        every: Steps between two calls, the last step of the run always being one; None means whenever Python looks.
    """

    every: int | None

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Sees, and may add to, the row of values that is recorded for this step."""
        ...


class Trainer:
    """Trains a state, and calls callbacks on the way.

    Args:
        state: What is trained; its variables were created in the strategy's scope.
        task: Turns batches into matches of real and fake images.
        objective: Turns matches into the terms of the losses.
        strategy: Where it runs.
        config: How it is trained.
        asked_to_end: Whether this process was asked to end before training does.
    """

    def __init__(
        self,
        state: TrainState,
        *,
        task: Task,
        objective: Objective,
        strategy: tf.distribute.Strategy,
        config: TrainConfig,
        asked_to_end: Callable[[], bool] = lambda: False,
    ) -> None:
        self.state = state
        self._asked_to_end, self._strategy, self._config = asked_to_end, strategy, config
        self._discriminator_steps = objective.discriminator_steps
        self._step = TrainStep(state, task=task, objective=objective, strategy=strategy, config=config)

    def run(self, make_batches: Callable[[int], tf.data.Dataset], *, steps: int, callbacks: Sequence[Callback]) -> bool:
        """Trains from the state's step up to another, or until it is stopped or interrupted.

        A state that comes from a checkpoint is looked at first, if it would have been by the present settings.

        Args:
            make_batches: Returns the task's batches from a batch number on.
            steps: The step to end at.
            callbacks: Called in this order wherever they are due; they see values that are not finite.

        Returns:
            Whether training came to its end; False where it was interrupted, and the callbacks have not seen the state.
        """
        state, clock, iterator, noise_seed = self.state, self.state.clock, None, None
        rhythms = [self._config.steps_per_loop, *(each.every for each in callbacks if each.every is not None)]
        counted = time.perf_counter()
        while True:
            due = clock.step == steps or any(clock.step % every == 0 for every in rhythms)
            if clock.looked < clock.step and due:
                self._call(callbacks, steps=steps)
            if clock.step == steps or state.ending is not None:
                return True
            if noise_seed != state.noise_seed:  # at the beginning and after each rollback
                iterator, noise_seed = iter(self._batches(make_batches)), state.noise_seed
            self._advance(iterator, _steps_until_callbacks(clock.step, rhythms, last=steps))
            counted, interrupted = self._count_time(counted)
            if interrupted and clock.step < steps:
                return False

    def _call(self, callbacks: Sequence[Callback], *, steps: int) -> None:
        """Calls what is due with the means of the terms over the last `steps_per_loop` steps."""
        state, clock = self.state, self.state.clock
        row: Row = {**state.recent.means(), SPEED: clock.speed}
        for callback in callbacks:
            ends = clock.step == steps or state.ending is not None
            if callback.every is None or clock.step % callback.every == 0 or ends:
                callback(clock.step, row, state)
        clock.looked = clock.step

    def _advance(self, iterator: Any, count: int) -> None:
        """Makes some steps inside the graph."""
        state, clock, began = self.state, self.state.clock, time.perf_counter()
        with tf.device("CPU:0"):
            first, scale = tf.constant(clock.step, tf.int64), tf.constant(state.health.learning_rate_scale)
        terms = self._step.run(iterator, tf.constant(count), first, scale)
        values = np.stack([values.numpy() for values in terms.values()], axis=1)
        clock.speed = count / (time.perf_counter() - began)
        clock.step += count
        state.recent = state.recent.followed_by(tuple(terms), values, keep=self._config.steps_per_loop)

    def _count_time(self, before: float) -> tuple[float, bool]:
        """Counts the time since a moment, by the chief's clock.

        Returns:
            The present moment, and whether any worker shall end.
        """
        now = time.perf_counter()
        spent = now - before if is_chief(self._strategy) else 0.0
        seconds, asked = summed(self._strategy, [spent, float(self._asked_to_end())])
        self.state.clock.seconds += seconds
        return now, asked > 0.0

    def _batches(self, make_batches: Callable[[int], tf.data.Dataset]) -> tf.data.Dataset:
        """Global batches with all that is random about them, from the batch that this step begins with."""
        start, seed = self.state.clock.step * self._discriminator_steps, self.state.noise_seed
        batches = make_batches(start).enumerate(start)
        drawn = batches.map(lambda number, batch: self._step.draw(batch, seed=seed, number=number))
        return self._strategy.experimental_distribute_dataset(drawn.prefetch(tf.data.AUTOTUNE))


def _steps_until_callbacks(step: int, rhythms: Sequence[int], *, last: int) -> int:
    """Returns the steps to the next call; it depends on the step alone, so a resumed run makes the same calls."""
    return min(last - step, *(every - step % every for every in rhythms))
