"""Generated digits of the first run, classified by an independent classifier."""

import numpy as np
import pytest
from judge import Judge, real_digits, to_digits_scale, variance_within_classes

from ganlib.training import train
from pipelines.settings import resolve

CONVINCING = 0.8  # 0.9 for real digits, 0.4 for a complete run of an unconditional DCGAN
VARIED = 0.3  # of the variance of real digits within a class


@pytest.fixture(scope="module")
def judge():
    return Judge()


def test_the_judge_is_certain_about_real_digits_and_not_about_similar_images(judge, digits):
    images, labels = digits.load("test")
    found, sure = judge.classify(to_digits_scale(images))
    assert (found == labels).mean() > 0.97
    assert sure.mean() > 0.9
    assert judge.classify(real_digits(held_out=True)[0])[1].mean() > 0.9  # original size: enlarging loses nothing
    rng = np.random.default_rng(0)
    mixed = images.astype(float)[rng.permutation(len(images))]
    others = {
        "two digits in one": (images + mixed) / 2,
        "noise": rng.uniform(0, 255, images.shape),
        "nothing": np.zeros(images.shape),
        "upside down": images[:, ::-1, ::-1],
    }
    for name, pictures in others.items():
        assert judge.classify(to_digits_scale(pictures))[1].mean() < 0.4, name


def test_digits_of_the_first_run_convince_early_on(judge, digits, reference, tmp_path):
    """A seventh of the preset's steps. The judge does not know the reference by which the generator is selected."""
    config = resolve(chosen=["digits"], assignments=["training.steps=300", "training.precision=float32"])
    parts = {"task": config.task, "architecture": config.model, "objective": config.objective}
    model = train(digits, reference, **parts, config=config.training, output=tmp_path / "model")
    asked = np.arange(500) % 10
    points = to_digits_scale(model.sampler("best").images(500, seed=1, labels=asked))
    found, sure = judge.classify(points)
    assert (found == asked).mean() > 0.95
    assert sure.mean() > CONVINCING
    images, labels = digits.load("train")
    assert variance_within_classes(points, found) > VARIED * variance_within_classes(to_digits_scale(images), labels)
