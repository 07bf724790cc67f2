"""Architectures: families of networks."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ganlib.models.base import Architecture, ImageToImage, LatentToImage
from ganlib.models.dcgan import Dcgan
from ganlib.models.fourier import Fourier
from ganlib.models.mlp import Mlp
from ganlib.models.r3gan import R3gan
from ganlib.models.resnet import Resnet
from ganlib.models.resnet_translator import ResnetTranslator
from ganlib.models.unet import Unet
from ganlib.schema import from_word

AnyArchitecture = Annotated[
    Dcgan | Fourier | Mlp | R3gan | Resnet | ResnetTranslator | Unet,
    Field(discriminator="kind"),
    BeforeValidator(from_word),
]
"""Any architecture. To add one, write its file and list it here."""

__all__ = [
    "AnyArchitecture",
    "Architecture",
    "Dcgan",
    "Fourier",
    "ImageToImage",
    "LatentToImage",
    "Mlp",
    "R3gan",
    "Resnet",
    "ResnetTranslator",
    "Unet",
]
