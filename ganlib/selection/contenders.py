"""What the gate is told of a model, and of the champion that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganlib.evaluation import Evaluation


@dataclass(frozen=True)
class Challenger:
    """What is known of a model that may be promoted.

    Attributes:
        model: Name and identity: `run`, `step`, `sha256`.
        evaluation: Its scores.
        best_step: Step of the best generator of its training.
        events: Health events of the training: `event`, `step`, `reaction`.
        parity: What the export found: differences by format, and whether conditions hold.
        formats: Formats that are shipped.
        trial: What a trial in the server gave: `passed`, and `reason`; None if there was none.
    """

    model: Mapping[str, Any]
    evaluation: Evaluation
    best_step: int
    events: Sequence[Mapping[str, Any]] = ()
    parity: Mapping[str, Any] = field(default_factory=dict)
    formats: Sequence[str] = ()
    trial: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Champion:
    """The model that a challenger is compared with.

    Attributes:
        version: Its version in the registry.
        evaluation: Its scores under the challenger's protocol; None if it could not be scored so.
        how: How it was scored, or why it could not be.
        notes: Sentences to consider.
    """

    version: str
    evaluation: Evaluation | None
    how: str
    notes: tuple[str, ...] = ()
