"""The updates of a step: what each replica does with its part of a batch.

A step with n updates of the discriminators is n - 1 calls of `discriminator_step` and one of `train_step`, which
updates the discriminators and the generators on the same generated images.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from etils import epy

from ganlib import streams
from ganlib.tasks import Match
from ganlib.training import augmentation
from ganlib.training.rows import ACCURACY, LOSS

with epy.lazy_imports():
    import keras
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.objectives import Objective
    from ganlib.tasks import Task
    from ganlib.training.config import TrainConfig
    from ganlib.training.state import TrainState

    Batch = dict[str, tf.Tensor]
    Terms = dict[str, tf.Tensor]  # of a loss, which is their sum
    Metrics = dict[str, tf.Tensor]

AUGMENTATION, EPSILON = "augmentation", "epsilon"  # random tensors of a batch besides those of the task


class Logits(NamedTuple):
    """Logits of the discriminator of a match, for its real and its fake images: float32 [N, ...] each."""

    real: tf.Tensor
    fake: tf.Tensor


class TrainStep:
    """Updates the networks of a state.

    Args:
        state: What is trained.
        task: Turns batches into matches of real and fake images.
        objective: Turns matches into the terms of the losses.
        config: How it is trained.
        replicas: Replicas that share a batch.
    """

    def __init__(
        self, state: TrainState, *, task: Task, objective: Objective, config: TrainConfig, replicas: int
    ) -> None:
        self._trained = state.trained
        self._task, self._objective, self._config, self._replicas = task, objective, config, replicas
        networks = state.trained.networks
        self._match_names = list(networks.discriminators)
        self._generator_variables = _trainable(networks.generators)
        self._discriminator_variables = _trainable(networks.discriminators)
        for variable in self._discriminator_variables:
            variable.constraint = objective.constraint  # Keras applies it after each update: WGAN's clipping

    def draw(self, batch: Batch, *, seed: int, number: tf.Tensor) -> Batch:
        """Adds random tensors to a global batch, before it is split between replicas.

        Args:
            batch: What the task's batches hold.
            seed: Chooses the draws of the run.
            number: Number of the batch, int64.
        """
        drawn, count = self._task.draw(batch, seed=seed, number=number), self._config.batch_size
        if self._config.augmentation and self._match_names:
            # Other numbers for each match, and for its real and its fake image.
            shape = [count, 2 * len(self._match_names), augmentation.NUMBERS]
            key = streams.pair(streams.key("augmentation", seed), number)
            drawn[AUGMENTATION] = tf.random.stateless_uniform(shape, key)
        if self._objective.has_penalties:
            key = streams.pair(streams.key("penalty", seed), number)
            drawn[EPSILON] = tf.random.stateless_uniform([count], key)
        return drawn

    def train_step(self, batch: Batch, with_penalties: bool) -> Metrics:
        """Updates the discriminators and then the generators, on the same real and fake images.

        With alternating updates the updated discriminators evaluate the fakes again. With simultaneous ones the logits
        of one pass serve both losses, which is faster but gives worse results.

        Args:
            batch: This replica's part.
            with_penalties: Whether the penalties of the objective are due.

        Returns:
            The terms of the losses by name, and metrics of the discriminators before their update.
        """
        alternating = self._config.updates == "alternating"
        with tf.GradientTape(persistent=True) as tape:
            play = self._task.play(self._trained.networks, batch, training=True)
            matches = self._augment(play.matches, batch)
            logits, terms = self._discriminator_terms(batch, matches, with_penalties=with_penalties)
            discriminator_loss = self._loss(terms, self._trained.discriminator_optimizer)
            with tape.stop_recording():
                metrics = self._discriminator_metrics(matches, logits)
                if alternating:
                    update = self._update_discriminators(tape, discriminator_loss)
            generator_terms = _merge(play.terms(), self._generator_terms(matches, logits, updated=alternating))
            generator_loss = self._loss(generator_terms, self._trained.generator_optimizer)
        if not alternating:
            update = self._update_discriminators(tape, discriminator_loss)
        gradients = tape.gradient(generator_loss, self._generator_variables)
        generator_update = self._update("generator", gradients, self._generator_variables)
        generators = {f"generator/{name}": value for name, value in generator_terms.items()}
        return _merge(terms, generators, metrics, update, generator_update)

    def discriminator_step(self, batch: Batch, with_penalties: bool) -> None:
        """Updates the discriminators alone. Its terms are not recorded.

        Args:
            batch: This replica's part.
            with_penalties: Whether the penalties of the objective are due.
        """
        # Outside of the tape, since no gradient reaches the generators here.
        play = self._task.play(self._trained.networks, batch, training=True)
        matches = self._augment(play.matches, batch)
        with tf.GradientTape() as tape:
            _, terms = self._discriminator_terms(batch, matches, with_penalties=with_penalties)
            loss = self._loss(terms, self._trained.discriminator_optimizer)
        self._update_discriminators(tape, loss)

    def _augment(self, matches: dict[str, Match], batch: Batch) -> dict[str, Match]:
        """Applies the augmentation."""
        transforms = self._config.augmentation
        if not transforms or not matches:
            return matches
        numbers = tf.unstack(batch[AUGMENTATION], 2 * len(self._match_names), axis=1)
        return {
            name: augmentation.augment_match(matches[name], *numbers[2 * index : 2 * index + 2], transforms=transforms)
            for index, name in enumerate(self._match_names)
        }

    def _discriminator_terms(
        self, batch: Batch, matches: dict[str, Match], *, with_penalties: bool
    ) -> tuple[dict[str, Logits], Terms]:
        """Returns the logits of each match, and the terms of the discriminators' loss."""
        objective, logits, terms = self._objective, dict[str, Logits](), dict[str, tf.Tensor]()
        with_penalties = with_penalties and objective.has_penalties
        for name, match in matches.items():
            # Every step returns the same terms, since steps with and without penalties are branches of one graph.
            penalties = dict.fromkeys(objective.penalty_terms, tf.zeros([]))
            points = objective.penalty_points(match.real, match.shown, batch[EPSILON]) if with_penalties else {}
            logits[name], norms = self._evaluate(name, match, points)
            if with_penalties:
                values = objective.penalties(norms)
                penalties = {term: value * objective.penalty_every for term, value in values.items()}
            terms_of_match = {
                **objective.discriminator_terms(*logits[name], _patches(match, logits[name])),
                **penalties,
            }
            terms.update({f"{name}/{term}": _weighted(value, match.weight) for term, value in terms_of_match.items()})
        return logits, terms

    def _evaluate(
        self, name: str, match: Match, points: Mapping[str, tf.Tensor]
    ) -> tuple[Logits, dict[str, tf.Tensor]]:
        """Runs a discriminator once on the real images, the fake ones, and those at which its gradient is penalised.

        Returns:
            The logits of the real and of the fake images.
            The squared norm of the gradient with respect to each image of `points`, float32 [N] by name.
        """
        network, condition = self._trained.networks.discriminators[name], match.condition
        at_points, sums = {}, {}
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(points)
            for term, images in points.items():
                at_points[images.ref()] = network({"images": images, **condition}, training=True)
                # The logit of an image must not depend on the others: this is the gradient of the sum of all logits.
                sums[term] = tf.reduce_sum(tf.cast(at_points[images.ref()], tf.float32))
        norms = {term: _squared_norms(tape.gradient(sums[term], images)) for term, images in points.items()}
        logits = []
        for images in (match.real, match.shown):
            known = images.ref() in at_points
            logits.append(at_points[images.ref()] if known else network({"images": images, **condition}, training=True))
        return Logits(*logits), norms

    def _generator_terms(self, matches: dict[str, Match], before: dict[str, Logits], *, updated: bool) -> Terms:
        """Returns the terms of the generators' loss.

        Args:
            matches: The matches.
            before: Logits from before the update of the discriminators.
            updated: Whether the discriminators were updated since.
        """
        terms: Terms = {}
        for name, match in matches.items():
            real, fake = before[name]
            network = self._trained.networks.discriminators[name]
            if updated or match.pooled is not None:
                fake = network({"images": match.fake, **match.condition}, training=True)
            if updated and self._objective.generator_uses_real:
                real = network({"images": match.real, **match.condition}, training=True)
            prefix = "" if len(matches) == 1 else f"{name}/"
            terms_of_match = self._objective.generator_terms(real, fake)
            terms.update({f"{prefix}{term}": _weighted(value, match.weight) for term, value in terms_of_match.items()})
        return terms

    def _discriminator_metrics(self, matches: dict[str, Match], logits: dict[str, Logits]) -> Metrics:
        """Returns the accuracy and the loss without penalties, means over the matches; nothing without matches."""
        if not matches:
            return {}
        judged = [(*pair, _patches(matches[name], pair)) for name, pair in logits.items()]
        accuracies = [self._objective.accuracy(*arguments) for arguments in judged]
        losses = [loss for arguments in judged for loss in self._objective.discriminator_terms(*arguments).values()]
        return {ACCURACY: tf.add_n(accuracies) / len(logits), LOSS: tf.add_n(losses) / len(logits)}

    def _loss(self, terms: Terms, optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
        """Returns the loss: the sum of the terms, scaled if the optimizer scales losses.

        This is the only place that accounts for replicas, over which Keras' optimizers sum gradients.
        """
        total = tf.add_n(list(terms.values())) if terms else tf.zeros([])
        return optimizer.scale_loss(total / self._replicas)

    def _update_discriminators(self, tape: tf.GradientTape, loss: tf.Tensor) -> Metrics:
        if not self._discriminator_variables:
            return {}
        gradients = tape.gradient(loss, self._discriminator_variables)
        return self._update("discriminator", gradients, self._discriminator_variables)

    def _update(self, which: str, gradients: list[tf.Tensor], variables: list[keras.Variable]) -> Metrics:
        """Applies gradients, and returns their global norm: with several replicas, that of each one's own gradients.

        An optimizer that scales losses skips an update whose gradients overflow, and halves its scale. Such a step has
        norm 0 and counts as skipped. At a scale of 1 or less the gradients themselves are invalid, so the norm stays
        infinite or NaN.
        """
        optimizers = {
            "generator": self._trained.generator_optimizer,
            "discriminator": self._trained.discriminator_optimizer,
        }
        optimizer = optimizers[which]
        if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer.apply(gradients, variables)
            return {f"gradient/{which}": self._norm(gradients)}
        scale = tf.identity(optimizer.dynamic_scale.value)
        optimizer.apply(gradients, variables)
        norm = self._norm([None if gradient is None else gradient / scale for gradient in gradients])
        skipped = tf.logical_and(scale > 1.0, tf.logical_not(tf.math.is_finite(norm)))
        return {
            f"gradient/{which}": tf.where(skipped, 0.0, norm),
            f"skipped/{which}": tf.cast(skipped, tf.float32),
            f"loss_scale/{which}": scale,
        }

    def _norm(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        return tf.linalg.global_norm(gradients) * self._replicas


def _patches(match: Match, logits: Logits) -> tf.Tensor | None:
    """Returns which logits of a fake image are those of generated patches, bool; None if all are."""
    if match.generated is None:
        return None
    height_and_width = tf.shape(logits.fake)[1:3]
    return tf.image.resize(match.generated, height_and_width, tf.image.ResizeMethod.NEAREST_NEIGHBOR) > 0.5


def _squared_norms(gradients: tf.Tensor) -> tf.Tensor:
    """Returns the squared norm of each image's gradient, float32 [N], also if the network has lower precision."""
    return tf.reduce_sum(tf.square(tf.cast(gradients, tf.float32)), axis=[1, 2, 3])


def _merge(*groups: Metrics) -> Metrics:
    """Merges dicts, and refuses two values of one name, since one of them would be lost without a word."""
    merged: Terms = {}
    for group in groups:
        if repeated := sorted(merged.keys() & group.keys()):
            raise ValueError(
                f"expected a name of its own for each term and match of a task. Received: terms={repeated}"
            )
        merged |= group
    return merged


def _weighted(value: tf.Tensor, weight: float) -> tf.Tensor:
    return value if weight == 1.0 else value * weight


def _trainable(models: dict[str, keras.Model]) -> list[keras.Variable]:
    return [variable for model in models.values() for variable in model.trainable_variables]
