"""The training loop.

The calls of one update: `Trainer.run` calls the graph `_run_steps`, whose loop body `step` calls `_update_replicas`,
which runs `TrainStep.discriminator_step` and `TrainStep.train_step` on every replica.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from etils import epy

from ganlib.training.schedules import ema_decay
from ganlib.training.strategy import is_chief, resolve_compilation, sum_over_workers
from ganlib.training.train_step import TrainStep

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives import Objective
    from ganlib.tasks import Task
    from ganlib.training.config import TrainConfig
    from ganlib.training.state import TrainState

    Batch = dict[str, tf.Tensor]
    Metrics = dict[str, tf.Tensor]

Row = dict[str, float]
SPEED = "speed/steps_per_second"
GENERATOR_RATE, DISCRIMINATOR_RATE, EMA_DECAY = "learning_rate/generator", "learning_rate/discriminator", "ema/decay"


class Callback(Protocol):
    """Called every `every` steps, and at the last step of the run.

    Attributes:
        every: Steps between two calls; None means at each pause of the loop, after at most `steps_per_loop` steps.
    """

    every: int | None

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Receives the values of this step that will be recorded, and may add to them."""
        ...


class Trainer:
    """Trains a state, and calls callbacks during training.

    Args:
        state: What is trained; its variables were created in the strategy's scope.
        task: Turns batches into matches of real and fake images.
        objective: Computes the terms of the losses from matches.
        strategy: Where it runs.
        config: How it is trained.
        stop_requested: Returns whether this process should end before training does.
    """

    def __init__(
        self,
        state: TrainState,
        *,
        task: Task,
        objective: Objective,
        strategy: tf.distribute.Strategy,
        config: TrainConfig,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        self.state = state
        self._stop_requested, self._objective, self._strategy, self._config = (
            stop_requested,
            objective,
            strategy,
            config,
        )
        replicas = strategy.num_replicas_in_sync
        self._train_step = TrainStep(state, task=task, objective=objective, config=config, replicas=replicas)
        self._compiled = resolve_compilation(config.compile, replicas)
        self._averaged_pairs = [
            (average, weight)
            for name, model in state.trained.averaged.items()
            for average, weight in zip(model.weights, state.trained.networks.generators[name].weights, strict=True)
        ]
        self._run_graph = tf.function(self._run_steps, autograph=False)

    def run(
        self,
        make_batches: Callable[[int], tf.data.Dataset],
        *,
        steps: int,
        callbacks: Sequence[Callback],
        pause_at: int | None = None,
    ) -> bool:
        """Trains until a step, until a callback stops the run, or until a pause or a stop is requested.

        At a step that was restored from a checkpoint, the callbacks that are due are called first.

        Args:
            make_batches: Returns the batches of the task, starting at a batch number.
            steps: The last step.
            callbacks: Called in this order when they are due. Their rows may have values that are infinite or NaN.
            pause_at: Step after whose callbacks it pauses; one at which callbacks are due.

        Returns:
            True if the run has ended; False if it paused, or if a stop was requested, and then the callbacks were not
            called.
        """
        state, clock, iterator, noise_seed = self.state, self.state.clock, None, None
        intervals = [self._config.steps_per_loop, *(callback.every for callback in callbacks if callback.every)]
        counted = time.perf_counter()
        while True:
            due = clock.step == steps or any(clock.step % every == 0 for every in intervals)
            if clock.looked < clock.step and due:
                self._call(callbacks, steps=steps)
            if clock.step == steps or state.ending is not None:
                return True
            if pause_at is not None and clock.looked >= pause_at:
                return False
            if noise_seed != state.noise_seed:  # at the beginning and after each rollback
                iterator, noise_seed = iter(self._batches(make_batches)), state.noise_seed
            count, began = _steps_until_callbacks(clock.step, intervals, last=steps), time.perf_counter()
            with tf.device("CPU:0"):
                start, scale = tf.constant(clock.step, tf.int64), tf.constant(state.health.learning_rate_scale)
            terms = self._run_graph(iterator, tf.constant(count), start, scale)
            values = np.stack([values.numpy() for values in terms.values()], axis=1)
            clock.speed = count / (time.perf_counter() - began)
            clock.step += count
            state.recent = state.recent.append(tuple(terms), values, keep=self._config.steps_per_loop)
            counted, interrupted = self._count_time(counted)
            if interrupted and clock.step < steps:
                return False

    def _call(self, callbacks: Sequence[Callback], *, steps: int) -> None:
        """Calls the callbacks that are due, with the means of the terms over the last `steps_per_loop` steps."""
        state, clock = self.state, self.state.clock
        row: Row = {**state.recent.means(), SPEED: clock.speed}
        for callback in callbacks:
            is_last = clock.step == steps or state.ending is not None
            if callback.every is None or clock.step % callback.every == 0 or is_last:
                callback(clock.step, row, state)
        clock.looked = clock.step

    def _count_time(self, before: float) -> tuple[float, bool]:
        """Adds the time since `before`, measured by the chief.

        Returns:
            The present time.
            Whether a stop was requested of any worker.
        """
        now = time.perf_counter()
        spent = now - before if is_chief(self._strategy) else 0.0
        seconds, requests = sum_over_workers(self._strategy, [spent, float(self._stop_requested())])
        self.state.clock.seconds += seconds
        return now, requests > 0.0

    def _batches(self, make_batches: Callable[[int], tf.data.Dataset]) -> tf.data.Dataset:
        """Returns global batches with their random tensors, starting at the first batch of the present step."""
        start, seed = self.state.clock.step * self._objective.discriminator_steps, self.state.noise_seed
        batches = make_batches(start).enumerate(start)
        drawn = batches.map(lambda number, batch: self._train_step.draw(batch, seed=seed, number=number))
        return self._strategy.experimental_distribute_dataset(drawn.prefetch(tf.data.AUTOTUNE))

    def _run_steps(self, iterator: Any, count: tf.Tensor, start: tf.Tensor, learning_rate_scale: tf.Tensor) -> Metrics:
        """Makes `count` steps in the graph.

        Args:
            iterator: Yields the batches in order, `discriminator_steps` of them for each step.
            count: Number of steps, int32.
            start: Number of steps before, int64.
            learning_rate_scale: Factor on the learning rates after rollbacks.

        Returns:
            The terms of each step, float32 [count] by name.
        """
        every, trained = self._objective.penalty_every, self.state.trained
        names: list[str] = []  # filled in when the loop's body is traced, which is once

        def step(index: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            with tf.device("CPU:0"):  # on a GPU, the host would wait for what depends on the step alone
                number = start + tf.cast(index, tf.int64)
                penalties_due = tf.equal(tf.math.floormod(number, every), 0)
                scheduled = self._schedule(number, learning_rate_scale)
            trained.generator_optimizer.learning_rate = scheduled[GENERATOR_RATE]
            trained.discriminator_optimizer.learning_rate = scheduled[DISCRIMINATOR_RATE]
            batches = [iterator.get_next() for _ in range(self._objective.discriminator_steps)]
            if every == 1:
                terms = self._update_replicas(batches, with_penalties=True)
            else:  # two graphs, since `strategy.run` does not support a branch within
                terms = tf.cond(
                    penalties_due,
                    lambda: self._update_replicas(batches, with_penalties=True),
                    lambda: self._update_replicas(batches, with_penalties=False),
                )
            self._compile(self._update_averages)(scheduled[EMA_DECAY])
            terms = {**terms, **scheduled}
            names[:] = terms
            return index + 1, rows.write(index, tf.stack(list(terms.values())))

        rows = tf.TensorArray(tf.float32, size=count)
        rows = tf.while_loop(lambda index, _: index < count, step, (tf.constant(0), rows))[1]
        return dict(zip(names, tf.unstack(tf.transpose(rows.stack()), len(names)), strict=True))

    def _update_replicas(self, batches: list[Batch], *, with_penalties: bool) -> Metrics:
        """Makes the updates of one step on all replicas.

        All batches but the last serve an update of the discriminators alone. The last one serves an update of the
        discriminators and one of the generators.

        Returns:
            The terms of the last batch, means over the replicas.
        """
        discriminator_step = self._compile(self._train_step.discriminator_step)  # one program for all of them
        for batch in batches[:-1]:
            self._strategy.run(discriminator_step, args=(batch, with_penalties))
        names: list[str] = []

        def train_step(batch: Batch) -> tf.Tensor:
            terms = self._train_step.train_step(batch, with_penalties)
            names[:] = terms
            return tf.stack(list(terms.values()))  # so that one reduction serves all terms

        values = self._strategy.run(self._compile(train_step), args=(batches[-1],))
        means = self._strategy.reduce(tf.distribute.ReduceOp.MEAN, values, axis=None)
        return dict(zip(names, tf.unstack(means, len(names)), strict=True))

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function, compiled by XLA if that is enabled. The input pipeline is never part of it."""
        return tf.function(function, autograph=False, jit_compile=True) if self._compiled else function

    def _schedule(self, step: tf.Tensor, learning_rate_scale: tf.Tensor) -> Metrics:
        """Returns the learning rates and the decay of the averages after `step` updates."""
        config = self._config
        factor = learning_rate_scale * config.learning_rate_factor(step)
        return {
            GENERATOR_RATE: config.generator_optimizer.learning_rate * factor,
            DISCRIMINATOR_RATE: config.discriminator_optimizer.learning_rate * factor,
            EMA_DECAY: ema_decay(step, decay=config.final_ema_decay),
        }

    def _update_averages(self, decay: tf.Tensor) -> None:
        """Updates the averaged generators (EMA), batch-norm statistics included."""
        for average, weight in self._averaged_pairs:
            average.assign_sub((1.0 - decay) * (average.value - weight.value))


def _steps_until_callbacks(step: int, intervals: Sequence[int], *, last: int) -> int:
    """Returns the steps to the next call. It depends on the step alone, so a resumed run makes the same calls."""
    return min(last - step, *(every - step % every for every in intervals))
