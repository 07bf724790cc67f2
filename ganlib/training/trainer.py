"""The loop: many steps inside the graph, then one look from Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from etils import epy

from ganlib.training.health import require_finite

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    import keras

    from ganlib.objectives import Objective
    from ganlib.tasks import Match, Task
    from ganlib.training.config import Updates
    from ganlib.training.state import TrainState

    Batch = dict[str, tf.Tensor]
    Terms = dict[str, tf.Tensor]
    Judge = Callable[[tf.Tensor], tf.Tensor]

Row = dict[str, float]
EMA_RAMP = 10.0


class Callback(Protocol):
    """Something that happens at fixed steps.

    Attributes:
        every: Steps between two calls, the last step always being one; None means whenever Python looks.
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
        ema_decay: Decay of the averaged generators.
        steps_per_loop: Most steps in the graph at a time.
        updates: Whether the generators' update sees the discriminators before or after theirs.
    """

    def __init__(
        self,
        state: TrainState,
        *,
        task: Task,
        objective: Objective,
        strategy: tf.distribute.Strategy,
        ema_decay: float,
        steps_per_loop: int,
        updates: Updates,
    ) -> None:
        self.state = state
        self._updates = updates
        self._task, self._objective, self._strategy = task, objective, strategy
        self._ema_decay, self._steps_per_loop = ema_decay, steps_per_loop
        self._replicas = strategy.num_replicas_in_sync
        self._generator_variables = _trainable(state.networks.generators)
        self._discriminator_variables = _trainable(state.networks.discriminators)
        self._averaged_pairs = [
            (average, weight)
            for name, model in state.averaged.items()
            for average, weight in zip(model.weights, state.networks.generators[name].weights, strict=True)
        ]
        self._names: list[str] = []
        self._loop = tf.function(self._steps, autograph=False)

    def run(self, make_batches: Callable[[int], tf.data.Dataset], *, steps: int, callbacks: Sequence[Callback]) -> None:
        """Trains up to a step, from wherever the state stands.

        Args:
            make_batches: Returns the batches of `images` and `labels` from a batch number on.
            steps: The step to stop at.
            callbacks: Called in this order wherever they are due.

        Raises:
            TrainingDiverged: A term became infinite or NaN.
        """
        if self.state.step >= steps:
            return
        iterator = iter(self._strategy.experimental_distribute_dataset(self._drawn(make_batches)))
        while self.state.step < steps:
            first = self.state.step
            count = self._stretch(steps, callbacks)
            began = time.perf_counter()
            values = self._loop(iterator, tf.constant(count), tf.constant(float(first))).numpy()
            row: Row = dict(zip(self._names, (float(value) / count for value in values), strict=True))
            row["speed/steps_per_second"] = count / (time.perf_counter() - began)
            require_finite(row, first_step=first + 1, last_step=first + count)
            self.state.step = first + count
            for callback in callbacks:
                if callback.every is None or self.state.step % callback.every == 0 or self.state.step == steps:
                    callback(self.state.step, row, self.state)

    def _stretch(self, steps: int, callbacks: Sequence[Callback]) -> int:
        """Steps until Python must look again. Depends on the step alone, so a resumed run looks at the same ones."""
        step = self.state.step
        rhythms = [self._steps_per_loop, *(callback.every for callback in callbacks if callback.every is not None)]
        return min(steps - step, *(every - step % every for every in rhythms))

    def _drawn(self, make_batches: Callable[[int], tf.data.Dataset]) -> tf.data.Dataset:
        """Global batches with their noise, from the batch that this step begins with."""
        start = self.state.step * self._objective.discriminator_steps

        def draw(number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> Batch:
            drawn = {"images": batch[0], "labels": batch[1]}
            return self._task.draw(drawn, seed=self.state.seed, number=number)

        return make_batches(start).enumerate(start).map(draw).prefetch(tf.data.AUTOTUNE)

    def _steps(self, iterator: Any, count: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        """Runs `count` steps and returns the sum of each term over them, in the order of `self._names`."""

        def body(index: tf.Tensor, totals: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            for _ in range(self._objective.discriminator_steps - 1):
                self._strategy.run(self._discriminator_step, args=(iterator.get_next(),))
            terms = self._strategy.run(self._step, args=(iterator.get_next(),))
            mean = self._strategy.reduce(tf.distribute.ReduceOp.MEAN, terms, axis=None)
            self._average(first + tf.cast(index, tf.float32))
            return index + 1, totals + mean

        start = (tf.constant(0), tf.zeros([1]))  # the number of terms is known only once the body is traced
        shapes = (tf.TensorShape([]), tf.TensorShape([None]))
        return tf.while_loop(lambda index, _: index < count, body, start, shape_invariants=shapes)[1]

    def _step(self, batch: Batch) -> tf.Tensor:
        """One update of the discriminators and one of the generators, on the same real and fake images.

        Alternating updates let the discriminators, once updated, judge the fakes anew. Simultaneous ones let
        the logits of one pass serve both losses, which saves that pass and costs quality.
        """
        state = self.state
        with tf.GradientTape(persistent=True) as tape:
            matches = self._matches(batch)
            judges = self._judges(matches)
            discriminator_terms = self._discriminator_terms(matches, judges)
            discriminator_loss = self._loss(discriminator_terms)
            if self._updates == "alternating":
                with tape.stop_recording():
                    self._update_discriminators(tape, discriminator_loss)
                judges = self._judges(matches)
            generator_terms = self._generator_terms(batch, matches, judges)
            generator_loss = self._loss(generator_terms)
        if self._updates == "simultaneous":
            self._update_discriminators(tape, discriminator_loss)
        gradients = tape.gradient(generator_loss, self._generator_variables)
        state.generator_optimizer.apply(gradients, self._generator_variables)
        terms = {**discriminator_terms, **{f"generator/{name}": value for name, value in generator_terms.items()}}
        self._names = list(terms)
        return tf.stack(list(terms.values()))

    def _discriminator_step(self, batch: Batch) -> None:
        """One update of the discriminators alone."""
        matches = self._matches(batch)
        with tf.GradientTape() as tape:
            loss = self._loss(self._discriminator_terms(matches, self._judges(matches)))
        self._update_discriminators(tape, loss)

    def _matches(self, batch: Batch) -> dict[str, Match]:
        """Real and fake images by discriminator."""
        return self._task.play(self.state.networks.generators, batch, training=True)

    def _judges(self, matches: dict[str, Match]) -> dict[str, Judge]:
        """The discriminators as they stand, each as a function that judges an image once."""
        return {name: _remembering(self.state.networks.discriminators[name]) for name in matches}

    def _update_discriminators(self, tape: tf.GradientTape, loss: tf.Tensor) -> None:
        gradients = tape.gradient(loss, self._discriminator_variables)
        self.state.discriminator_optimizer.apply(gradients, self._discriminator_variables)

    def _discriminator_terms(self, matches: dict[str, Match], judges: dict[str, Judge]) -> Terms:
        terms: Terms = {}
        for name, match in matches.items():
            found = self._objective.discriminator_terms(judges[name], match.real, match.fake)
            terms.update({f"{name}/{term}": value for term, value in found.items()})
        return terms

    def _generator_terms(self, batch: Batch, matches: dict[str, Match], judges: dict[str, Judge]) -> Terms:
        terms = self._task.extra_terms(batch, matches)
        for name, match in matches.items():
            found = self._objective.generator_terms(judges[name], match.real, match.fake)
            prefix = "" if len(matches) == 1 else f"{name}/"
            terms.update({f"{prefix}{term}": value for term, value in found.items()})
        return terms

    def _loss(self, terms: Terms) -> tf.Tensor:
        """The one place that accounts for replicas: Keras' optimizers sum gradients over them."""
        return tf.add_n(list(terms.values())) / self._replicas

    def _average(self, step: tf.Tensor) -> None:
        """Moves the averaged generators, batch-norm statistics included, towards the present ones."""
        decay = tf.minimum(self._ema_decay, (1.0 + step) / (EMA_RAMP + step))
        for average, weight in self._averaged_pairs:
            average.assign_sub((1.0 - decay) * (average.value - weight.value))


def _remembering(network: keras.Model) -> Judge:
    """Returns the network as a function that judges each tensor once."""
    answers: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}

    def judge(images: tf.Tensor) -> tf.Tensor:
        if id(images) not in answers:
            answers[id(images)] = images, network(images, training=True)  # keeps the tensor, and so its id, alive
        return answers[id(images)][1]

    return judge


def _trainable(models: dict[str, keras.Model]) -> list[keras.Variable]:
    return [variable for model in models.values() for variable in model.trainable_variables]
