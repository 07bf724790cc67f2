"""Tasks: what the generators are asked to do."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ganlib.schema import from_word
from ganlib.tasks.base import LABEL, Task
from ganlib.tasks.contrastive_translation import ContrastiveTranslation
from ganlib.tasks.generation import Generation
from ganlib.tasks.image_to_image import ImageToImageTask
from ganlib.tasks.paired_translation import PairedTranslation
from ganlib.tasks.play import Match, Networks, Play, Signature
from ganlib.tasks.restoration import Restoration
from ganlib.tasks.sampler import Sampler, Samples, Sheet, sheet_labels, sheet_side
from ganlib.tasks.unpaired_translation import UnpairedTranslation

AnyTask = Annotated[
    ContrastiveTranslation | Generation | PairedTranslation | Restoration | UnpairedTranslation,
    Field(discriminator="kind"),
    BeforeValidator(from_word),
]
"""Any task. To add one, write its file and list it here."""

__all__ = [
    "LABEL",
    "AnyTask",
    "ContrastiveTranslation",
    "Generation",
    "ImageToImageTask",
    "Match",
    "Networks",
    "PairedTranslation",
    "Play",
    "Restoration",
    "Sampler",
    "Samples",
    "Sheet",
    "Signature",
    "Task",
    "UnpairedTranslation",
    "sheet_labels",
    "sheet_side",
]
