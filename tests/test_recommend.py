"""The recommendation from the folders of candidates, and its page."""

import html
import json
import re
from dataclasses import replace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.utils import validation
from outcomes import IMAGES, MEASURE, STEPS, candidate, write_samples, write_scores

from ganlib import storage
from ganlib.evaluation import Evaluation
from ganlib.selection import Outcome, Recommendation, recommend
from ganlib.selection.curves import read_curves
from ganlib.selection.early import early_against_late
from ganlib.selection.recommend import choose

FAILURE = "generator/hinge became infinite or NaN somewhere within steps [500, 600]"


def candidates(root, **variants):
    """Writes candidates with the given scores by variant, a seed each; a text is the reason of a failure."""
    return [
        candidate(root, variant, seed, **({"failure": value} if isinstance(value, str) else {"value": value}))
        for variant, values in variants.items()
        for seed, value in enumerate(values)
    ]


@pytest.fixture
def clear(tmp_path):
    return candidates(tmp_path, dcgan=[12.0, 12.6, 11.7], sngan=[19.0, 19.9, 18.4], wgan=[150.0, FAILURE, 148.0])


def test_an_outcome_is_read_as_it_was_written(tmp_path):
    outcome = Outcome(variant="dcgan", seed=1, changes={"training.steps": 5}, measure=MEASURE, seconds=3.5, steps=5)
    outcome.write(tmp_path)
    assert json.loads((tmp_path / "outcome.json").read_text()).keys() == {
        "variant", "seed", "changes", "failure", "measure", "seconds", "steps"
    }  # fmt: skip
    opened = Outcome.open(tmp_path)
    assert opened == outcome.model_copy(update={"folder": tmp_path})
    assert (opened.history, opened.events, opened.samples) == ([], [], None)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"seed": 1, "measure": "x"}, "variant: this option is required. Received: nothing"),
        ({"variant": "a", "seed": "x", "measure": "x"}, "Received: seed='x'"),
        ({"variant": "a", "seed": 1}, "expected the score to rank by, or the reason of a failure"),
        ({"variant": "a", "seed": 1, "measure": "x", "gpu": 1}, "gpu: unknown option"),
        ([1], "expected the facts of a candidate"),
    ],
)
def test_a_damaged_outcome_is_refused_in_one_line(tmp_path, facts, message):
    storage.write_json(tmp_path / "outcome.json", facts)
    with pytest.raises(ValueError, match=r"(?s).+") as refused:
        Outcome.open(tmp_path)
    assert message in str(refused.value)
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_clear_winner_is_recommended_with_its_best_seed(clear, tmp_path):
    found = recommend(clear, output=tmp_path / "out")
    assert (found.verdict, found.variant, found.seed) == ("clear", "dcgan", 2)
    assert found.trained == str(tmp_path / "dcgan-2" / "trained")
    assert found.contenders == ("dcgan",)
    assert found.answer.startswith("Take dcgan. It is the best of 2 variants with a probability of ")
    assert [one.variant for one in found.results] == ["dcgan", "sngan", "wgan"]
    assert [(one.fraction, one.candidates) for one in found.early] == [(0.25, 9), (0.5, 9)]
    assert found == Recommendation.open(tmp_path / "out")
    assert found.summary == {
        "variant": "dcgan",
        "seed": 2,
        "verdict": "clear",
        "measure": MEASURE,
        "probability": round(found.probability, 3),
    }
    assert any(reason.startswith("Every seed of dcgan beats every seed of sngan.") for reason in found.reasons)
    assert any("by chance in 10 % of comparisons" in reason for reason in found.reasons)
    assert "Held-out real images score" in found.reasons[0]


def test_a_variant_of_which_a_seed_failed_is_a_row_and_is_not_recommended(tmp_path):
    outcomes = candidates(tmp_path, dcgan=[12.0, 12.6], wgan=[5.0, FAILURE])
    found = recommend(outcomes, output=tmp_path / "out")
    assert (found.variant, found.verdict) == ("dcgan", "single")
    row = found.results[-1]
    assert (row.variant, row.scores, row.mean, row.probability) == ("wgan", (5.0,), None, None)
    assert row.failures == (f"seed 1: {FAILURE}",)
    assert any(reason.startswith("Not ranked, because a seed failed: wgan.") for reason in found.reasons)
    page = found.report.read_text()
    assert "not ranked" in page
    assert FAILURE in page


