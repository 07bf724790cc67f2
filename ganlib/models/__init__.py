"""Architectures: the networks that play."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ganlib.models.base import Architecture
from ganlib.models.dcgan import Dcgan
from ganlib.schema import from_word

Model = Annotated[Dcgan, Field(), BeforeValidator(from_word)]
"""Every architecture there is: a new one is one file and one word here."""

__all__ = ["Architecture", "Dcgan", "Model"]
