"""A whole run as one typed object: the sections, and the rules across them."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from ganlib.data import DataConfig
from ganlib.evaluation import EvaluationConfig
from ganlib.export import ExportConfig
from ganlib.models import AnyArchitecture, Dcgan
from ganlib.objectives import AnyObjective, NonSaturating
from ganlib.schema import Config
from ganlib.tasks import AnyTask, Generation
from ganlib.training import TrainConfig


class RunConfig(Config):
    """Where images come from, what is asked, which networks, which game; how it is trained, judged, shipped."""

    data: DataConfig = DataConfig()
    """Where the images come from, and their one shape."""
    task: AnyTask = Generation()
    """What the generator is asked to do."""
    model: AnyArchitecture = Dcgan()
    """Which networks."""
    objective: AnyObjective = NonSaturating()
    """Which game they play."""
    training: TrainConfig = TrainConfig()
    """How they are trained."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How the result is judged."""
    export: ExportConfig = ExportConfig()
    """What is shipped."""

    @model_validator(mode="after")
    def _check_across_sections(self) -> RunConfig:
        self.model.check(self.data.image_shape)
        self.task.check_architecture(self.model)
        few, batch = self.data.train_images, self.training.batch_size
        if few is not None and few < batch:
            raise ValueError(
                "expected at least one batch of training images. "
                f"Received: data.train_images={few}, training.batch_size={batch}"
            )
        self.objective.check(judges_batches=self.model.judges_batches)
        self.training.check_channels(self.data.image_shape[2])
        if self.evaluation.classification_accuracy and not self.task.takes_label:
            raise ValueError(
                "the classification accuracy score needs a generator that is asked for classes, expected "
                "task.conditional=true. Received: evaluation.classification_accuracy=true"
            )
        return self

    def to_parameters(self) -> dict[str, dict[str, Any]]:
        """Returns one dict a section, the parameters of the pipeline."""
        return {name: getattr(self, name).to_parameter() for name in RunConfig.model_fields}
