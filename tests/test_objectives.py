"""Every objective gives the values of its formula, computed here from closed forms and NumPy."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ganlib.objectives import (
    AnyObjective,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Relativistic,
    Wasserstein,
    WganGp,
)
from ganlib.schema import parse

OBJECTIVES = [
    Minimax(),
    NonSaturating(),
    NonSaturating(r1=2.0, r1_every=4),
    LeastSquares(),
    Hinge(),
    Wasserstein(),
    WganGp(),
    Relativistic(gamma=3.0),
]
ids = ["r1" if getattr(objective, "r1", None) else objective.kind for objective in OBJECTIVES]
BOUNDED = [objective for objective in OBJECTIVES if not isinstance(objective, Wasserstein | WganGp)]


def linear(weights):
    """A discriminator whose logit is a known linear function of the image."""
    return lambda images: tf.reshape(images, [images.shape[0], -1]) @ tf.constant(weights, tf.float32)[:, None]


def quadratic(matrix):
    """A discriminator with the logit x'Ax / 2, whose gradient (A + A')x / 2 differs from image to image."""

    def judge(images):
        rows = tf.reshape(images, [images.shape[0], -1])
        return 0.5 * tf.reduce_sum(rows @ tf.constant(matrix, tf.float32) * rows, axis=1, keepdims=True)

    return judge


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    real, fake = random.normal(size=(2, 6, 2, 2, 1)).astype(np.float32)
    return real, fake, random.normal(size=4)


def softplus(values):
    return np.log1p(np.exp(-np.abs(values))) + np.maximum(values, 0)


def logits(images, weights):
    return images.reshape(len(images), -1).astype(np.float64) @ weights


# Each formula as its paper prints it, of logits in float64.
DISCRIMINATOR = {
    "minimax": lambda r, f: {"real": softplus(-r).mean(), "fake": softplus(f).mean()},
    "non_saturating": lambda r, f: {"real": softplus(-r).mean(), "fake": softplus(f).mean()},
    "least_squares": lambda r, f: {"real": ((r - 1) ** 2).mean() / 2, "fake": (f**2).mean() / 2},
    "hinge": lambda r, f: {"real": np.clip(1 - r, 0, None).mean(), "fake": np.clip(1 + f, 0, None).mean()},
    "wasserstein": lambda r, f: {"wasserstein": f.mean() - r.mean()},
    "wgan_gp": lambda r, f: {"wasserstein": f.mean() - r.mean()},
    "relativistic": lambda r, f: {"relativistic": softplus(f - r).mean()},
}
GENERATOR = {
    "minimax": lambda r, f: {"minimax": -softplus(f).mean()},
    "non_saturating": lambda r, f: {"non_saturating": softplus(-f).mean()},
    "least_squares": lambda r, f: {"least_squares": ((f - 1) ** 2).mean() / 2},
    "hinge": lambda r, f: {"hinge": -f.mean()},
    "wasserstein": lambda r, f: {"wasserstein": -f.mean()},
    "wgan_gp": lambda r, f: {"wasserstein": -f.mean()},
    "relativistic": lambda r, f: {"relativistic": softplus(r - f).mean()},
}


def gradients(objective, judge, real, fake, epsilon):
    """Returns the squared norms of the gradients at the points that an objective chooses, as the trainer does."""
    squares = {}
    points = objective.penalty_points(tf.constant(real), tf.constant(fake), tf.constant(epsilon, tf.float32))
    for name, images in points.items():
        with tf.GradientTape() as tape:
            tape.watch(images)
            total = tf.reduce_sum(tf.cast(judge(images), tf.float32))
        squares[name] = tf.reduce_sum(tf.square(tape.gradient(total, images)), axis=[1, 2, 3])
    return squares


def penalties(objective, judge, real, fake, epsilon):
    return objective.penalties(gradients(objective, judge, real, fake, epsilon))


def approximately(values):
    return {name: pytest.approx(value, rel=2e-5, abs=1e-6) for name, value in values.items()}


def floats(terms):
    return {name: float(value) for name, value in terms.items()}


@pytest.mark.parametrize("objective", OBJECTIVES, ids=ids)
def test_terms_are_those_of_the_paper(objective, pictures):
    real, fake, weights = pictures
    values = logits(real, weights), logits(fake, weights)
    tensors = [tf.constant(value[:, None], tf.float32) for value in values]
    discriminator, generator = objective.discriminator_terms(*tensors), objective.generator_terms(*tensors)
    assert floats(discriminator) == approximately(DISCRIMINATOR[objective.kind](*values))
    assert floats(generator) == approximately(GENERATOR[objective.kind](*values))


def test_zero_centred_penalties_are_half_the_mean_squared_gradient(pictures):
    real, fake, _ = pictures
    matrix = np.random.default_rng(1).normal(size=(4, 4))
    symmetric = (matrix + matrix.T) / 2
    squares = [(np.square(images.reshape(6, 4) @ symmetric).sum(axis=1)).mean() for images in (real, fake)]
    arguments = quadratic(matrix), real, fake, np.zeros(6)
    assert floats(penalties(NonSaturating(r1=3.0), *arguments)) == approximately({"r1": 1.5 * squares[0]})
    assert floats(penalties(Minimax(r1=0.5), *arguments)) == approximately({"r1": 0.25 * squares[0]})
    both = approximately({"r1": 0.05 * squares[0], "r2": 0.05 * squares[1]})
    assert floats(penalties(Relativistic(gamma=0.1), *arguments)) == both


def test_the_gradient_penalty_is_taken_at_points_between_and_pulls_norms_to_one(pictures):
    real, fake, _ = pictures
    matrix = np.random.default_rng(1).normal(size=(4, 4))
    epsilon = np.linspace(0, 1, 6).astype(np.float32)
    rows = real.reshape(6, 4) * (1 - epsilon[:, None]) + fake.reshape(6, 4) * epsilon[:, None]
    norms = np.linalg.norm(rows @ ((matrix + matrix.T) / 2), axis=1)
    terms = penalties(WganGp(penalty_weight=7.0), quadratic(matrix), real, fake, epsilon)
    assert floats(terms) == approximately({"gradient_penalty": 7 * ((norms - 1) ** 2).mean()})


def test_a_linear_critic_with_gradient_norm_one_is_not_penalised_and_a_constant_one_gets_the_whole_weight(pictures):
    real, fake, weights = pictures
    for critic, expected in ((weights / np.linalg.norm(weights), 0.0), (np.zeros(4), 10.0)):
        terms = penalties(WganGp(), linear(critic), real, fake, np.zeros(6))
        assert float(terms["gradient_penalty"]) == pytest.approx(expected, abs=1e-4)


def test_the_penalty_of_a_constant_critic_has_a_finite_gradient(pictures):
    """The square root of a sum of squares has none at zero, where a critic may start."""
    real, fake, _ = pictures
    weights = tf.Variable(tf.zeros([4, 1]))

    def judge(images):
        return tf.reshape(images, [6, 4]) @ weights

    with tf.GradientTape() as tape:
        loss = penalties(WganGp(), judge, real, fake, np.zeros(6))["gradient_penalty"]
    assert np.isfinite(tape.gradient(loss, weights)).all()


def test_the_gradient_of_a_penalty_reaches_the_weights(pictures):
    """For D(x) = w'x the penalty is g/2 |w|^2, whose gradient is g w."""
    real, fake, weights = pictures
    variable = tf.Variable(weights.astype(np.float32)[:, None])
    with tf.GradientTape() as tape:
        judge = lambda images: tf.reshape(images, [6, 4]) @ variable  # noqa: E731  # shorter than a function
        terms = penalties(Relativistic(gamma=0.4), judge, real, fake, np.zeros(6))
        loss = terms["r1"] + terms["r2"]
    np.testing.assert_allclose(tape.gradient(loss, variable)[:, 0], 2 * 0.4 * weights, rtol=1e-5)


