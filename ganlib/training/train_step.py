"""The updates of a step: what each replica does with its part of a batch.

A step with n updates of the discriminators is n - 1 calls of `discriminator_step` and one of `train_step`, which
updates the discriminators and the generators on the same generated images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

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
    Terms = dict[str, tf.Tensor]
    Discriminator = Callable[[tf.Tensor], tf.Tensor]

AUGMENTATION, INTERPOLATION = "augmentation", "interpolation"  # random tensors of a batch besides those of the task
IMAGE_RANK = 4


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
        if self._config.augmentation:  # other numbers for each match, and for its real and its fake image
            shape = [count, 2 * len(self._match_names), augmentation.NUMBERS]
            key = streams.pair(streams.key("augmentation", seed), number)
            drawn[AUGMENTATION] = tf.random.stateless_uniform(shape, key)
        if self._objective.has_penalties:
            key = streams.pair(streams.key("penalty", seed), number)
            drawn[INTERPOLATION] = tf.random.stateless_uniform([count], key)
        return drawn

    def train_step(self, batch: Batch, penalise: bool) -> Terms:
        """Updates the discriminators and then the generators, on the same real and fake images.

        With alternating updates the updated discriminators evaluate the fakes again. With simultaneous ones the logits
        of one pass serve both losses, which is faster but gives worse results.

        Args:
            batch: This replica's part.
            penalise: Whether the penalties of the objective are due.

        Returns:
            The terms by name, and metrics of the discriminators before their update.
        """
        alternating = self._config.updates == "alternating"
        with tf.GradientTape(persistent=True) as tape:
            play = self._task.play(self._trained.networks, batch, training=True)
            matches = self._augment(play.matches, batch)
            discriminators = self._discriminators(matches)
            terms = self._discriminator_terms(batch, matches, discriminators, penalise=penalise)
            discriminator_loss = self._loss(terms, self._trained.discriminator_optimizer)
            with tape.stop_recording():
                metrics = self._discriminator_metrics(matches, discriminators)
                if alternating:
                    discriminator_update = self._update_discriminators(tape, discriminator_loss)
            if alternating:
                discriminators = self._discriminators(matches)
            generator_terms = _merge(play.terms(), self._generator_terms(matches, discriminators))
            generator_loss = self._loss(generator_terms, self._trained.generator_optimizer)
        if not alternating:
            discriminator_update = self._update_discriminators(tape, discriminator_loss)
        generator_update = self._update(
            "generator", tape.gradient(generator_loss, self._generator_variables), self._generator_variables
        )
        generators = {f"generator/{name}": value for name, value in generator_terms.items()}
        return _merge(terms, generators, metrics, discriminator_update, generator_update)

    def discriminator_step(self, batch: Batch, penalise: bool) -> None:
        """Updates the discriminators alone. Its terms are not recorded.

        Args:
            batch: This replica's part.
            penalise: Whether the penalties of the objective are due.
        """
        # Outside of the tape, since no gradient reaches the generators here.
        play = self._task.play(self._trained.networks, batch, training=True)
        matches = self._augment(play.matches, batch)
        with tf.GradientTape() as tape:
            terms = self._discriminator_terms(batch, matches, self._discriminators(matches), penalise=penalise)
            loss = self._loss(terms, self._trained.discriminator_optimizer)
        self._update_discriminators(tape, loss)

    def _augment(self, matches: dict[str, Match], batch: Batch) -> dict[str, Match]:
        """Applies the augmentation."""
        transforms = self._config.augmentation
        if not transforms:
            return matches
        numbers = tf.unstack(batch[AUGMENTATION], 2 * len(self._match_names), axis=1)
        changed = {}
        for place, name in enumerate(self._match_names):
            match, (real, fake) = matches[name], numbers[2 * place : 2 * place + 2]
            images = {key for key, value in match.condition.items() if value.shape.rank == IMAGE_RANK}
            if images:  # the condition belongs to both images, so all three are changed by the same numbers
                fake = real
            changed[name] = Match(
                real=augmentation.augment(match.real, real, transforms=transforms),
                fake=augmentation.augment(match.fake, fake, transforms=transforms),
                condition={
                    key: augmentation.augment(value, real, transforms=transforms) if key in images else value
                    for key, value in match.condition.items()
                },
                weight=match.weight,
            )
        return changed

    def _discriminators(self, matches: dict[str, Match]) -> dict[str, Discriminator]:
        """Returns the discriminators as functions from images to logits, with the conditions of their matches."""
        networks = self._trained.networks.discriminators
        return {name: _evaluate_once(networks[name], match.condition) for name, match in matches.items()}

    def _discriminator_terms(
        self, batch: Batch, matches: dict[str, Match], discriminators: dict[str, Discriminator], *, penalise: bool
    ) -> Terms:
        terms: Terms = {}
        for name, match in matches.items():
            objective, discriminator = self._objective, discriminators[name]
            penalties = dict.fromkeys(objective.penalty_terms, tf.zeros([]))
            if penalise and objective.has_penalties:
                # Before the other terms, because of the cache in `_evaluate_once`: a penalty on real or fake images
                # needs a pass that its own tape records, and the other terms then use the logits of that pass.
                values = objective.penalties(discriminator, match.real, match.fake, batch[INTERPOLATION])
                penalties = {term: value * objective.penalty_every for term, value in values.items()}
            terms_of_match = {**objective.discriminator_terms(discriminator, match.real, match.fake), **penalties}
            terms.update({f"{name}/{term}": _weighted(value, match.weight) for term, value in terms_of_match.items()})
        return terms

    def _generator_terms(self, matches: dict[str, Match], discriminators: dict[str, Discriminator]) -> Terms:
        terms: Terms = {}
        for name, match in matches.items():
            terms_of_match = self._objective.generator_terms(discriminators[name], match.real, match.fake)
            prefix = "" if len(matches) == 1 else f"{name}/"
            terms.update({f"{prefix}{term}": _weighted(value, match.weight) for term, value in terms_of_match.items()})
        return terms

    def _discriminator_metrics(self, matches: dict[str, Match], discriminators: dict[str, Discriminator]) -> Terms:
        """Returns the accuracy and the loss without penalties, means over the matches."""
        accuracies: list[tf.Tensor] = []
        losses: list[tf.Tensor] = []
        for name, match in matches.items():
            accuracies.append(self._objective.accuracy(discriminators[name], match.real, match.fake))
            losses.extend(self._objective.discriminator_terms(discriminators[name], match.real, match.fake).values())
        return {ACCURACY: tf.add_n(accuracies) / len(matches), LOSS: tf.add_n(losses) / len(matches)}

    def _loss(self, terms: Terms, optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
        """Returns the loss: the sum of the terms, scaled if the optimizer scales losses.

        This is the only place that accounts for replicas, over which Keras' optimizers sum gradients.
        """
        return optimizer.scale_loss(tf.add_n(list(terms.values())) / self._replicas)

    def _update_discriminators(self, tape: tf.GradientTape, loss: tf.Tensor) -> Terms:
        gradients = tape.gradient(loss, self._discriminator_variables)
        return self._update("discriminator", gradients, self._discriminator_variables)

    def _update(self, kind: str, gradients: list[tf.Tensor], variables: list[keras.Variable]) -> Terms:
        """Applies gradients; returns the norm of the gradient, with several replicas that of each one's own batch.

        An optimizer that scales losses skips an update whose gradients overflow, and halves its scale. Such a step has
        norm 0 and counts as skipped. At a scale of 1 or less the gradients themselves are invalid, so the norm stays
        infinite or NaN.
        """
        optimizer = getattr(self._trained, f"{kind}_optimizer")
        if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer.apply(gradients, variables)
            return {f"gradient/{kind}": self._norm(gradients)}
        scale = tf.identity(optimizer.dynamic_scale.value)
        optimizer.apply(gradients, variables)
        norm = self._norm([None if gradient is None else gradient / scale for gradient in gradients])
        skipped = tf.logical_and(scale > 1.0, tf.logical_not(tf.math.is_finite(norm)))
        return {
            f"gradient/{kind}": tf.where(skipped, 0.0, norm),
            f"skipped/{kind}": tf.cast(skipped, tf.float32),
            f"loss_scale/{kind}": scale,
        }

    def _norm(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        return tf.linalg.global_norm(gradients) * self._replicas


def _evaluate_once(network: keras.Model, condition: Mapping[str, tf.Tensor]) -> Discriminator:
    """Returns the network as a function that evaluates each tensor once, so that the terms of a loss share one pass."""
    logits: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}

    def discriminator(images: tf.Tensor) -> tf.Tensor:
        if id(images) not in logits:
            output = network({"images": images, **condition}, training=True)
            logits[id(images)] = images, output  # keeps the tensor, and so its id, alive
        return logits[id(images)][1]

    return discriminator


def _merge(*groups: Terms) -> Terms:
    """Returns all terms. A term that took the place of another would be missing in a loss or in the history."""
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
