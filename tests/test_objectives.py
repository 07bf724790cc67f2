"""Every game gives the formula's values, computed here from closed forms and NumPy."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ganlib.objectives import Game, Minimax, NonSaturating
from ganlib.schema import parse

OBJECTIVES = [Minimax(), NonSaturating()]
ids = [objective.kind for objective in OBJECTIVES]


def linear(weights):
    """A discriminator whose logit is a known linear function of the image."""
    return lambda images: tf.reshape(images, [images.shape[0], -1]) @ tf.constant(weights, tf.float32)[:, None]


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    real, fake = random.normal(size=(2, 6, 2, 2, 1)).astype(np.float32)
    return real, fake, random.normal(size=4)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def logits(images, weights):
    return images.reshape(len(images), -1).astype(np.float64) @ weights


@pytest.mark.parametrize("objective", OBJECTIVES, ids=ids)
def test_discriminator_terms_are_cross_entropy(objective, pictures):
    real, fake, weights = pictures
    terms = objective.discriminator_terms(linear(weights), tf.constant(real), tf.constant(fake))
    assert float(terms["real"]) == pytest.approx(-np.log(sigmoid(logits(real, weights))).mean(), rel=1e-5)
    assert float(terms["fake"]) == pytest.approx(-np.log(1 - sigmoid(logits(fake, weights))).mean(), rel=1e-5)


def test_generator_terms_follow_the_2014_formulas(pictures):
    real, fake, weights = pictures
    judge, probability = linear(weights), sigmoid(logits(fake, weights))
    minimax = Minimax().generator_terms(judge, tf.constant(real), tf.constant(fake))
    saturating = np.log(1 - probability).mean()
    assert float(minimax["minimax"]) == pytest.approx(saturating, rel=1e-5)
    heuristic = NonSaturating().generator_terms(judge, tf.constant(real), tf.constant(fake))
    assert float(heuristic["non_saturating"]) == pytest.approx(-np.log(probability).mean(), rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=ids)
def test_an_undecided_discriminator_gives_log_two(objective, pictures):
    real, fake, _ = pictures
    undecided = linear(np.zeros(4))
    discriminator = objective.discriminator_terms(undecided, tf.constant(real), tf.constant(fake))
    generator = objective.generator_terms(undecided, tf.constant(real), tf.constant(fake))
    assert [float(value) for value in discriminator.values()] == pytest.approx([math.log(2)] * 2)
    assert [abs(float(value)) for value in generator.values()] == pytest.approx([math.log(2)])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=ids)
def test_a_perfect_discriminator_scores_better_than_a_random_one(objective):
    real, fake = tf.ones([4, 2, 2, 1]), -tf.ones([4, 2, 2, 1])
    losses = [
        float(sum(objective.discriminator_terms(linear(weights), real, fake).values()))
        for weights in (np.ones(4), np.zeros(4), -np.ones(4))
    ]
    assert losses == sorted(losses)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=ids)
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_terms_are_finite_float32_for_huge_logits(objective, dtype):
    def judge(images):
        return tf.cast(tf.reduce_sum(images, axis=[1, 2, 3])[:, None] * 1e4, dtype)

    images = tf.reshape(tf.constant([1.0, -1.0]), [2, 1, 1, 1])
    terms = objective.discriminator_terms(judge, images, images) | objective.generator_terms(judge, images, images)
    assert all(value.dtype == tf.float32 and np.isfinite(value) for value in terms.values())


def test_the_minimax_gradient_vanishes_where_the_other_does_not():
    fake = tf.Variable(-20.0 * tf.ones([1, 1, 1, 1]))
    slopes = {}
    for objective in OBJECTIVES:
        with tf.GradientTape() as tape:
            loss = tf.add_n(list(objective.generator_terms(linear(np.ones(1)), fake, fake).values()))
        slopes[objective.kind] = abs(float(tf.reduce_sum(tape.gradient(loss, fake))))
    assert slopes["minimax"] < 1e-6
    assert slopes["non_saturating"] == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=ids)
def test_json_round_trip(objective):
    assert parse(Game, objective.to_parameter()) == objective
    assert parse(Game, objective.kind) == objective