def test_penalty_terms_names_the_penalties(pictures):
    real, fake, weights = pictures
    for objective in OBJECTIVES:
        terms = penalties(objective, linear(weights), real, fake, np.zeros(6))
        assert tuple(terms) == objective.penalty_terms
        assert objective.has_penalties == bool(terms)
        assert objective.penalty_every == (4 if getattr(objective, "r1", None) else 1)


@pytest.mark.parametrize(
    "objective", [o for o in OBJECTIVES if o.kind in ("minimax", "non_saturating", "relativistic")]
)
def test_a_discriminator_that_cannot_decide_gives_log_two(objective):
    zeros = tf.zeros([6, 1])
    discriminator, generator = objective.discriminator_terms(zeros, zeros), objective.generator_terms(zeros, zeros)
    assert [float(value) for value in discriminator.values()] == pytest.approx([math.log(2)] * len(discriminator))
    assert [abs(float(value)) for value in generator.values()] == pytest.approx([math.log(2)])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=ids)
def test_a_perfect_discriminator_scores_better_than_a_random_one(objective):
    fake = tf.zeros([4, 1])
    losses = [
        float(sum(objective.discriminator_terms(tf.fill([4, 1], real), fake).values()))
        for real in (1.0, 0.0, -1.0)  # logits 1 and 0 are what LSGAN asks for
    ]
    assert losses == sorted(losses)
    assert len(set(losses)) == 3


