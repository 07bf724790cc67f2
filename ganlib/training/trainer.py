"""The loop: many steps inside the graph, then the callbacks.

`run` is the loop in Python. It calls `_steps`, the loop in the graph, which runs the updates of `TrainStep`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from etils import epy

from ganlib.training.schedules import ema_decay, learning_rate_factor
from ganlib.training.strategy import is_chief, resolve_compilation, summed
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
    Terms = dict[str, tf.Tensor]

Row = dict[str, float]
SPEED = "speed/steps_per_second"
SCHEDULED = ("learning_rate/generator", "learning_rate/discriminator", "ema/decay")


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
        self._asked_to_end, self._objective, self._strategy, self._config = asked_to_end, objective, strategy, config
        replicas = strategy.num_replicas_in_sync
        self._step = TrainStep(state, task=task, objective=objective, config=config, replicas=replicas)
        self._compiled = resolve_compilation(config.compile, replicas)
        self._averaged_pairs = [
            (average, weight)
            for name, model in state.trained.averaged.items()
            for average, weight in zip(model.weights, state.trained.networks.generators[name].weights, strict=True)
        ]
        self._loop = tf.function(self._steps, autograph=False)

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
        terms = self._loop(iterator, tf.constant(count), first, scale)
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
        start, seed = self.state.clock.step * self._objective.discriminator_steps, self.state.noise_seed
        batches = make_batches(start).enumerate(start)
        drawn = batches.map(lambda number, batch: self._step.draw(batch, seed=seed, number=number))
        return self._strategy.experimental_distribute_dataset(drawn.prefetch(tf.data.AUTOTUNE))

    def _steps(self, iterator: Any, count: tf.Tensor, first: tf.Tensor, learning_rate_scale: tf.Tensor) -> Terms:
        """Makes `count` steps.

        Args:
            iterator: Gives the batches, those of a step one after the other.
            count: Number of steps, int32.
            first: Steps that were made before, int64.
            learning_rate_scale: What rollbacks made of the learning rates, a factor.

        Returns:
            The terms of each step, float32 [count] by name.
        """
        every = self._objective.penalty_every
        names: list[str] = []

        def body(index: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            with tf.device("CPU:0"):  # what depends on the step alone: a GPU's host would wait for its answer
                step = first + tf.cast(index, tf.int64)
                due = tf.equal(tf.math.floormod(step, every), 0)
                scheduled = self._schedule(step, learning_rate_scale)
            self.state.trained.generator_optimizer.learning_rate = scheduled[0]
            self.state.trained.discriminator_optimizer.learning_rate = scheduled[1]
            batches = [iterator.get_next() for _ in range(self._objective.discriminator_steps)]
            if every == 1:
                terms = self._on_all_replicas(batches, penalised=True)
            else:  # two graphs: no branch may be inside what the replicas run
                terms = tf.cond(
                    due,
                    lambda: self._on_all_replicas(batches, penalised=True),
                    lambda: self._on_all_replicas(batches, penalised=False),
                )
            self._compile(self._update_averages)(scheduled[-1])
            names[:] = [*terms, *SCHEDULED]
            return index + 1, rows.write(index, tf.concat([tf.stack(list(terms.values())), scheduled], axis=0))

        rows = tf.TensorArray(tf.float32, size=count)
        rows = tf.while_loop(lambda index, _: index < count, body, (tf.constant(0), rows))[1]
        return dict(zip(names, tf.unstack(tf.transpose(rows.stack()), len(names)), strict=True))

    def _on_all_replicas(self, batches: list[Batch], *, penalised: bool) -> Terms:
        """Makes all updates of one step; returns its terms, the means over the replicas."""
        for batch in batches[:-1]:
            self._strategy.run(self._compile(self._step.discriminator_step), args=(batch, penalised))
        names: list[str] = []

        def on_a_replica(batch: Batch) -> tf.Tensor:
            terms = self._step.train_step(batch, penalised)
            names[:] = terms
            return tf.stack(list(terms.values()))  # so that one reduction serves all terms

        values = self._strategy.run(self._compile(on_a_replica), args=(batches[-1],))
        means = self._strategy.reduce(tf.distribute.ReduceOp.MEAN, values, axis=None)
        return dict(zip(names, tf.unstack(means, len(names)), strict=True))

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function as XLA compiles it, where the config says so: batches are drawn outside, always."""
        return tf.function(function, autograph=False, jit_compile=True) if self._compiled else function

    def _schedule(self, step: tf.Tensor, learning_rate_scale: tf.Tensor) -> tf.Tensor:
        """Returns what `SCHEDULED` names, after `step` updates."""
        config = self._config
        factor = learning_rate_scale * learning_rate_factor(
            step, schedule=config.schedule, steps=config.steps, decay_start_fraction=config.decay_start_fraction
        )
        optimizers = (config.generator_optimizer, config.discriminator_optimizer)
        rates = [optimizer.learning_rate * factor for optimizer in optimizers]
        return tf.stack([*rates, ema_decay(step, decay=config.final_ema_decay)])

    def _update_averages(self, decay: tf.Tensor) -> None:
        """Moves the averaged generators, batch-norm statistics included, towards the present ones."""
        for average, weight in self._averaged_pairs:
            average.assign_sub((1.0 - decay) * (average.value - weight.value))


def _steps_until_callbacks(step: int, rhythms: Sequence[int], *, last: int) -> int:
    """Returns the steps to the next call; it depends on the step alone, so a resumed run makes the same calls."""
    return min(last - step, *(every - step % every for every in rhythms))
