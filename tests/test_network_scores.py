"""What belongs to networks that change images: discriminative scores, notes of shortcuts, best and worst results."""

import numpy as np
import pytest
import tiny_runs
from PIL import Image
from tiny_runs import SMALL, Linear

from ganlib import pixels
from ganlib.evaluation import EvaluationConfig, evaluate, measure_reference
from ganlib.evaluation.cycle_scores import cycle_scores
from ganlib.evaluation.extremes import MOST, Extremes
from ganlib.evaluation.measures.discriminative import discriminative_scores
from ganlib.evaluation.notes import note_worse_than_nothing
from ganlib.evaluation.scores import Score
from ganlib.objectives import NonSaturating
from ganlib.tasks import PairedTranslation, UnpairedTranslation
from ganlib.training import train

RANDOM = EvaluationConfig(extractor={"kind": "random"})


def score(dataset, place, task, *, gain, **settings):
    """Trains not at all, and returns the model, its reference and its evaluation."""
    reference = measure_reference(dataset, RANDOM, place / "reference", task=task)
    still = {"kind": "adam", "learning_rate": 0.0}
    config = tiny_runs.config(steps=1, score_every=1, sample_every=1, generator_optimizer=still)
    model = train(
        dataset,
        reference,
        task=task,
        architecture=Linear(gain=gain, **SMALL),
        objective=NonSaturating(),
        config=config,
        output=place / "model",
    )
    scored = evaluate(model, dataset, reference, RANDOM.model_copy(update=settings), place / "scores")
    return model, reference, scored


@pytest.fixture(scope="module")
def negatives(pairs, tmp_path_factory):
    """Negatives without the stripes that belong to them."""
    return score(pairs, tmp_path_factory.mktemp("negatives"), PairedTranslation(), gain=-1.0)


def test_samples_are_compared_with_their_true_images_by_a_classifier_of_both(negatives, pairs):
    model, reference, scored = negatives
    samples = model.sampler("best", pairs).images(360, seed=0)
    inputs, targets = (pairs.of(shown).load("test")[0] for shown in ("images", "targets"))
    of_samples, of_inputs, of_targets = (reference.features([images]) for images in (samples, inputs, targets))
    value, baseline, floor = (
        discriminative_scores(features, of_targets)
        for features in (of_samples, of_inputs, reference.train.features[:360])
    )
    scores = {one.name: one for one in scored.scores}
    paired, unpaired = scores["pds_random"], scores["uds_random"]
    assert (paired.value, paired.baseline, paired.floor) == (value.paired, baseline.paired, None)
    assert (unpaired.value, unpaired.baseline) == (value.unpaired, baseline.unpaired)
    assert (unpaired.floor, unpaired.floor_count, unpaired.count) == (floor.unpaired, 360, 360)
    assert 0.2 < floor.unpaired < 0.5
    assert value.unpaired < floor.unpaired
    assert not [note for note in scored.notes if "uds" in note or "of the samples" in note]


def test_the_best_and_the_worst_results_stand_beside_input_and_truth(negatives, pairs):
    model, _, scored = negatives
    samples = model.sampler("best", pairs).images(360, seed=0)
    inputs, targets = (pairs.of(shown).load("test")[0] for shown in ("images", "targets"))
    ratios = -10 * np.log10((((samples - targets.astype(float)) / 255) ** 2).mean(axis=(1, 2, 3)))
    order, page = np.argsort(ratios), scored.report.read_text()
    for word, row in (("best", order[-1]), ("worst", order[0])):
        picture = np.asarray(Image.open(scored.folder / "extremes" / f"{word}-1.png"))
        expected = pixels.grid(np.stack([inputs[row], samples[row], targets[row]]), columns=3, scale=8, gap=1)
        np.testing.assert_array_equal(picture, np.asarray(expected))
        assert f"the {word} by psnr: input, output, truth" in page
        assert f"<figcaption>psnr {ratios[row]:.4g}</figcaption>" in page
    assert len(list((scored.folder / "extremes").glob("*.png"))) == 2 * MOST
    assert "Share of samples that return their input" in page


def test_a_network_that_returns_its_input_is_noted_and_too_few_samples_are_once(pairs, tmp_path):
    _, _, scored = score(pairs, tmp_path, UnpairedTranslation(), gain=1.0, samples=100)
    notes = [note for note in scored.notes if "returned_input" in note]
    assert [note.partition(" of the samples are their input again")[0] for note in notes] == [
        "forward: 100%",
        "backward: 100%",
    ]
    [few] = [note for note in scored.notes if "uds" in note]
    assert few.startswith("Without pds, uds: 100 samples are too few for 163 features; a plane often tells up to 164 ")
    assert not [name for name in scored.values if "uds" in name]
    assert "forward: the best by psnr: input, output, truth" in scored.report.read_text()