@pytest.mark.parametrize("objective", OBJECTIVES, ids=ids)
def test_accuracy_counts_images_or_pairs_that_are_classified_correctly(objective):
    values = {"real": [3.0, 0.2, 0.7, -1.0], "fake": [-2.0, 0.4, 0.6, -3.0]}
    real, fake = (tf.constant(values[name])[:, None] for name in ("real", "fake"))
    expected = {None: 3 / 4, 0.0: (3 / 4 + 2 / 4) / 2, 0.5: (2 / 4 + 3 / 4) / 2}[objective.boundary]
    assert float(objective.accuracy(real, fake)) == pytest.approx(expected)


PATCHES = [
    objective for objective in OBJECTIVES if objective.kind in ("minimax", "non_saturating", "least_squares", "hinge")
]
AS_REAL_AND_GENERATED = {
    "minimax": (lambda logit: math.log1p(math.exp(-logit)), lambda logit: math.log1p(math.exp(logit))),
    "non_saturating": (lambda logit: math.log1p(math.exp(-logit)), lambda logit: math.log1p(math.exp(logit))),
    "least_squares": (lambda logit: (logit - 1) ** 2 / 2, lambda logit: logit**2 / 2),
    "hinge": (lambda logit: max(0, 1 - logit), lambda logit: max(0, 1 + logit)),
}


@pytest.mark.parametrize("objective", PATCHES, ids=lambda objective: objective.kind)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_known_patches_of_generated_images_count_as_real_ones(objective, share):
    random = np.random.default_rng(2)
    real, fake = random.normal(scale=2, size=(2, 3, 4, 5, 1))
    generated = random.random(fake.shape) < share
    as_real, as_generated = AS_REAL_AND_GENERATED[objective.kind]
    losses, correct = [], []
    for logit, is_generated in zip(fake.ravel(), generated.ravel(), strict=True):
        losses.append(as_generated(logit) if is_generated else as_real(logit))
        correct.append((logit < objective.boundary) if is_generated else (logit > objective.boundary))
    arguments = (tf.constant(real, tf.float32), tf.constant(fake, tf.float32), tf.constant(generated))
    terms = floats(objective.discriminator_terms(*arguments))
    assert terms == approximately(
        {"real": np.mean([as_real(logit) for logit in real.ravel()]), "fake": np.mean(losses)}
    )
    accuracy = float(objective.accuracy(*arguments))
    assert accuracy == pytest.approx(((real > objective.boundary).mean() + np.mean(correct)) / 2)
    if share == 1.0:
        assert terms == floats(objective.discriminator_terms(*arguments[:2]))
        assert accuracy == float(objective.accuracy(*arguments[:2]))


