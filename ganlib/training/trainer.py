"""The loop: many steps inside the graph, then one look from Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from etils import epy

from ganlib import streams
from ganlib.training import augmentation
from ganlib.training.schedules import ema_decay, learning_rate_factor
from ganlib.training.strategy import is_chief, summed
from ganlib.training.updates import AUGMENTATION, INTERPOLATION, Updates

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives import Objective
    from ganlib.tasks import Task
    from ganlib.training.config import TrainConfig
    from ganlib.training.state import TrainState

    Batch = dict[str, tf.Tensor]

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
    """Plays a task's game on a strategy's replicas.

    Args:
        state: What is trained; its variables were created in the strategy's scope.
        task: Turns batches into matches of real and fake images.
        objective: The game's terms.
        strategy: Where it runs.
        config: How it is trained.
        asked_to_end: Says whether this process shall end before training does.
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
        self._asked_to_end = asked_to_end
        self._task, self._objective, self._strategy, self._config = task, objective, strategy, config
        self._updates = Updates(
            state, task=task, objective=objective, config=config, replicas=strategy.num_replicas_in_sync
        )
        self._averaged_pairs = [
            (average, weight)
            for name, model in state.trained.averaged.items()
            for average, weight in zip(model.weights, state.trained.networks.generators[name].weights, strict=True)
        ]
        self._names: list[str] = []
        self._loop = tf.function(self._steps, autograph=False)

    def run(self, make_batches: Callable[[int], tf.data.Dataset], *, steps: int, callbacks: Sequence[Callback]) -> bool:
        """Trains from wherever the state is up to a step, or until it is stopped or interrupted.

        A state that comes from a checkpoint is looked at first, if it would have been by the present settings.

        Args:
            make_batches: Returns the batches of `images` and `labels` from a batch number on.
            steps: The step to end at.
            callbacks: Called in this order wherever they are due; they see values that are not finite.

        Returns:
            Whether training came to its end; False where it was interrupted, and the state is not looked at yet.
        """
        state, clock, iterator, noise_seed = self.state, self.state.clock, None, None
        rhythms = [self._config.steps_per_loop, *(each.every for each in callbacks if each.every is not None)]
        noted = time.perf_counter()
        while True:
            due = clock.step == steps or any(clock.step % every == 0 for every in rhythms)
            if clock.looked < clock.step and due:
                self._look(callbacks, steps=steps)
            if clock.step == steps or state.ending is not None:
                return True
            if noise_seed != state.noise_seed:  # at the beginning and after each rollback
                iterator, noise_seed = iter(self._drawn(make_batches)), state.noise_seed
            # Depends on the step alone, so a resumed run looks at the same ones.
            self._advance(iterator, min(steps - clock.step, *(every - clock.step % every for every in rhythms)))
            noted, interrupted = self._tell_time(noted)
            if interrupted and clock.step < steps:
                return False

    def _look(self, callbacks: Sequence[Callback], *, steps: int) -> None:
        """Calls what is due with the means of the terms over the last steps, as many for every row."""
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
            first, learning_rate_scale = (
                tf.constant(clock.step, tf.int64),
                tf.constant(state.health.learning_rate_scale),
            )
        values = self._loop(iterator, tf.constant(count), first, learning_rate_scale).numpy()
        clock.speed = count / (time.perf_counter() - began)
        clock.step += count
        state.recent = state.recent.followed_by(tuple(self._names), values, keep=self._config.steps_per_loop)

    def _tell_time(self, before: float) -> tuple[float, bool]:
        """Counts the time since a moment, by the chief's clock.

        Returns:
            The present moment, and whether any worker shall end.
        """
        now = time.perf_counter()
        spent = now - before if is_chief(self._strategy) else 0.0
        seconds, asked = summed(self._strategy, [spent, float(self._asked_to_end())])
        self.state.clock.seconds += seconds
        return now, asked > 0.0

    def _drawn(self, make_batches: Callable[[int], tf.data.Dataset]) -> tf.data.Dataset:
        """Global batches with all that is random about them, from the batch that this step begins with."""
        start, noise_seed = self.state.clock.step * self._objective.discriminator_steps, self.state.noise_seed
        count = self._config.batch_size

        def draw(number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> Batch:
            drawn = self._task.draw({"images": batch[0], "labels": batch[1]}, seed=noise_seed, number=number)
            if self._config.augmentation:
                shape = [count, 2, augmentation.NUMBERS]  # for the real image and for the fake one
                stream = streams.pair(streams.key("augmentation", noise_seed), number)
                drawn[AUGMENTATION] = tf.random.stateless_uniform(shape, stream)
            if self._objective.penalised:
                stream = streams.pair(streams.key("penalty", noise_seed), number)
                drawn[INTERPOLATION] = tf.random.stateless_uniform([count], stream)
            return drawn

        batches = make_batches(start).enumerate(start).map(draw).prefetch(tf.data.AUTOTUNE)
        return self._strategy.experimental_distribute_dataset(batches)

    def _steps(self, iterator: Any, count: tf.Tensor, first: tf.Tensor, learning_rate_scale: tf.Tensor) -> tf.Tensor:
        """Makes `count` steps and returns each one's terms, float32 [count, terms], in the order of `self._names`."""
        every = self._objective.penalty_every

        def body(index: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            with tf.device("CPU:0"):  # what depends on the step alone: a GPU's host would wait for its answer
                step = first + tf.cast(index, tf.int64)
                due = tf.equal(tf.math.floormod(step, every), 0)
                scheduled = self._schedule(step, learning_rate_scale)
            self.state.trained.generator_optimizer.learning_rate = scheduled[0]
            self.state.trained.discriminator_optimizer.learning_rate = scheduled[1]
            batches = [iterator.get_next() for _ in range(self._objective.discriminator_steps)]
            if every == 1:
                terms = self._step(batches, penalised=True)
            else:  # two graphs: no branch may lie inside what the replicas run
                terms = tf.cond(
                    due, lambda: self._step(batches, penalised=True), lambda: self._step(batches, penalised=False)
                )
            self._average(scheduled[-1])
            return index + 1, rows.write(index, tf.concat([terms, scheduled], axis=0))

        rows = tf.TensorArray(tf.float32, size=count)
        rows = tf.while_loop(lambda index, _: index < count, body, (tf.constant(0), rows))[1]
        self._names += [name for name in SCHEDULED if name not in self._names]
        return rows.stack()

    def _step(self, batches: list[Batch], *, penalised: bool) -> tf.Tensor:
        """All updates of one step on all replicas; returns its terms."""
        for batch in batches[:-1]:
            self._strategy.run(self._updates.discriminator_step, args=(batch, penalised))

        def last(batch: Batch) -> tf.Tensor:
            terms = self._updates.train_step(batch, penalised)
            if penalised:  # the graph with all terms, which is traced first
                self._names = list(terms)
            zero = tf.zeros([])
            return tf.stack([terms.get(name, zero) for name in self._names])

        terms = self._strategy.run(last, args=(batches[-1],))
        return self._strategy.reduce(tf.distribute.ReduceOp.MEAN, terms, axis=None)

    def _schedule(self, step: tf.Tensor, learning_rate_scale: tf.Tensor) -> tf.Tensor:
        """Returns what `SCHEDULED` names, after `step` updates."""
        config = self._config
        factor = learning_rate_scale * learning_rate_factor(
            step, schedule=config.schedule, steps=config.steps, decay_start_fraction=config.decay_start_fraction
        )
        optimizers = (config.generator_optimizer, config.discriminator_optimizer)
        rates = [optimizer.learning_rate * factor for optimizer in optimizers]
        return tf.stack([*rates, ema_decay(step, decay=config.final_ema_decay)])

    def _average(self, decay: tf.Tensor) -> None:
        """Moves the averaged generators, batch-norm statistics included, towards the present ones."""
        for average, weight in self._averaged_pairs:
            average.assign_sub((1.0 - decay) * (average.value - weight.value))
