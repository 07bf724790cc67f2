"""Networks that return their input or paint the mean are noticed in training, and others are not."""

import keras
import numpy as np
import pytest
import tiny_runs
from test_health import state
from tiny_runs import SMALL, Linear

from ganlib.evaluation import EvaluationConfig, Shortcuts, measure_reference
from ganlib.evaluation.measures.shortcuts import mean_image
from ganlib.objectives import NonSaturating
from ganlib.tasks import ContrastiveTranslation, PairedTranslation, Restoration, Sampler, Samples, UnpairedTranslation
from ganlib.tasks.damage import Mask, Noise
from ganlib.training import HealthConfig, health, train


@pytest.fixture(scope="module")
def references(pairs, tmp_path_factory):
    """References by the domains that samples are compared with."""
    folder, config = tmp_path_factory.mktemp("references"), EvaluationConfig(extractor={"kind": "random"})
    tasks = (UnpairedTranslation(), PairedTranslation(), Restoration())
    return {task.kind: measure_reference(pairs, config, folder / task.kind, task=task) for task in tasks}


def run(pairs, references, output, task, *, gain, architecture=Linear, **health):
    watched = {"warmup_scores": 1, "collapse_scores": 2, "collapsed": "note", **health}
    still = {"kind": "adam", "learning_rate": 0.0}
    config = tiny_runs.config(
        steps=4, score_every=1, score_samples=60, health=watched, generator_optimizer=still, replicas=1
    )
    return train(
        pairs,
        references[task.kind],
        task=task,
        architecture=architecture(gain=gain, **SMALL),
        objective=NonSaturating(),
        config=config,
        output=output,
    )


def shortcut_events(model):
    """Returns step, kind, and the beginning of the text of each event of a shortcut."""
    return [
        (event["step"], event["event"], event["text"].partition(" of the samples")[0])
        for event in model.events
        if event["event"] in Shortcuts.NAMES
    ]


def shares(model):
    """Returns the names of the shares in the history, and their values in the last row with any."""
    rows = [{name: value for name, value in row.items() if name.startswith("shortcuts/")} for row in model.history]
    assert all(row.keys() == rows[-1].keys() for row in rows)
    return {name.removeprefix("shortcuts/"): value for name, value in rows[-1].items()}


def test_translators_that_return_their_input_are_noticed_each_by_itself(pairs, references, tmp_path, capsys):
    model = run(pairs, references, tmp_path / "model", UnpairedTranslation(), gain=1.0)
    assert shortcut_events(model) == [(3, "returned_input", "forward: 100%"), (3, "returned_input", "backward: 100%")]
    expected = {
        f"{name}/{sign}": float(sign == "returned_input") for name in model.networks for sign in Shortcuts.NAMES
    }
    assert shares(model) == expected
    assert next(row for row in model.history if row["step"] == 3)["health/returned_input"] == 2.0
    assert "health: step 3: returned_input, noted: forward: 100% of the samples" in capsys.readouterr().out


def test_without_true_images_the_mean_of_the_inputs_is_the_measure(digits, tmp_path):
    task = ContrastiveTranslation(source="0", target="1")
    reference = measure_reference(digits, EvaluationConfig(extractor={"kind": "random"}), tmp_path / "r", task=task)

    class Features(Linear):
        """It has the features that the task needs."""

        def generator(self, **arguments):
            network = super().generator(**arguments)
            image = network.input["image"]
            seen = keras.layers.LeakyReLU(name="feature_0")(network.output)
            return keras.Model({"image": image}, network.output + 0.0 * keras.ops.sum(seen), name="generator")

    for gain, share in ((1.0, 1.0), (-1.0, 0.0)):
        model = run(digits, {task.kind: reference}, tmp_path / f"{gain}", task, gain=gain, architecture=Features)
        assert shares(model) == {"returned_input": share}
        assert bool(shortcut_events(model)) == bool(share)


