"""What is known when candidates are halved: what early scores were worth in a full comparison of the same images."""

from __future__ import annotations

from pydantic import Field

from ganlib.schema import Config


class Halving(Config):
    """A cut after a part of the budget: the better half of the variants goes on, the others stop."""

    fraction: float = Field(gt=0.0, lt=1.0)
    """Part of the budget after which candidates pause."""
    former: str
    """Name of the full comparison in which early and final scores were compared."""
    candidates: int
    """Number of its candidates that were compared."""
    correlation: float
    """Rank correlation of their scores at this part of the budget with the final ones."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end."""
    kept: float | None = None
    """Share of halvings, with one seed of each variant, that would have kept the final best there."""
    data: str
    """Checksum of the images that it compared with."""
    paused: float | None = None
    """Part of the budget after which this candidate paused: at its last score up to `fraction`."""

    @property
    def text(self) -> str:
        """What was measured, for people."""
        interval = f"{self.low:.2f} to {self.high:.2f}, {self.candidates} candidates"
        kept = "" if self.kept is None else f"; halvings would have kept the best in {100 * self.kept:.0f} % of draws"
        part = f"{100 * self.fraction:.0f} % of the budget"
        found = f"{self.correlation:.2f} (95 % interval {interval})"
        return f"in {self.former}, the rank correlation of scores at {part} with the final ones was {found}{kept}"

    @property
    def part(self) -> float:
        """Part of the budget after which it comes."""
        return self.fraction if self.paused is None else self.paused

    def pause(self, *, steps: int, score_every: int) -> int:
        """Returns the last step with a score that is within the part of the budget; 0 if there is none.

        Args:
            steps: Steps of the whole training.
            score_every: Steps between two scores.
        """
        return int(self.fraction * steps) // score_every * score_every
