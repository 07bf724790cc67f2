"""The gate refuses each model that was made to fail by one of its checks, and says why."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from ganlib.config import RunConfig
from ganlib.evaluation import Evaluation, EvaluationConfig
from ganlib.evaluation.measures.per_class import count_predictions, per_class
from ganlib.evaluation.measures.translation import hidden_information, luminance_correlation
from ganlib.evaluation.task_scores import score_task
from ganlib.selection.contenders import Challenger, Champion
from ganlib.selection.gate import judge
from ganlib.selection.thresholds import GateConfig
from ganlib.selection.verdict import PAGE, Verdict
from ganlib.tasks import Generation, PairedTranslation, Samples

COUNT = 180
FD = "fd_digits_classifier"


class Draws:
    """Draws given images, as a sampler draws those of a generator."""

    available = None

    def __init__(self, images, labels=None):
        self.images, self.labels, self.takes_label = images, labels, labels is not None

    def batches(self, count, *, seed, labels=None):
        rows = np.arange(count) % len(self.images)
        chosen = self.images[rows]
        yield Samples(chosen, None if self.labels is None else self.labels[rows], None, None, None, [chosen])


@pytest.fixture(scope="module")
def score(digits, reference, tmp_path_factory):
    """Scores images as those of a generator."""

    def scored(images, labels=None, *, samples=COUNT):
        config, task = EvaluationConfig(samples=samples), Generation(conditional=labels is not None)
        result = score_task(task, {"generator": Draws(images, labels)}, digits, reference, config)
        part = result.parts["generator"]
        counts = count_predictions(part.sample, reference)
        return Evaluation(
            tmp_path_factory.mktemp("scores"),
            tuple(result.scores),
            result.protocol,
            (),
            confusion=None if counts is None else {"classes": reference.extractor.classes, "counts": counts},
            classes=[vars(row) for row in per_class(part.sample, reference, digits.classes)],
            shortcuts={"generator": part.shortcuts},
        )

    return scored


@pytest.fixture(scope="module")
def real(digits):
    """Images that no generator has seen, which a perfect one could have made, and their classes."""
    return digits.load("test")


@pytest.fixture(scope="module")
def good(score, real):
    return score(real[0][:COUNT])


@pytest.fixture(scope="module")
def as_good(score, real):
    return score(real[0][COUNT:])


@pytest.fixture(scope="module")
def noisy(score, real):
    random = np.random.default_rng(1)
    noise = random.normal(0, 60, real[0][:COUNT].shape)
    return score(np.clip(real[0][:COUNT] + noise, 0, 255).astype(np.uint8))


def challenger(evaluation, **facts):
    return Challenger({"run": "digits", "step": 20, "sha256": "ab"}, evaluation, **{"best_step": 20, **facts})


def decide(evaluation, against=None, /, *, facts=None, **thresholds):
    other = None if against is None else Champion("3", against, "scored under the same protocol")
    return judge(challenger(evaluation, **(facts or {})), other, GateConfig(**thresholds))


def the_reason(verdict):
    [reason] = verdict.failed
    assert verdict.decision == "refuse"
    assert reason.check in verdict.summary
    return reason


ALL = {
    "champion": "not_worse",
    "relative_margin": 3.0,
    "max_scores": {"fd": 5.0},
    "min_scores": {"recall": 0.5, "coverage": 0.5},
    "max_floor_ratio": 3.0,
    "min_floor_ratio": 0.1,
    "memorisation_errors": 2.0,
    "events": ["collapsed", "degraded"],
    "min_class_ratio": 0.3,
    "max_parity": 1e-4,
    "trial": True,
}
FACTS = {
    "parity": {"saved_model": 1e-7, "keras": 0.0, "signatures": True},
    "formats": ["saved_model", "keras"],
    "trial": {"passed": True, "reason": ""},
}


def test_a_good_model_passes_every_check(good, as_good):
    verdict = decide(good, as_good, facts=FACTS, **ALL)
    assert verdict.failed == ()
    assert (verdict.decision, verdict.champion) == ("promote", "3")
    assert verdict.summary == "PASSED 11 of 11 checks"
    assert {reason.check for reason in verdict.reasons if reason.result == "not checked"} == {
        "requested classes",
        "shortcuts",
    }


def test_a_memoriser_is_refused_and_only_for_that(score, digits):
    copies = score(digits.load("train")[0][:COUNT])
    verdict = decide(copies, facts=FACTS, **{**ALL, "min_floor_ratio": None})
    reason = the_reason(verdict)
    assert reason.check == "memorisation"
    assert reason.measured.startswith("memorised_pixels 1 ±")
    assert "memorisation_errors" in reason.asked


def test_a_collapsed_generator_is_refused_by_recall_coverage_and_classes(score, real):
    images = np.repeat(real[0][:1], COUNT, axis=0)
    collapsed = score(images)
    for thresholds, check in (
        ({"min_scores": {"recall": 0.2}}, "recall"),
        ({"min_scores": {"coverage": 0.2}}, "coverage"),
        ({"min_class_ratio": 0.3}, "share of each class"),
        ({"max_scores": {"fd": 5.0}}, "fd"),
        ({"max_floor_ratio": 3.0}, "distance to the floor"),
    ):
        assert the_reason(decide(collapsed, **thresholds)).check == check
    measured = the_reason(decide(collapsed, min_class_ratio=0.3)).measured
    assert "0.0% (real: " in measured
    assert "and 6 more" in measured  # nine of ten classes are missing


def test_a_conditional_generator_that_ignores_the_class_is_refused(score, real):
    images, labels = real
    deaf = score(images, np.roll(labels, 1))
    reason = the_reason(decide(deaf, min_class_agreement=0.5))
    assert reason.check == "requested classes"
    assert decide(score(images, labels), min_class_agreement=0.5, min_class_ratio=0.5).decision == "promote"
    assert decide(deaf, min_class_ratio=0.5).decision == "promote"  # each class is made, for another request


def test_worse_within_the_error_and_beyond_it_are_refused(good, as_good, noisy):
    worse, better = sorted([good, as_good], key=lambda one: one.values[FD], reverse=True)
    within = the_reason(decide(worse, better, champion="better"))
    assert "worse by" in within.measured
    assert "within the combined error" in within.measured
    beyond = the_reason(decide(noisy, good, champion="better"))
    assert "worse by" in beyond.measured
    assert "beyond the combined error" in beyond.measured
    lucky = the_reason(decide(better, worse, champion="better"))  # better, but not by more than the error
    assert "better by" in lucky.measured
    assert "within the combined error" in lucky.measured
    assert decide(good, noisy, champion="better").decision == "promote"


def test_not_worse_counts_the_error_against_the_model(good, as_good, noisy):
    scores = {score.name: score for score in as_good.scores}[FD], {score.name: score for score in good.scores}[FD]
    error = float(np.hypot(scores[0].error, scores[1].error))
    difference = scores[0].value - scores[1].value
    enough = {"champion": "not_worse", "margin": difference + error + 1e-6}
    assert decide(as_good, good, **enough).decision == "promote"
    assert decide(as_good, good, **{**enough, "margin": enough["margin"] - 2e-6}).decision == "refuse"
    assert decide(as_good, good, **enough, standard_errors=3.0).decision == "refuse"
    relative = enough["margin"] / scores[1].value
    assert decide(as_good, good, champion="not_worse", relative_margin=relative).decision == "promote"
    assert decide(noisy, good, **enough).decision == "refuse"


def test_scores_without_an_error_are_no_ground_for_a_promotion(good, noisy):
    unsure = replace(good, scores=tuple(replace(score, error=None) for score in good.scores))
    assert "errors are not known" in the_reason(decide(unsure, noisy, champion="better")).measured


def test_a_champion_of_another_protocol_or_without_scores_refuses(score, real, good):
    other = score(real[0], samples=200)
    reason = the_reason(decide(good, other, champion="better"))
    assert "has another protocol: " in reason.measured
    assert "generated_count=180 and 200" in reason.measured
    gone = Champion("3", None, "it cannot be scored under today's protocol: expected networks for the same work")
    verdict = judge(challenger(good), gone, GateConfig(champion="better"))
    assert "cannot be scored" in the_reason(verdict).measured
    assert judge(challenger(good), gone, GateConfig(max_scores={"fd": 5.0})).decision == "promote"


def test_a_score_that_is_too_good_is_suspect(good):
    low = replace(good, scores=(replace(good.scores[0], value=0.01), *good.scores[1:]))
    assert the_reason(decide(low, min_floor_ratio=0.3)).check == "score that is too good"


@pytest.mark.parametrize("step", [20, 40])
def test_a_collapse_at_the_best_step_or_later_refuses(good, step):
    events = [{"event": "collapsed", "step": step, "reaction": "note"}]
    reason = the_reason(decide(good, facts={"events": events}, events=["collapsed"]))
    assert reason.measured == f"collapsed at step {step} (note) since the best step, 20"


def test_what_the_training_recovered_from_or_nobody_asked_for_does_not_refuse(good):
    events = [
        {"event": "collapsed", "step": 10, "reaction": "roll_back"},
        {"event": "plateau", "step": 30, "reaction": "note"},
    ]
    assert decide(good, facts={"events": events}, events="collapsed").decision == "promote"


@pytest.mark.parametrize(
    ("parity", "formats", "measured"),
    [
        ({"saved_model": 1e-7, "keras": 0.5}, ["saved_model", "keras"], "keras 5.0e-01"),
        ({"saved_model": 1e-7}, ["saved_model", "onnx"], "onnx was not compared"),
        ({"saved_model": 1e-7, "onnx": {"generator": 0.1}}, ["saved_model", "onnx"], "onnx.generator 1.0e-01"),
        ({"saved_model": 1e-7, "refuses": False}, ["saved_model"], "refuses does not hold"),
        ({"saved_model": float("nan")}, ["saved_model"], "nan"),
        ({}, [], "not measured for this model"),
    ],
)
def test_a_format_that_gives_other_images_refuses(good, parity, formats, measured):
    reason = the_reason(decide(good, facts={"parity": parity, "formats": formats}, max_parity=1e-4))
    assert reason.check == "parity"
    assert measured in reason.measured


@pytest.mark.parametrize(
    ("trial", "measured"),
    [(None, "it was not tried"), ({"passed": False, "reason": "the server ended: code 137"}, "code 137")],
)
def test_a_server_that_dies_refuses(good, trial, measured):
    assert measured in the_reason(decide(good, facts={"trial": trial}, trial=True)).measured


def test_a_network_that_returns_its_input_is_refused(pairs, reference, good):
    task = PairedTranslation()
    inputs = next(iter(pairs.examples("test")))

    class Copies(Draws):
        available = 60

        def batches(self, count, *, seed, labels=None):
            source, truth = inputs["images"][:count], inputs["targets"][:count]
            yield Samples(source, None, truth, source, None, [source])

    config = EvaluationConfig(samples=50)
    scored = score_task(task, {name: Copies(None) for name in task.scored}, pairs, reference, config)
    shares = {name: part.shortcuts for name, part in scored.parts.items()}
    lazy = replace(good, shortcuts=shares)
    reason = the_reason(decide(lazy, max_shortcut_share=0.1))
    assert "generator: returned_input 100.0%" in reason.measured
    honest = replace(good, shortcuts={"generator": {"returned_input": 0.02, "painted_mean": 0.0}})
    assert decide(honest, max_shortcut_share=0.1).decision == "promote"
    assert "not measured" in the_reason(decide(replace(good, shortcuts={}), max_shortcut_share=0.1)).measured


def test_hidden_information_and_inverted_brightness_are_refused(good, real):
    images = real[0][:20] & 0xF0  # four bits of a picture can be hidden in the others

    def forward(pictures):
        return (255 - pictures) & 0xF0 | pictures >> 4

    def back(pictures):
        return (pictures & 0x0F) << 4

    cycles = [(images, forward(images), back(forward(images)))]
    scores = [*hidden_information(cycles, back, key=1), *luminance_correlation([(images, forward(images))])]
    deceiving = replace(good, scores=(*good.scores, *scores))
    hidden = the_reason(decide(deceiving, max_scores={"hidden_information": 2.5}))
    assert "hidden_information_noise" in hidden.measured
    assert "luminance_correlation -" in the_reason(decide(deceiving, min_scores={"luminance_correlation": 0})).measured


def test_all_networks_of_a_task_have_to_pass(good, noisy):
    def both(first, second):
        named = [
            replace(score, name=f"{name}/{score.name}")
            for name, part in (("there", first), ("back", second))
            for score in part.scores
        ]
        return replace(good, scores=tuple(named))

    reason = the_reason(decide(both(good, noisy), both(noisy, good), champion="better"))
    assert f"there/{FD}" in reason.measured
    assert f"back/{FD}" in reason.measured
    assert decide(both(good, good), both(noisy, noisy), champion="better").decision == "promote"
    bound = {"fd": good.values[FD] + 0.1}
    assert f"back/{FD}" in the_reason(decide(both(good, noisy), max_scores=bound)).measured
    assert decide(good, max_scores=bound).decision == "promote"


def test_without_a_threshold_nothing_is_promoted_and_that_is_said_loudly(good, as_good):
    verdict = decide(good, as_good)
    assert verdict.decision == "refuse"
    assert verdict.summary.startswith("REFUSED: export.gate has no threshold, so nothing was checked")
    assert {reason.result for reason in verdict.reasons} == {"not checked"}


def test_a_first_version_passes_by_absolute_thresholds_alone(good):
    only = decide(good, champion="better")
    assert only.decision == "refuse"
    assert "there is no champion to compare with" in only.summary
    first = decide(good, champion="better", max_scores={"fd": 5.0})
    assert first.decision == "promote"
    assert "there is no champion to compare with, so the absolute thresholds decided alone" in first.summary
    assert first.champion is None


def test_a_score_that_does_not_exist_refuses(good):
    reason = the_reason(decide(good, min_scores={"recal": 0.5}))
    assert reason.measured.startswith("there is no such score; there are fd_digits_classifier, ")
    # A measure does not stand for another one that begins with its name.
    assert FD in decide(good, max_scores={"fd": 100}).reasons[0].measured
    assert "infinity" not in decide(good, max_scores={"fd": 100}).reasons[0].measured


def test_a_verdict_is_the_same_when_it_is_read_again(good, noisy, tmp_path):
    verdict = decide(noisy, good, champion="better", facts=FACTS, max_parity=1e-4)
    verdict.save(tmp_path)
    assert Verdict.open(tmp_path) == verdict
    page = (tmp_path / PAGE).read_text()
    assert verdict.summary in page
    assert "http" not in page  # it loads nothing
    assert page.count('class="failed"') == 1
    (tmp_path / "verdict.json").write_text(json.dumps({"reasons": 1}))
    with pytest.raises(ValueError, match=r"^expected a verdict of the gate\. Received: folder="):
        Verdict.open(tmp_path)


def test_text_in_a_page_is_no_markup(good, tmp_path):
    verdict = replace(decide(good), model={"run": "<script>", "step": 1, "sha256": "a"})
    verdict.save(tmp_path)
    assert "<script>" not in (tmp_path / PAGE).read_text()


@pytest.mark.parametrize(
    "thresholds",
    [
        {"margin": 1.0},
        {"champion": "better", "margin": 1.0},
        {"champion": "not_worse", "margin": 1, "relative_margin": 1},
    ],
)
def test_a_margin_belongs_to_not_worse(thresholds):
    with pytest.raises(ValidationError, match="expected one of margin and relative_margin, with champion=not_worse"):
        GateConfig(**thresholds)


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "it's", "a`b", " a", "x" * 201])
def test_a_name_that_mlflow_or_a_query_would_not_take_is_refused(name):
    with pytest.raises(ValidationError, match="registered_model"):
        RunConfig.model_validate({"export": {"registered_model": name}})


def test_the_thresholds_survive_a_parameter():
    config = RunConfig.model_validate({"export": {"gate": ALL, "registered_model": "my digits 1.0"}})
    again = RunConfig.model_validate(json.loads(json.dumps(config.to_parameters())))
    assert again == config
    assert not {"gate", "registered_model"} & RunConfig().to_parameters()["export"].keys()
