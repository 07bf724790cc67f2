"""Objectives: the games that generator and discriminator play."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ganlib.objectives.base import Objective
from ganlib.objectives.minimax import Minimax
from ganlib.objectives.non_saturating import NonSaturating
from ganlib.schema import from_word

Game = Annotated[Minimax | NonSaturating, Field(discriminator="kind"), BeforeValidator(from_word)]
"""Every objective there is: a new one is one file and one word here."""

__all__ = ["Game", "Minimax", "NonSaturating", "Objective"]
