"""Adversarial objectives: the losses of generator and discriminator."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ganlib.objectives.base import Objective
from ganlib.objectives.hinge import Hinge
from ganlib.objectives.least_squares import LeastSquares
from ganlib.objectives.minimax import Minimax
from ganlib.objectives.non_saturating import NonSaturating
from ganlib.objectives.relativistic import Relativistic
from ganlib.objectives.wasserstein import Wasserstein
from ganlib.objectives.wgan_gp import WganGp
from ganlib.schema import from_word

AnyObjective = Annotated[
    Minimax | NonSaturating | LeastSquares | Hinge | Wasserstein | WganGp | Relativistic,
    Field(discriminator="kind"),
    BeforeValidator(from_word),
]
"""All objectives. To add one, write its file and add its class here."""

__all__ = [
    "AnyObjective",
    "Hinge",
    "LeastSquares",
    "Minimax",
    "NonSaturating",
    "Objective",
    "Relativistic",
    "Wasserstein",
    "WganGp",
]