@pytest.mark.parametrize("damage", [Noise(sigma=50.0), Mask(shape="box")], ids=["noise", "mask"])
def test_a_restorer_that_paints_one_colour_is_noticed_and_ends_the_run_if_so_set(pairs, references, tmp_path, damage):
    task = Restoration(damage=damage)
    model = run(pairs, references, tmp_path / "model", task, gain=0.0, painted_mean="stop")
    step, problem, text = shortcut_events(model)[-1]
    assert (step, problem) == (3, "painted_mean")
    assert text == f"{shares(model)['painted_mean']:.0%}"
    assert shares(model)["painted_mean"] > 0.6  # of a mask, some holes are of one colour themselves
    assert model.facts["stopped"].startswith("step 3: painted_mean: ")


def test_a_hole_that_stays_as_it_came_is_a_returned_input_whatever_its_size(pairs):
    """Known pixels are equal anyway, and must not hide that the hole changed, or that it did not."""
    task = Restoration(damage=Mask(shape="thin"))
    shortcuts = Shortcuts(pairs, pairs)
    network = Linear(gain=1.0, **SMALL)
    built = task.generators(network, image_shape=pairs.image_shape, classes=0, dtype="float32", seed=None)
    sampler = Sampler(task, task.shipped(built)["generator"], shares=(), image_shape=pairs.image_shape, held_out=pairs)
    [same] = sampler.batches(60, seed=0)
    assert same.holes.any(axis=(1, 2, 3)).all()
    grey = {name: shortcuts.signs(same)[name] for name in Shortcuts.NAMES}
    assert grey["returned_input"].all()
    repaired = Samples(same.truths, None, same.truths, same.unchanged, same.holes, [])
    assert Shortcuts.shares([shortcuts.signs(repaired)]) == {"returned_input": 0.0, "painted_mean": 0.0}


def test_a_translator_that_does_its_work_is_not_accused(pairs, references, tmp_path):
    for task in (UnpairedTranslation(), PairedTranslation()):
        model = run(pairs, references, tmp_path / task.kind, task, gain=-1.0)  # a negative, without its stripes
        assert shortcut_events(model) == []
        assert set(shares(model).values()) == {0.0}


def test_generated_images_have_no_inputs_to_return(digits):
    images = np.zeros((2, 16, 16, 1), np.uint8)
    assert Shortcuts(digits, digits).signs(Samples(images, None, None, None, None, [images])) == {}


def test_the_mean_image_is_that_of_the_first_training_images(pairs, monkeypatch):
    images, targets = (pairs.of(shown).load("train")[0] for shown in ("images", "targets"))
    monkeypatch.setattr("ganlib.evaluation.measures.shortcuts.MEAN_IMAGES", 700)
    np.testing.assert_allclose(mean_image(pairs), images[:700].mean(axis=0))
    np.testing.assert_allclose(mean_image(pairs.of("targets")), targets[:700].mean(axis=0))


def texts_after(rows, **settings):
    """Yields the problems, and how their texts begin, after each measurement with these shares."""
    alive, config = state(), HealthConfig(**settings)
    for row in rows:
        alive.clock.scores += 1
        yield [(finding.problem, finding.text.split(" of ")[0]) for finding in health.shortcuts(row, alive, config)]


def test_shortcuts_count_in_a_row_after_the_first_measurements_and_above_a_share():
    one, other = {"shortcuts/painted_mean": 0.51}, {"shortcuts/painted_mean": 0.5}
    event = [("painted_mean", "51%")]
    assert list(texts_after([one] * 8)) == [[]] * 6 + [event, []]
    assert list(texts_after([one, one, other, one, one], warmup_scores=0, collapse_scores=2)) == [
        [],
        event,
        [],
        [],
        event,
    ]
    assert list(texts_after([one] * 2, warmup_scores=0, collapse_scores=1, max_shortcut_share=0.6)) == [[], []]
    assert list(texts_after([{"shortcuts/painted_mean": 1.0}], warmup_scores=0, max_shortcut_share=1.0)) == [[]]


def test_each_network_has_its_own_count():
    rows = [
        {"shortcuts/forward/returned_input": first, "shortcuts/backward/returned_input": second}
        for first, second in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 1.0))
    ]
    events = list(texts_after(rows, warmup_scores=0, collapse_scores=2))
    assert events == [[], [], [("returned_input", "backward: 100%")], [("returned_input", "forward: 100%")]]
