"""What a first run ends with, in the eyes of a judge that had no part in it."""

import numpy as np
import pytest
from judge import Judge, native, real, variance

from ganlib.training import train
from pipelines.settings import resolve

CONVINCING = 0.8  # of real digits nine in ten; after a whole run of a plain DCGAN, without classes, 0.4
VARIED = 0.3  # of the variance of real digits within a class


@pytest.fixture(scope="module")
def judge():
    return Judge()


def test_the_judge_is_sure_of_real_digits_and_not_of_what_only_resembles_them(judge, digits):
    images, labels = digits.load("test")
    found, sure = judge.answers(native(images))
    assert (found == labels).mean() > 0.97
    assert sure.mean() > 0.9
    assert judge.answers(real(held_out=True)[0])[1].mean() > 0.9  # as they come, so that enlarging takes nothing
    rng = np.random.default_rng(0)
    mixed = images.astype(float)[rng.permutation(len(images))]
    others = {
        "two digits in one": (images + mixed) / 2,
        "noise": rng.uniform(0, 255, images.shape),
        "nothing": np.zeros(images.shape),
        "upside down": images[:, ::-1, ::-1],
    }
    for name, pictures in others.items():
        assert judge.answers(native(pictures))[1].mean() < 0.4, name


def test_digits_of_the_first_run_convince_early_on(judge, digits, reference, tmp_path):
    """A seventh of the preset's steps; the generator is chosen by a yardstick that the judge does not know."""
    config = resolve(chosen=["digits"], assignments=["training.steps=300", "training.precision=float32"])
    parts = {"task": config.task, "model": config.model, "objective": config.objective}
    model = train(digits, reference, **parts, config=config.training, output=tmp_path / "model")
    asked = np.arange(500) % 10
    points = native(model.sampler("best").images(500, seed=1, labels=asked))
    found, sure = judge.answers(points)
    assert (found == asked).mean() > 0.95
    assert sure.mean() > CONVINCING
    images, labels = digits.load("train")
    assert variance(points, found) > VARIED * variance(native(images), labels)
