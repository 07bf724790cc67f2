"""Tasks: what the generators are asked to do."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ganlib.schema import from_word
from ganlib.tasks.base import LABEL, Match, Networks, Play, Signature, Task
from ganlib.tasks.generation import Generation
from ganlib.tasks.sampler import Sampler, Samples, Sheet, sheet_labels, sheet_side

AnyTask = Annotated[Generation, Field(), BeforeValidator(from_word)]
"""Any task. To add one, write its file and list it here."""

__all__ = [
    "LABEL",
    "AnyTask",
    "Generation",
    "Match",
    "Networks",
    "Play",
    "Sampler",
    "Samples",
    "Sheet",
    "Signature",
    "Task",
    "sheet_labels",
    "sheet_side",
]
