"""The section `export`."""

from __future__ import annotations

from pydantic import Field, field_validator

from ganlib import storage
from ganlib.schema import Config


class ExportConfig(Config):
    """How closely exported files must agree with the trained networks, and where they are published."""

    tolerance: float = Field(default=1e-4, gt=0.0)
    """Largest difference, in the range -1..1, between an exported image and the same image in training."""
    target: str | None = Field(default=None, min_length=1)
    """Folder, or gs:// or s3:// address, where the exported model is also published. A later export replaces it."""

    @field_validator("target")
    @classmethod
    def _can_be_written(cls, target: str | None) -> str | None:
        if target is not None and storage.is_remote(target) and not storage.is_bucket(target):
            raise ValueError(f"expected a gs:// or s3:// address, or a folder. Received: target={target!r}")
        return target
