"""A recommendation in a folder: which variant to take, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field

from ganlib.schema import Config
from ganlib.selection.early import Early
from ganlib.selection.halving import Halving
from ganlib.selection.saved import open_saved
from ganlib.selection.words import Verdict

FACTS, REPORT = "recommendation.json", "report.html"
# Characters that the name of a variant may have and that of an MLflow metric may not, with others that no variant has.
OF_METRICS = str.maketrans("=,+", ": /")


class Result(Config):
    """A variant with its scores."""

    variant: str
    """Its name."""
    seeds: tuple[int, ...]
    """Seeds that finished."""
    scores: tuple[float, ...]
    """The score of each of these seeds."""
    mean: float | None = None
    """Mean of the scores; geometric for distances. None if the variant is not ranked."""
    low: float | None = None
    """Lower end of the 95 % interval of the mean of many seeds; None if nothing is known about the spread."""
    high: float | None = None
    """Upper end."""
    probability: float | None = None
    """Probability that the variant is the best; None if nothing is known about the spread."""
    seconds: float | None = None
    """Mean seconds of training."""
    failures: tuple[str, ...] = ()
    """Why seeds failed."""


class Check(Config):
    """The model to ship, scored again with samples that nobody chose by."""

    chosen: float
    """The score by which it was chosen."""
    chosen_error: float | None = None
    """Standard error of it over draws of the samples."""
    fresh: float
    """The score of the fresh samples."""
    fresh_error: float | None = None
    """Standard error of it over draws of the samples."""


class Recommendation(Config):
    """Which variant to take. Use `Recommendation.open(folder)`."""

    variant: str
    """The recommended variant."""
    seed: int
    """The seed whose model is to be shipped, the best of the variant."""
    trained: str | None = None
    """Path or address of that model."""
    mlflow_run_id: str | None = None
    """MLflow run of that model."""
    measure: str
    """Score that variants were ranked by."""
    lower_is_better: bool
    """Whether lower scores are better."""
    verdict: Verdict
    """`clear`, `tie`, `unknown` with one seed each, or `single` for one variant."""
    contenders: tuple[str, ...] = ()
    """The fewest variants that hold the best with 90 %; one if clear."""
    probability: float | None = None
    """Probability that the recommended variant is the best."""
    separated: bool | None = None
    """Whether every seed of the first variant beats every seed of the second."""
    answer: str
    """The recommendation in a sentence."""
    reasons: tuple[str, ...]
    """Its reasons, in words."""
    unequal: tuple[str, ...] = ()
    """What was not equal."""
    results: tuple[Result, ...]
    """All variants, the best mean first, those that are not ranked last."""
    early: tuple[Early, ...] = ()
    """Whether early scores tell the final ones; empty for a halving, which has no final scores of some."""
    halving: Halving | None = None
    """The halving, if this was one: then it is no comparison at an equal budget."""
    check: Check | None = None
    """The score of fresh samples, if there is one."""
    folder: Path = Field(default=Path(), exclude=True)
    """The folder."""

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Opens a folder that `recommend` wrote.

        Raises:
            ValueError: The folder holds no recommendation, or a damaged one.
        """
        return open_saved(cls, folder, FACTS, expected="what `recommend` writes")

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / REPORT

    @property
    def summary(self) -> dict[str, Any]:
        """Metadata of a KFP artifact of this recommendation."""
        facts = {"variant": self.variant, "seed": self.seed, "verdict": self.verdict, "measure": self.measure}
        return facts | ({} if self.probability is None else {"probability": round(self.probability, 3)})

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of MLflow: of each variant with scores, its mean and the probability that it is the best."""
        found = {
            f"{kind}/{result.variant.translate(OF_METRICS)}": value
            for result in self.results
            for kind, value in (("mean", result.mean), ("probability", result.probability))
        }
        return {name: value for name, value in found.items() if value is not None}