def test_names_of_variants_become_names_of_metrics_that_mlflow_takes(tmp_path):
    outcomes = candidates(tmp_path, **{"sngan+diffaugment,width=8": [12.0, 13.0], "sngan": [30.0, 31.0]})
    found = recommend(outcomes, output=tmp_path / "out").metrics
    with pytest.raises(MlflowException, match="width=8"):
        validation._validate_metric_name("mean/sngan+diffaugment,width=8")
    for name in found:
        validation._validate_metric_name(name)
    assert set(found) == {
        "mean/sngan/diffaugment width:8",
        "probability/sngan/diffaugment width:8",
        "mean/sngan",
        "probability/sngan",
    }


def test_variants_that_all_lost_a_seed_are_ranked_by_the_others(tmp_path):
    outcomes = candidates(tmp_path, dcgan=[12.0, 12.6, FAILURE], wgan=[FAILURE, 5.0, 5.1])
    found = recommend(outcomes, output=tmp_path / "out")
    assert found.variant == "wgan"
    assert any(reason.startswith("No variant finished with all its seeds") for reason in found.reasons)
    outcomes = candidates(tmp_path / "two", dcgan=[12.0, 12.6], wgan=[FAILURE, FAILURE])
    found = recommend(outcomes, output=tmp_path / "two" / "out")
    assert found.reasons[-2] == "Not ranked, because all seeds failed: wgan."


def test_if_all_failed_the_reasons_are_the_error(tmp_path):
    with pytest.raises(ValueError, match=r"^expected a candidate that finished\. Received: a, seed 0: full; b, seed 0"):
        recommend(candidates(tmp_path, a=["full"], b=[FAILURE]), output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("seconds", "chosen", "words"),
    [
        ((60.0, 40.0), "b", "Take b, the cheapest of them: 40s of training instead of 1m00s for a"),
        ((40.0, 60.0), "a", "has the best mean and is no more expensive than the others"),
        ((42.0, 40.0), "a", "they cost about the same, 42s of training"),
        ((None, 40.0), "a", "Which is cheapest is not known"),
    ],
)
def test_of_a_tie_the_cheapest_is_recommended(tmp_path, seconds, chosen, words):
    outcomes = [
        candidate(tmp_path, variant, seed, value, seconds=time)
        for variant, time, values in (("a", seconds[0], (12.0, 12.8)), ("b", seconds[1], (12.2, 12.9)))
        for seed, value in enumerate(values)
    ]
    found = recommend(outcomes, output=tmp_path / "out")
    assert (found.verdict, found.variant) == ("tie", chosen)
    assert set(found.contenders) == {"a", "b"}
    assert found.answer.startswith("A tie. The best of 2 variants is one of ")
    assert words in found.answer


def test_seconds_tell_costs_apart_only_beyond_what_they_vary_by_between_seeds(tmp_path):
    """The best mean is a's. Seeds of b make the same updates, but other work made one of them slower."""
    for place, (slow, chosen) in enumerate([(40.0, "b"), (62.0, "a")]):
        outcomes = [
            candidate(tmp_path / str(place), variant, seed, value, seconds=time)
            for variant, values, times in (("a", (12.0, 12.8), (60.0, 60.0)), ("b", (12.2, 12.9), (40.0, slow)))
            for seed, (value, time) in enumerate(zip(values, times, strict=True))
        ]
        assert choose(outcomes).variant == chosen


def test_one_seed_each_recommends_nothing_as_sure(tmp_path):
    found = recommend(candidates(tmp_path, a=[12.0], b=[30.0]), output=tmp_path / "out")
    assert (found.verdict, found.variant, found.contenders, found.probability) == ("unknown", "a", (), None)
    assert found.answer.startswith("Not known. a has the best score, but with one seed each nothing is known")
    assert "probability" not in found.summary


def test_scores_of_several_protocols_are_refused_by_name(tmp_path):
    outcomes = candidates(tmp_path, a=[12.0], b=[13.0])
    write_scores(outcomes[1].folder, 13.0, generated_count=50)
    with pytest.raises(ValueError, match=r"^a, seed 0 and b, seed 0: expected .* generated_count=1000 and 50$"):
        recommend(outcomes, output=tmp_path / "out")


