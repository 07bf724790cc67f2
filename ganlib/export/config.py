"""The section `export`."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ganlib import storage
from ganlib.schema import Config
from ganlib.selection.thresholds import GateConfig

NAME = re.compile(r"\w[\w .-]{0,199}")  # MLflow allows no / and :, and quotes would end a query

OnnxChoice = Literal["auto", True, False]


class ExportConfig(Config):
    """Which files are exported, how closely they must agree with the trained networks, and where they are published."""

    tolerance: float = Field(default=1e-4, gt=0.0)
    """Largest difference, in the range -1..1, between an exported image and the same image in training."""
    onnx: OnnxChoice = "auto"
    """Whether ONNX files are written, too, for onnxruntime without TensorFlow. If that fails, `auto` exports the other
    files and says why, and with `true` the export fails."""
    target: str | None = Field(default=None, min_length=1)
    """Folder, or gs:// or s3:// address, where the exported model is also published. A later export replaces it."""
    gate: GateConfig | None = None
    """Thresholds that decide whether the model may be promoted. Without any, nothing is."""
    registered_model: str | None = None
    """Name of a model in the MLflow registry, which gets each exported model as a version."""

    @field_validator("target")
    @classmethod
    def _can_be_written(cls, target: str | None) -> str | None:
        if target is not None and storage.is_remote(target) and not storage.is_bucket(target):
            raise ValueError(f"expected a gs:// or s3:// address, or a folder. Received: target={target!r}")
        return target

    @field_validator("registered_model")
    @classmethod
    def _can_be_a_name(cls, name: str | None) -> str | None:
        if name is not None and not NAME.fullmatch(name):
            raise ValueError(
                f"expected at most 200 letters, digits, spaces, '.', '_' and '-'. Received: registered_model={name!r}"
            )
        return name

    @model_validator(mode="after")
    def _check_champion(self) -> ExportConfig:
        if self.gate is not None and self.gate.champion is not None and self.registered_model is None:
            raise ValueError(
                "a comparison with the champion needs registered_model, the name of a model in the MLflow registry. "
                f"Received: gate.champion={self.gate.champion}, registered_model=null"
            )
        return self
