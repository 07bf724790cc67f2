"""Feature extractors, one file each."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ganlib.evaluation.extractors.base import Extractor, FittedExtractor, FixedExtractor
from ganlib.evaluation.extractors.classifier import Classifier
from ganlib.evaluation.extractors.inception import Inception
from ganlib.evaluation.extractors.random_features import Random
from ganlib.evaluation.extractors.rotation import Rotation
from ganlib.evaluation.extractors.squeezenet import SqueezeNet
from ganlib.schema import from_word

AnyExtractor = Annotated[
    Classifier | Inception | Random | Rotation | SqueezeNet, Field(discriminator="kind"), BeforeValidator(from_word)
]
"""All feature extractors. To add one, write its file and add its class here."""

__all__ = [
    "AnyExtractor",
    "Classifier",
    "Extractor",
    "FittedExtractor",
    "FixedExtractor",
    "Inception",
    "Random",
    "Rotation",
    "SqueezeNet",
]
