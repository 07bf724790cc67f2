"""The updates of one step, as each replica makes them: batch to matches, to terms, to gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from etils import epy

from ganlib.tasks import Match
from ganlib.training import augmentation
from ganlib.training.rows import ACCURACY, LOSS

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    import keras

    from ganlib.objectives import Objective
    from ganlib.tasks import Task
    from ganlib.training.config import TrainConfig
    from ganlib.training.state import TrainState

    Batch = dict[str, tf.Tensor]
    Terms = dict[str, tf.Tensor]
    Judge = Callable[[tf.Tensor], tf.Tensor]

AUGMENTATION, INTERPOLATION = "augmentation", "interpolation"  # what is drawn with a batch, beside what the task draws


class Updates:
    """Updates a state's networks by a game.

    Args:
        state: What is trained.
        task: Turns batches into matches of real and fake images.
        objective: The game's terms.
        config: How it is trained.
        replicas: Replicas that share a batch.
    """

    def __init__(
        self, state: TrainState, *, task: Task, objective: Objective, config: TrainConfig, replicas: int
    ) -> None:
        self._trained = state.trained
        self._task, self._objective, self._config, self._replicas = task, objective, config, replicas
        self._generator_variables = _trainable(state.trained.networks.generators)
        self._discriminator_variables = _trainable(state.trained.networks.discriminators)
        for variable in self._discriminator_variables:
            variable.constraint = objective.constraint

    def train_step(self, batch: Batch, penalised: bool) -> Terms:
        """One update of the discriminators and one of the generators, on the same real and fake images.

        Alternating updates let the discriminators, once updated, judge the fakes anew. Simultaneous ones let
        the logits of one pass serve both losses, which saves that pass and costs quality.

        Args:
            batch: This replica's share.
            penalised: Whether the objective's penalties are due.

        Returns:
            All terms by name, and what tells how the game stands.
        """
        alternating = self._config.updates == "alternating"
        with tf.GradientTape(persistent=True) as tape:
            plain = self._task.play(self._trained.networks.generators, batch, training=True)
            matches = self._augmented(plain, batch)
            judges = self._judges(matches)
            terms = self._discriminator_terms(batch, matches, judges, penalised=penalised)
            discriminator_loss = self._loss(terms)
            with tape.stop_recording():
                seen = self._discriminator_metrics(matches, judges)
                if alternating:
                    discriminator_norm = self._update_discriminators(tape, discriminator_loss)
            if alternating:
                judges = self._judges(matches)
            generator_terms = self._generator_terms(batch, plain, matches, judges)
            generator_loss = self._loss(generator_terms)
        if not alternating:
            discriminator_norm = self._update_discriminators(tape, discriminator_loss)
        gradients = tape.gradient(generator_loss, self._generator_variables)
        self._trained.generator_optimizer.apply(gradients, self._generator_variables)
        terms |= {f"generator/{name}": value for name, value in generator_terms.items()}
        terms |= {**seen, "gradient/discriminator": discriminator_norm, "gradient/generator": self._norm(gradients)}
        return terms

    def discriminator_step(self, batch: Batch, penalised: bool) -> None:
        """One update of the discriminators alone."""
        matches = self._augmented(self._task.play(self._trained.networks.generators, batch, training=True), batch)
        with tf.GradientTape() as tape:
            loss = self._loss(self._discriminator_terms(batch, matches, self._judges(matches), penalised=penalised))
        self._update_discriminators(tape, loss)

    def _augmented(self, matches: dict[str, Match], batch: Batch) -> dict[str, Match]:
        """The matches as the discriminators see them."""
        transforms = self._config.augmentation
        if not transforms:
            return matches
        numbers = tf.unstack(batch[AUGMENTATION], axis=1)
        return {
            name: Match(
                real=augmentation.augmented(match.real, numbers[0], transforms=transforms),
                fake=augmentation.augmented(match.fake, numbers[1], transforms=transforms),
                condition=match.condition,
            )
            for name, match in matches.items()
        }

    def _judges(self, matches: dict[str, Match]) -> dict[str, Judge]:
        """The discriminators as they stand, each as a function that judges an image once."""
        return {
            name: _remembering(self._trained.networks.discriminators[name], match.condition)
            for name, match in matches.items()
        }

    def _update_discriminators(self, tape: tf.GradientTape, loss: tf.Tensor) -> tf.Tensor:
        gradients = tape.gradient(loss, self._discriminator_variables)
        self._trained.discriminator_optimizer.apply(gradients, self._discriminator_variables)
        return self._norm(gradients)

    def _norm(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        """Norm of the gradient; with several replicas that of each one's own batch."""
        return tf.linalg.global_norm(gradients) * self._replicas

    def _discriminator_terms(
        self, batch: Batch, matches: dict[str, Match], judges: dict[str, Judge], *, penalised: bool
    ) -> Terms:
        terms: Terms = {}
        for name, match in matches.items():
            penalties: Terms = {}
            if penalised and self._objective.penalised:
                penalties = self._objective.penalties(judges[name], match.real, match.fake, batch[INTERPOLATION])
            found = self._objective.discriminator_terms(judges[name], match.real, match.fake)
            found |= {term: value * self._objective.penalty_every for term, value in penalties.items()}
            terms.update({f"{name}/{term}": value for term, value in found.items()})
        return terms

    def _generator_terms(
        self, batch: Batch, plain: dict[str, Match], matches: dict[str, Match], judges: dict[str, Judge]
    ) -> Terms:
        terms = self._task.extra_terms(batch, plain)
        for name, match in matches.items():
            found = self._objective.generator_terms(judges[name], match.real, match.fake)
            prefix = "" if len(matches) == 1 else f"{name}/"
            terms.update({f"{prefix}{term}": value for term, value in found.items()})
        return terms

    def _discriminator_metrics(self, matches: dict[str, Match], judges: dict[str, Judge]) -> Terms:
        """How well the discriminators did before their update: shares told rightly, losses without penalties."""
        shares: list[tf.Tensor] = []
        losses: list[tf.Tensor] = []
        for name, match in matches.items():
            shares.append(self._objective.accuracy(judges[name], match.real, match.fake))
            losses.extend(self._objective.discriminator_terms(judges[name], match.real, match.fake).values())
        return {ACCURACY: tf.add_n(shares) / len(shares), LOSS: tf.add_n(losses) / len(shares)}

    def _loss(self, terms: Terms) -> tf.Tensor:
        """The one place that accounts for replicas: Keras' optimizers sum gradients over them."""
        return tf.add_n(list(terms.values())) / self._replicas


def _remembering(network: keras.Model, condition: Mapping[str, tf.Tensor]) -> Judge:
    """Returns the network as a function that judges each tensor once."""
    answers: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}

    def judge(images: tf.Tensor) -> tf.Tensor:
        if id(images) not in answers:
            answer = network({"images": images, **condition}, training=True)
            answers[id(images)] = images, answer  # keeps the tensor, and so its id, alive
        return answers[id(images)][1]

    return judge


def _trainable(models: dict[str, keras.Model]) -> list[keras.Variable]:
    return [variable for model in models.values() for variable in model.trainable_variables]
