"""What a candidate, one variant with one seed, leaves behind: its facts, scores, history and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from ganlib import storage
from ganlib.evaluation import Evaluation
from ganlib.schema import Config
from ganlib.selection.halving import Halving
from ganlib.selection.saved import open_saved
from ganlib.tracking import HISTORY

FACTS, SAMPLES = "outcome.json", "samples.png"


class Outcome(Config):
    """The facts of a candidate, in a folder beside `scores.json`, `history.jsonl` and `samples.png`."""

    variant: str = Field(min_length=1)
    """Name of the variant."""
    seed: int
    """Seed of the training."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """What distinguishes the variant from the others: settings by dotted name."""
    failure: str = ""
    """Why there are no scores, in one line; empty if the candidate finished."""
    halving: Halving | None = None
    """The halving that stopped it, which is then the reason why there are no scores."""
    measure: str | None = None
    """Name of the score to rank by."""
    seconds: float | None = Field(default=None, ge=0)
    """Seconds of training."""
    images: int | None = Field(default=None, ge=0)
    """Real images that the discriminator has seen."""
    steps: int | None = Field(default=None, ge=0)
    """Updates of the generator."""
    best_step: int | None = Field(default=None, ge=0)
    """Step of the scored generator."""
    parameters: int | None = Field(default=None, ge=0)
    """Parameters of the generator."""
    trained: str | None = None
    """Path or address of the trained model."""
    mlflow_run_id: str | None = None
    """MLflow run of the training."""
    folder: Path = Field(default=Path(), exclude=True)
    """The folder, if the outcome was opened."""

    @model_validator(mode="after")
    def _name_the_score(self) -> Self:
        if not self.failure and self.measure is None:
            raise ValueError("expected the score to rank by, or the reason of a failure. Received: measure=None")
        return self

    @classmethod
    def open(cls, folder: str | Path) -> Outcome:
        """Opens a folder.

        Raises:
            ValueError: The folder holds no outcome, or a damaged one.
        """
        return open_saved(cls, folder, FACTS, expected="the facts of a candidate")

    def write(self, folder: Path) -> None:
        """Writes the facts into a folder. Facts that are unknown are left out."""
        storage.write_json(folder / FACTS, self.to_parameter())

    @property
    def name(self) -> str:
        """The variant with its seed, for people."""
        return f"{self.variant}, seed {self.seed}"

    @property
    def evaluation(self) -> Evaluation:
        """The scores.

        Raises:
            ValueError: There are none.
        """
        return Evaluation.open(self.folder)

    @property
    def history(self) -> list[dict[str, Any]]:
        """Rows of numbers of the training; empty if it failed before the first."""
        return [row for row in storage.read_lines(self.folder / HISTORY) if "event" not in row]

    @property
    def events(self) -> list[dict[str, Any]]:
        """Health events of the training, in the order of the steps."""
        return [row for row in storage.read_lines(self.folder / HISTORY) if "event" in row]

    @property
    def samples(self) -> Path | None:
        """The sheet of samples, from the same latents for all candidates; None if there is none."""
        path = self.folder / SAMPLES
        return path if path.exists() else None
