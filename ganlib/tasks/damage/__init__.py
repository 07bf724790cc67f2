"""Damages: what a restorer repairs, one file each."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ganlib.schema import from_word
from ganlib.tasks.damage.base import Damage, Damaged
from ganlib.tasks.damage.downscale import Downscale
from ganlib.tasks.damage.grey import Grey
from ganlib.tasks.damage.jpeg import Jpeg
from ganlib.tasks.damage.mask import Mask
from ganlib.tasks.damage.noise import Noise

AnyDamage = Annotated[Mask | Noise | Downscale | Grey | Jpeg, Field(discriminator="kind"), BeforeValidator(from_word)]
"""All damages. To add one, write its file and add its class here."""

__all__ = ["AnyDamage", "Damage", "Damaged", "Downscale", "Grey", "Jpeg", "Mask", "Noise"]
