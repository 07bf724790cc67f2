"""The updates of a step: batches become matches, matches become terms, terms become gradients.

`train_step` and `discriminator_step` are what each replica does with its share of a batch.
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

AUGMENTATION, INTERPOLATION = "augmentation", "interpolation"  # what is drawn with a batch, beside the task's draws
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
        self._matches = list(networks.discriminators)
        self._generator_variables = _trainable(networks.generators)
        self._discriminator_variables = _trainable(networks.discriminators)
        for variable in self._discriminator_variables:
            variable.constraint = objective.constraint  # Keras applies it after each update: WGAN's clipping

    def draw(self, batch: Batch, *, seed: int, number: tf.Tensor) -> Batch:
        """Adds all that is random to a global batch, before it is split between replicas.

        Args:
            batch: What the task's batches hold.
            seed: Chooses the draws of the run.
            number: Number of the batch, int64.
        """
        drawn, count = self._task.draw(batch, seed=seed, number=number), self._config.batch_size
        if self._config.augmentation:  # of each match for the real image and for the fake one
            shape = [count, 2 * len(self._matches), augmentation.NUMBERS]
            key = streams.pair(streams.key("augmentation", seed), number)
            drawn[AUGMENTATION] = tf.random.stateless_uniform(shape, key)
        if self._objective.penalised:
            key = streams.pair(streams.key("penalty", seed), number)
            drawn[INTERPOLATION] = tf.random.stateless_uniform([count], key)
        return drawn

    def train_step(self, batch: Batch, penalised: bool) -> Terms:
        """Updates the discriminators and then the generators, on the same real and fake images.

        Alternating updates let the discriminators, once updated, judge the fakes again. Simultaneous ones let
        the logits of one pass serve both losses, which saves that pass and costs quality.

        Args:
            batch: This replica's share.
            penalised: Whether the objective's penalties are due.

        Returns:
            The terms by name, and how well the discriminators did before their update.
        """
        alternating = self._config.updates == "alternating"
        with tf.GradientTape(persistent=True) as tape:
            play = self._task.play(self._trained.networks, batch, training=True)
            matches = self._augment(play.matches, batch)
            discriminators = self._discriminators(matches)
            terms = self._discriminator_terms(batch, matches, discriminators, penalised=penalised)
            discriminator_loss = self._loss(terms, self._trained.discriminator_optimizer)
            with tape.stop_recording():
                metrics = self._discriminator_metrics(matches, discriminators)
                if alternating:
                    discriminator_update = self._update_discriminators(tape, discriminator_loss)
            if alternating:
                discriminators = self._discriminators(matches)
            generator_terms = {**play.terms(), **self._generator_terms(matches, discriminators)}
            generator_loss = self._loss(generator_terms, self._trained.generator_optimizer)
        if not alternating:
            discriminator_update = self._update_discriminators(tape, discriminator_loss)
        generator_update = self._update(
            "generator", tape.gradient(generator_loss, self._generator_variables), self._generator_variables
        )
        return {
            **terms,
            **{f"generator/{name}": value for name, value in generator_terms.items()},
            **metrics,
            **discriminator_update,
            **generator_update,
        }

    def discriminator_step(self, batch: Batch, penalised: bool) -> None:
        """Updates the discriminators alone, with this replica's share of a batch."""
        play = self._task.play(self._trained.networks, batch, training=True)
        matches = self._augment(play.matches, batch)
        with tf.GradientTape() as tape:
            terms = self._discriminator_terms(batch, matches, self._discriminators(matches), penalised=penalised)
            loss = self._loss(terms, self._trained.discriminator_optimizer)
        self._update_discriminators(tape, loss)

    def _augment(self, matches: dict[str, Match], batch: Batch) -> dict[str, Match]:
        """Returns the matches as the discriminators see them."""
        transforms = self._config.augmentation
        if not transforms:
            return matches
        numbers = tf.unstack(batch[AUGMENTATION], 2 * len(self._matches), axis=1)
        changed = {}
        for place, name in enumerate(self._matches):
            match, (real, fake) = matches[name], numbers[2 * place : 2 * place + 2]
            images = {key for key, value in match.condition.items() if value.shape.rank == IMAGE_RANK}
            if images:  # one condition stands beside both images, so both move as it does
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
        """Returns the discriminators in their present state, each as a function that judges an image once."""
        networks = self._trained.networks.discriminators
        return {name: _judge_once(networks[name], match.condition) for name, match in matches.items()}

    def _discriminator_terms(
        self, batch: Batch, matches: dict[str, Match], discriminators: dict[str, Discriminator], *, penalised: bool
    ) -> Terms:
        terms: Terms = {}
        for name, match in matches.items():
            objective, discriminator = self._objective, discriminators[name]
            penalties = dict.fromkeys(objective.penalty_terms, tf.zeros([]))
            if penalised and objective.penalised:
                # Before the other terms: a penalty needs the pass recorded for its own gradient, and the others then
                # take the logits of that pass.
                due = objective.penalties(discriminator, match.real, match.fake, batch[INTERPOLATION])
                penalties = {term: value * objective.penalty_every for term, value in due.items()}
            own = {**objective.discriminator_terms(discriminator, match.real, match.fake), **penalties}
            terms.update({f"{name}/{term}": _weighted(value, match.weight) for term, value in own.items()})
        return terms

    def _generator_terms(self, matches: dict[str, Match], discriminators: dict[str, Discriminator]) -> Terms:
        terms: Terms = {}
        for name, match in matches.items():
            own = self._objective.generator_terms(discriminators[name], match.real, match.fake)
            prefix = "" if len(matches) == 1 else f"{name}/"
            terms.update({f"{prefix}{term}": _weighted(value, match.weight) for term, value in own.items()})
        return terms

    def _discriminator_metrics(self, matches: dict[str, Match], discriminators: dict[str, Discriminator]) -> Terms:
        """Returns the share of images classified correctly and the loss without penalties, means over the matches."""
        shares: list[tf.Tensor] = []
        losses: list[tf.Tensor] = []
        for name, match in matches.items():
            shares.append(self._objective.accuracy(discriminators[name], match.real, match.fake))
            losses.extend(self._objective.discriminator_terms(discriminators[name], match.real, match.fake).values())
        return {ACCURACY: tf.add_n(shares) / len(shares), LOSS: tf.add_n(losses) / len(shares)}

    def _loss(self, terms: Terms, optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
        """Returns what is differentiated: the sum of the terms, scaled where an optimizer scales losses.

        The one place that accounts for replicas: Keras' optimizers sum gradients over them.
        """
        return optimizer.scale_loss(tf.add_n(list(terms.values())) / self._replicas)

    def _update_discriminators(self, tape: tf.GradientTape, loss: tf.Tensor) -> Terms:
        gradients = tape.gradient(loss, self._discriminator_variables)
        return self._update("discriminator", gradients, self._discriminator_variables)

    def _update(self, kind: str, gradients: list[tf.Tensor], variables: list[keras.Variable]) -> Terms:
        """Applies gradients; returns the norm of the gradient, with several replicas that of each one's own batch.

        An optimizer that scales losses skips an update whose gradients overflow and halves its scale. Such a step has
        the norm 0 and counts as skipped. At a scale of 1 or less the gradients are broken themselves, which the norm
        then tells.
        """
        optimizer = getattr(self._trained, f"{kind}_optimizer")
        if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer.apply(gradients, variables)
            return {f"gradient/{kind}": self._norm(gradients)}
        scale = tf.identity(optimizer.dynamic_scale.value)
        optimizer.apply(gradients, variables)
        norm = self._norm([gradient / scale for gradient in gradients])
        skipped = tf.logical_and(scale > 1.0, tf.logical_not(tf.math.is_finite(norm)))
        return {
            f"gradient/{kind}": tf.where(skipped, 0.0, norm),
            f"skipped/{kind}": tf.cast(skipped, tf.float32),
            f"loss_scale/{kind}": scale,
        }

    def _norm(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        return tf.linalg.global_norm(gradients) * self._replicas


def _judge_once(network: keras.Model, condition: Mapping[str, tf.Tensor]) -> Discriminator:
    """Returns the network as a function that judges each tensor once: the terms of a loss share one pass."""
    answers: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}

    def discriminator(images: tf.Tensor) -> tf.Tensor:
        if id(images) not in answers:
            answer = network({"images": images, **condition}, training=True)
            answers[id(images)] = images, answer  # keeps the tensor, and so its id, alive
        return answers[id(images)][1]

    return discriminator


def _weighted(value: tf.Tensor, weight: float) -> tf.Tensor:
    return value if weight == 1.0 else value * weight


def _trainable(models: dict[str, keras.Model]) -> list[keras.Variable]:
    return [variable for model in models.values() for variable in model.trainable_variables]
