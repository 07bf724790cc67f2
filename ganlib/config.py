"""The config of a run: its sections, and the rules between sections."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from ganlib.data import DataConfig
from ganlib.evaluation import EvaluationConfig
from ganlib.export import ExportConfig
from ganlib.models import AnyArchitecture, Dcgan
from ganlib.objectives import AnyObjective, NonSaturating
from ganlib.schema import Config
from ganlib.tasks import AnyTask, Generation
from ganlib.training import TrainConfig

if TYPE_CHECKING:
    from ganlib.data import Listing


class RunConfig(Config):
    """Config of a run: data, task, model, objective, training, evaluation and export."""

    data: DataConfig = DataConfig()
    """Source of the images, and their common size and colour."""
    task: AnyTask = Generation()
    """What the generator generates."""
    model: AnyArchitecture = Dcgan()
    """Architecture of the networks."""
    objective: AnyObjective = NonSaturating()
    """Losses of the networks."""
    training: TrainConfig = TrainConfig()
    """Training settings."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Settings of the scores."""
    export: ExportConfig = ExportConfig()
    """Settings of the exported model."""

    @model_validator(mode="after")
    def _check_across_sections(self) -> RunConfig:
        checks: list[Callable[[], None]] = [
            self._check_size,
            lambda: self.task.check_architecture(self.model),
            self._check_crop,
            self._check_batch,
            self._check_objective,
            lambda: self.training.check_channels(self.data.image_shape[2]),
            self._check_classification,
        ]
        mistakes = []
        for check in checks:
            try:
                check()
            except ValueError as error:
                mistakes.append(str(error))
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return self

    def _check_size(self) -> None:
        try:
            self.model.check(self.data.image_shape)
        except ValueError as error:
            raise ValueError(f"data.size: {error}") from error

    def _check_batch(self) -> None:
        images, batch = self.data.train_images, self.training.batch_size
        if images is not None and images < batch:
            raise ValueError(
                "expected at least one batch of training images. "
                f"Received: data.train_images={images}, training.batch_size={batch}"
            )

    def _check_objective(self) -> None:
        self.objective.check(judges_batches=self.model.judges_batches, has_real_patches=self.task.has_real_patches)

    def _check_classification(self) -> None:
        if self.evaluation.classification_accuracy and not self.task.takes_label:
            raise ValueError(
                "the classification accuracy score needs a conditional generator, expected task.conditional=true. "
                "Received: evaluation.classification_accuracy=true"
            )

    def check_listing(self, listing: Listing) -> list[str]:
        """Checks before a run whether the images fit the settings.

        Args:
            listing: The listing of `data.source`.

        Returns:
            Notes for the user.

        Raises:
            ValueError: They do not; the message says what was expected.
        """
        listing.check_splits()
        batch = self.training.batch_size
        self.task.check_data(image_shape=self.data.image_shape, classes=listing.classes, paired=listing.paired)
        images = sum(entry.split == "train" for entry in listing.entries)
        if images < batch:
            raise ValueError(
                f"expected at least training.batch_size={batch} training images; set a smaller training.batch_size. "
                f"Received: images={images}"
            )
        return self.task.notes(self.model, classes=len(listing.classes))

    def _check_crop(self) -> None:
        """Refuses crops for networks that could then not make complete images."""
        if self.data.crop is None:
            return
        if self.task.samples_from == "seed":
            raise ValueError(
                f"data.crop needs a task that makes images from images. Received: task={self.task.kind}, "
                f"data.crop={self.data.crop}"
            )
        try:
            self.model.check(self.data.batch_shape)
        except ValueError as error:
            raise ValueError(f"data.crop: {error}") from error

    def to_parameters(self) -> dict[str, dict[str, Any]]:
        """Returns one dict for each section: the parameters of the pipeline."""
        return {name: getattr(self, name).to_parameter() for name in RunConfig.model_fields}
