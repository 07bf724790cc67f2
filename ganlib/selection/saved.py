"""Opens what the comparison has saved in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from ganlib import storage
from ganlib.schema import Config, problems

Saved = TypeVar("Saved", bound=Config)


def open_saved(kind: type[Saved], folder: str | Path, file: str, *, expected: str) -> Saved:
    """Reads a config with a field `folder` from a file in that folder.

    Args:
        kind: Class of the config.
        folder: The folder.
        file: Name of the file.
        expected: What the file should hold, for the message.

    Raises:
        ValueError: The file is absent, or holds something else.
    """
    path = Path(folder) / file
    saved = storage.read_json(path)
    try:
        return kind.model_validate({**saved, "folder": Path(folder)})
    except ValidationError as error:
        raise ValueError(f"{'; '.join(problems(error))} (in {path})") from error
    except TypeError as error:
        raise ValueError(f"expected {expected}. Received: path={str(path)!r}") from error
