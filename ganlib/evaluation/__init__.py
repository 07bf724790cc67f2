"""Scores: feature spaces, statistics, distances, and the page that shows them."""

from ganlib.evaluation.compare import compare, comparison
from ganlib.evaluation.compatibility import check_reference
from ganlib.evaluation.config import EvaluationConfig
from ganlib.evaluation.evaluate import Evaluation, evaluate
from ganlib.evaluation.extractors import FittedExtractor, FixedExtractor, Inception, Random, SqueezeNet
from ganlib.evaluation.measure_reference import measure_reference
from ganlib.evaluation.measures.frechet import frechet_distance
from ganlib.evaluation.measures.paired import differences
from ganlib.evaluation.measures.shortcuts import Shortcuts
from ganlib.evaluation.reference import Reference
from ganlib.evaluation.sample import Sample
from ganlib.evaluation.scores import Score, versions
from ganlib.evaluation.statistics import Statistics

__all__ = [
    "Evaluation",
    "EvaluationConfig",
    "FittedExtractor",
    "FixedExtractor",
    "Inception",
    "Random",
    "Reference",
    "Sample",
    "Score",
    "Shortcuts",
    "SqueezeNet",
    "Statistics",
    "check_reference",
    "compare",
    "comparison",
    "differences",
    "evaluate",
    "frechet_distance",
    "measure_reference",
    "versions",
]
