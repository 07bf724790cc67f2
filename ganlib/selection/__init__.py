"""Comparing candidates: training them, a ranking of variants, how sure it is, and a recommendation."""

from ganlib.selection.candidate import Candidate, Places, try_candidate
from ganlib.selection.collection import choose_candidate, halve_candidates, recommend_variant
from ganlib.selection.former import read_former
from ganlib.selection.halving import Halving
from ganlib.selection.outcome import Outcome
from ganlib.selection.ranking import Ranking, Standing, rank
from ganlib.selection.recommend import recommend
from ganlib.selection.recommendation import Recommendation
from ganlib.selection.scale import Scale

__all__ = [
    "Candidate",
    "Halving",
    "Outcome",
    "Places",
    "Ranking",
    "Recommendation",
    "Scale",
    "Standing",
    "choose_candidate",
    "halve_candidates",
    "rank",
    "read_former",
    "recommend",
    "recommend_variant",
    "try_candidate",
]
