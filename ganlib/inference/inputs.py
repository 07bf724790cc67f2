"""The file `inputs.json` of an exported model: what its functions take, as far as their types do not say it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from ganlib import storage
from ganlib.schema import Config, problems

FILE = "inputs.json"


class Inputs(Config):
    """What the functions of an exported model take."""

    multiple_of: int = Field(default=1, ge=1)
    """Number that the sides of an image must be multiples of."""
    minimum: int = Field(default=1, ge=1)
    """Smallest side of an image, in pixels."""
    fixed: tuple[int, int] | None = None
    """Height and width of an image, if no other size is taken."""
    overlap: int = Field(default=64, ge=0)
    """Pixels that neighbouring tiles of a large image share; four times the reach of the network avoids every seam."""
    classes: tuple[str, ...] = ()
    """Names of the classes that can be asked for."""

    @classmethod
    def read(cls, folder: Path) -> Inputs:
        """Reads the file of an exported model. Defaults apply to a model without one.

        Raises:
            ValueError: The file is damaged, or has unknown fields.
        """
        path = folder / FILE
        if not path.exists():
            return cls()
        try:
            return cls.model_validate(storage.read_json(path))
        except ValidationError as error:
            raise ValueError(f"{path}: {'; '.join(problems(error))}") from error

    def write(self, folder: Path) -> None:
        """Writes the file into the folder of an exported model."""
        storage.write_json(folder / FILE, self.to_parameter())
