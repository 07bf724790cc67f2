"""Tasks: what the generator is asked to do."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ganlib.schema import from_word
from ganlib.tasks.base import Match, Networks, Task
from ganlib.tasks.generation import Generation

Duty = Annotated[Generation, Field(), BeforeValidator(from_word)]
"""Every task there is: a new one is one file and one word here."""

__all__ = ["Duty", "Generation", "Match", "Networks", "Task"]
