"""Scores: feature spaces, statistics, distances, and the page that shows them."""

from ganlib.evaluation.compare import compare, comparison
from ganlib.evaluation.config import EvaluationConfig
from ganlib.evaluation.evaluate import Evaluation, evaluate
from ganlib.evaluation.frechet import frechet_distance
from ganlib.evaluation.reference import Reference, measure_reference
from ganlib.evaluation.statistics import Statistics

__all__ = [
    "Evaluation",
    "EvaluationConfig",
    "Reference",
    "Statistics",
    "compare",
    "comparison",
    "evaluate",
    "frechet_distance",
    "measure_reference",
]