def test_without_true_images_the_cycles_are_shown_and_nothing_is_said_of_pairs(digits, tmp_path):
    model, _, scored = score(digits, tmp_path, UnpairedTranslation(source="0", target="1"), gain=0.9)
    zeros, labels = digits.load("test")
    zeros = zeros[labels == 0]
    there, back = (model.sampler("best", digits, name) for name in ("forward", "backward"))
    changed = there.change(zeros)
    cycles = back.change(changed)
    errors = np.abs(cycles.astype(float) - zeros).mean(axis=(1, 2, 3)) / 255
    worst = np.argmax(errors)
    picture = np.asarray(Image.open(scored.folder / "extremes" / "forward-worst-1.png"))
    expected = pixels.grid(np.stack([zeros[worst], changed[worst], cycles[worst]]), columns=3, scale=8, gap=1)
    np.testing.assert_array_equal(picture, np.asarray(expected))
    page = scored.report.read_text()
    assert "backward: the worst by cycle_error: input, output, cycle" in page
    assert f"<figcaption>cycle_error {errors.max():.4g}</figcaption>" in page
    assert not [note for note in scored.notes if "uds" in note or "of the samples" in note]


class Counting:
    """A translator that inverts images, and counts them."""

    def __init__(self):
        self.images = 0

    def change(self, images):
        self.images += len(images)
        return 255 - images


def test_each_input_is_translated_once_for_all_scores_of_its_cycle(pairs, monkeypatch):
    monkeypatch.setattr("ganlib.evaluation.cycle_scores.MOST_IMAGES", 50)
    there, back = Counting(), Counting()
    scores, extremes = cycle_scores(there, back, inputs=pairs, real=pairs.of("targets"), seed=1)
    assert (there.images, back.images) == (50 + 50, 3 * 50)  # the others are of the target domain, for its identity
    values = {one.name: one.value for one in scores}
    assert (values["cycle_error"], values["luminance_correlation"]) == (0.0, pytest.approx(-1.0))
    targets = pairs.of("targets").load("test")[0][:50].astype(float)
    assert values["identity_error"] == pytest.approx(np.abs(255 - 2 * targets).mean() / 255)
    assert extremes.measure == "cycle_error"
    assert len(extremes) == 2 * MOST


def test_the_extremes_do_not_depend_on_batches_and_leave_out_what_has_no_value():
    values = np.random.default_rng(0).permutation(30).astype(float)
    values[7] = np.nan
    pictures = [np.arange(30, dtype=np.uint8)[:, None, None, None] + offset for offset in (0, 100)]
    for lower_is_better in (True, False):
        extremes = Extremes("input, output", lower_is_better=lower_is_better)
        for start in range(0, 30, 4):
            rows = slice(start, start + 4)
            extremes.add("psnr", values[rows], [images[rows] for images in pictures])
        order = np.argsort(np.nan_to_num(values, nan=1000.0))[:29]
        order = order if lower_is_better else order[::-1]
        for shown, rows in ((extremes.best, order[:MOST]), (extremes.worst, order[::-1][:MOST])):
            assert [one.value for one in shown] == values[rows].tolist()
            assert [one.pictures.ravel().tolist() for one in shown] == [[row, row + 100] for row in rows]


@pytest.mark.parametrize(("count", "best", "worst"), [(0, 0, 0), (1, 1, 0), (3, 2, 1), (12, 6, 6), (13, 6, 6)])
def test_of_few_samples_none_is_shown_twice(count, best, worst):
    extremes = Extremes("input", lower_is_better=True)
    extremes.add("l1", np.arange(count, dtype=float), [np.zeros((count, 2, 2, 1), np.uint8)])
    assert (len(extremes.best), len(extremes.worst)) == (best, worst)
    assert len({one.value for one in [*extremes.best, *extremes.worst]}) == best + worst


def test_results_worse_than_doing_nothing_are_noted_with_both_numbers():
    def score(name, value, baseline):
        return Score(name, value, None, "", baseline=baseline)

    worse = [score("fd_random", 0.749, 0.142), score("psnr", 11.06, 16.01), score("kd_random", 9.0, 1.0)]
    better = [score("fd_random", 0.1, 0.142), score("psnr", 20.0, 16.01), Score("fd_random", 9.0, None, "")]
    [note] = note_worse_than_nothing([*worse, *better])
    numbers = "fd_random 0.749 against 0.142, psnr 11.06 against 16.01"
    assert note == f"Worse than doing nothing: {numbers}. More steps may help; see the documents of the task."
    assert note_worse_than_nothing(better) == []
    [named] = note_worse_than_nothing(worse, label="backward")
    assert named.startswith("backward: worse than doing nothing: fd_random")