def test_a_gradient_of_patches_is_finite_for_huge_logits():
    fake = tf.constant([-1e4, 1e4, 0.0], tf.float32)[:, None]
    for objective in PATCHES:
        for generated in ([True, False, True], [False, True, False]):
            with tf.GradientTape() as tape:
                tape.watch(fake)
                loss = objective.discriminator_terms(fake, fake, tf.constant(generated)[:, None])["fake"]
            assert np.isfinite(tape.gradient(loss, fake)).all()


def test_only_losses_of_single_logits_can_judge_patches():
    for objective in OBJECTIVES:
        assert objective.judges_patches == (objective in PATCHES)
        if objective.judges_patches:
            objective.check(judges_batches=False, has_real_patches=True)
            continue
        objective.check(judges_batches=False)
        with pytest.raises(
            ValueError, match=f"expected objective=.*hinge. Received: objective={objective.kind}, task.damage=mask$"
        ) as error:
            objective.check(judges_batches=False, has_real_patches=True)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=ids)
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_terms_are_finite_float32_for_huge_logits(objective, dtype):
    def judge(images):
        return tf.cast(tf.reduce_sum(images, axis=[1, 2, 3])[:, None] * 1e4, dtype)

    images = np.array([1.0, -1.0], np.float32).reshape(2, 1, 1, 1)
    huge = judge(tf.constant(images))
    terms = objective.discriminator_terms(huge, -huge) | objective.generator_terms(huge, -huge)
    terms |= penalties(objective, judge, images, images, [0.2, 0.7])
    assert all(value.dtype == tf.float32 and np.isfinite(value) for value in terms.values())


def test_the_minimax_gradient_vanishes_where_the_other_does_not():
    fake = tf.Variable([[-20.0]])
    slopes = {}
    for objective in (Minimax(), NonSaturating()):
        with tf.GradientTape() as tape:
            loss = tf.add_n(list(objective.generator_terms(fake, fake).values()))
        slopes[objective.kind] = abs(float(tf.reduce_sum(tape.gradient(loss, fake))))
    assert slopes["minimax"] < 1e-6
    assert slopes["non_saturating"] == pytest.approx(1.0, rel=1e-5)


def test_only_wasserstein_clips_weights():
    weights = tf.constant([-3.0, -0.005, 0.0, 0.02])
    np.testing.assert_allclose(Wasserstein(clip=0.01).constraint(weights), [-0.01, -0.005, 0.0, 0.01])
    assert all(objective.constraint is None for objective in OBJECTIVES if objective.kind != "wasserstein")


def test_critics_are_trained_five_times_a_step_and_other_discriminators_once():
    assert {o.kind: o.discriminator_steps for o in OBJECTIVES} == {
        **dict.fromkeys((o.kind for o in BOUNDED), 1),
        "wasserstein": 5,
        "wgan_gp": 5,
    }


@pytest.mark.parametrize("objective", OBJECTIVES, ids=ids)
def test_the_generator_ignores_the_logits_of_real_images_unless_it_says_so(objective):
    fake, one, other = tf.constant([[0.3], [-2.0]]), tf.constant([[1.0], [2.0]]), tf.constant([[-1.0], [0.5]])
    [first], [second] = (objective.generator_terms(real, fake).values() for real in (one, other))
    assert objective.generator_uses_real == (float(first) != float(second))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=ids)
def test_json_round_trip(objective):
    assert parse(AnyObjective, objective.to_parameter()) == objective
    assert parse(AnyObjective, objective.kind).kind == objective.kind