def test_candidates_that_do_not_belong_together_are_refused(tmp_path):
    [one, other] = candidates(tmp_path, a=[12.0, 13.0])
    for outcomes, message in (
        ([], "expected candidates to compare"),
        ([one, one], "expected each seed of a variant once. Received: a, seed 0"),
        ([one, other.model_copy(update={"changes": {"x": 1}})], "expected the same settings for all seeds of a"),
        ([one, other.model_copy(update={"measure": "kd"})], f"measure={MEASURE!r} and 'kd'"),
        ([one.model_copy(update={"measure": "kd"})], f"expected one of {MEASURE}, seen. Received: measure='kd'"),
        ([one.model_copy(update={"measure": "seen"})], "of which lower or higher values are better"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            recommend(outcomes, output=tmp_path / "out")


def test_the_model_to_ship_is_measured_again_with_samples_that_nobody_chose_by(clear, tmp_path):
    write_scores(tmp_path / "fresh", 12.2, seed=2, sha256="dcgan-2")
    found = recommend(clear, output=tmp_path / "out", check=Evaluation.open(tmp_path / "fresh"))
    assert (found.check.chosen, found.check.fresh) == (11.7, 12.2)
    page = found.report.read_text()
    assert "11.7 ± 0.2" in page
    assert "<strong>12.2 ± 0.2</strong>, which is worse" in page
    for facts, message in (
        ({"seed": 1, "sha256": "dcgan-2"}, "expected samples of another evaluation.seed than 1"),
        ({"seed": 2, "sha256": "dcgan-0"}, "expected scores of the recommended model, dcgan, seed 2"),
        ({"seed": 2, "sha256": "dcgan-2", "generated_count": 9}, "expected scores of one protocol"),
    ):
        write_scores(tmp_path / "fresh", 12.2, **facts)
        with pytest.raises(ValueError, match=re.escape(message)):
            recommend(clear, output=tmp_path / "out", check=Evaluation.open(tmp_path / "fresh"))
    assert Recommendation.open(tmp_path / "out").check.fresh == 12.2  # what was there stays


def test_the_page_stands_alone_and_shows_all_candidates(tmp_path):
    changes = {"objective.kind": "<b>hinge</b>"}
    outcomes = [candidate(tmp_path, "<i>&a", seed, 12.0 + seed, changes=changes) for seed in (0, 1)]
    outcomes += [candidate(tmp_path, "b", seed, 15.0 + seed, parameters=900_000) for seed in (0, 1)]
    for outcome in outcomes:
        write_samples(outcome.folder, 12.0)
    event = {"step": 500, "event": "collapsed", "reaction": "noted", "text": "all <alike>"}
    storage.append_line(outcomes[0].folder / "history.jsonl", event)
    page = recommend(outcomes, output=tmp_path / "out").report.read_text()
    loaded = re.findall(r"""(?:src|href)=["']?(?!data:|#)[^"'\s>]+|<script|@import|url\((?!#)""", page)
    assert [one for one in loaded if "xlink" not in one] == []
    for text in ("<i>&a", "objective.kind=<b>hinge</b>", "all <alike>"):
        assert text not in page
        assert html.escape(text) in page
    assert page.count('class="strip"') == 3  # a strip for each variant, and the axis
    assert page.count("<circle") == 4
    assert page.count("data:image/") == 2  # the best seed of each variant
    assert "Parameters of the generator: 700,000 to 900,000." in page
    assert page.count('<figure class="half"><svg') == 2  # curves over images and over seconds


def test_many_candidates_give_a_page_of_bounded_size(tmp_path):
    outcomes = [
        candidate(tmp_path, f"learning_rate={number:04d}" * 6, seed, 12.0 + number + seed)
        for number in range(20)
        for seed in (0, 1)
    ]
    found = recommend(outcomes, output=tmp_path / "out")
    assert len(found.results) == 20
    assert "12 further variants" in found.report.read_text()
    assert found.report.stat().st_size < 1_000_000


def test_what_was_not_equal_is_said(tmp_path):
    outcomes = candidates(tmp_path, a=[12.0, 12.5], b=[20.0, 21.0, 20.5])
    outcomes[0] = outcomes[0].model_copy(update={"images": IMAGES // 2, "seconds": 10.0})
    outcomes = [one.model_copy(update={"best_step": STEPS}) for one in outcomes]
    found = recommend(outcomes, output=tmp_path / "out")
    assert "Real images seen: 32,000 to 64,000." in found.unequal
    assert any(line.startswith("Seconds of training: 10s to 50s. They pass on the clock") for line in found.unequal)
    assert any("a step of one took up to 5 times as long" in line for line in found.unequal)
    assert "Seeds: 2 of a and 3 of b." in found.unequal
    assert any(line.startswith("5 of 5 candidates had their best score at the last step") for line in found.reasons)


def test_a_large_error_of_the_samples_is_told_from_that_of_the_seeds(tmp_path):
    outcomes = candidates(tmp_path, a=[12.0, 12.5], b=[20.0, 21.0])
    few = recommend(outcomes, output=tmp_path / "out")
    assert not any("evaluation.samples" in reason for reason in few.reasons)
    for outcome in outcomes:
        write_scores(outcome.folder, outcome.evaluation.values[MEASURE], error=2.0)
    many = recommend(outcomes, output=tmp_path / "out")
    assert any("evaluation.samples" in reason for reason in many.reasons)


def test_curves_run_over_images_and_over_the_seconds_of_training(tmp_path):
    outcome = candidate(tmp_path, "a", 0, 12.0, seconds=50.0, history=False)
    rows = [
        {"step": 250, "time": 1e9, "speed/steps_per_second": 25.0, f"training/{MEASURE}": 40.0},
        {"step": 500, "time": 2e9, "speed/steps_per_second": 25.0, "generator/hinge": 1.0},  # resumed years later
        {"step": 1000, "time": 2e9 + 9, "speed/steps_per_second": 25.0, f"training/{MEASURE}": 12.0},
    ]
    storage.write_lines(outcome.folder / "history.jsonl", rows)
    name, [curve] = read_curves([outcome])
    assert name == f"training/{MEASURE}"
    assert curve.images == (IMAGES / 4, IMAGES)
    assert curve.seconds == pytest.approx((12.5, 50.0))  # with the time that scores take
    assert (curve.best_until(IMAGES / 2), curve.best_until(IMAGES), curve.best_until(10)) == (40.0, 12.0, None)


def test_the_curve_of_a_failed_candidate_ends_where_it_failed(tmp_path):
    outcomes = candidates(tmp_path, a=[12.0, FAILURE], b=[FAILURE])
    _, curves = read_curves(outcomes)
    assert [curve.images[-1] for curve in curves] == [IMAGES, 0.6 * IMAGES, 0.6 * IMAGES]


def test_early_scores_are_ranked_against_final_ones_and_failures_count_as_worst(tmp_path):
    outcomes = candidates(tmp_path, a=[10.0, 11.0], b=[20.0, 21.0], c=[30.0, FAILURE])
    _, curves = read_curves(outcomes)
    final = {(one.variant, one.seed): one.evaluation.values[MEASURE] for one in outcomes if not one.failure}
    quarter, half = early_against_late(curves, final)
    assert (half.fraction, half.candidates, half.kept, half.chance) == (0.5, 6, 1.0, pytest.approx(2 / 3))
    assert 0.0 < half.low < half.correlation <= half.high <= 1.0
    turned = {key: -value for key, value in final.items()}
    assert early_against_late(curves, turned)[1].correlation < 0.0
    assert quarter.candidates == 6
    curves = [
        replace(one, images=one.images[:1], values=one.values[:1]) if one.outcome.failure else one for one in curves
    ]
    quarter, half = early_against_late(curves, final)  # the one that failed had ended before the half
    assert half.candidates == 5


def test_a_folder_without_a_recommendation_is_refused(tmp_path):
    storage.write_json(tmp_path / "recommendation.json", {"variant": "a"})
    with pytest.raises(ValueError, match=r"seed: this option is required\. Received: nothing.*recommendation\.json"):
        Recommendation.open(tmp_path)
