"""Tasks: what the generator is asked to do."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ganlib.schema import from_word
from ganlib.tasks.base import Match, Networks, Task
from ganlib.tasks.generation import Generation
from ganlib.tasks.sampler import SAMPLE_COLUMNS, Sampler, sheet_labels

AnyTask = Annotated[Generation, Field(), BeforeValidator(from_word)]
"""Every task there is: a new one is one file and one word here."""

__all__ = ["SAMPLE_COLUMNS", "AnyTask", "Generation", "Match", "Networks", "Sampler", "Task", "sheet_labels"]
