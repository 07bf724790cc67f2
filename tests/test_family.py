"""The whole catalogue trains: every objective with every network, with and without labels, on one replica and on two.

By default each pair trains under one condition, and the tests of replicas and of resuming use a selection that covers
every objective, network and condition; `make every-pair` runs all of them, which takes half an hour.
"""

import functools
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from loop import arrays, begun, stepped

from ganlib.models import AnyArchitecture, Dcgan, Mlp, R3gan, Resnet
from ganlib.objectives import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein, WganGp
from ganlib.schema import parse
from ganlib.tasks import AnyTask, Generation
from ganlib.training import Adam, RmsProp, TrainConfig, train
from ganlib.training.train_step import AUGMENTATION, EPSILON, TrainStep

OBJECTIVES = {
    "minimax": Minimax(),
    "non_saturating": NonSaturating(),
    "non_saturating_r1": NonSaturating(r1=1.0),
    "least_squares": LeastSquares(),
    "hinge": Hinge(),
    "wasserstein": Wasserstein(),
    "wgan_gp": WganGp(),
    "relativistic": Relativistic(),
}
MODELS = {
    "mlp": Mlp(generator_width=8, discriminator_width=4, maxout_pieces=2),
    "dcgan": Dcgan(width=4),
    "dcgan_batch": Dcgan(width=4, discriminator_norm="batch", dropout=0.0),
    "dcgan_spectral": Dcgan(width=4, discriminator_norm="spectral"),
    "resnet": Resnet(width=4, max_width=8),
    "r3gan": R3gan(width=4, max_width=8),
}
PLAIN, LABELLED = Generation(latent_dim=8), Generation(latent_dim=8, conditional=True)


def fits(objective, model):
    return not (objective.has_penalties and model.judges_batches)


PAIRS = [(o, m) for o, objective in OBJECTIVES.items() for m, model in MODELS.items() if fits(objective, model)]
EVERY_PAIR = "GAN_PIPELINES_EVERY_PAIR" in os.environ
CONDITIONS = {"plain": (PLAIN, "float32"), "labelled": (LABELLED, "bfloat16")}
# The fields of a chessboard: every objective meets every network, and each of them meets both conditions.
STEPS = [
    (o, m, condition)
    for o, m in PAIRS
    for number, condition in enumerate(CONDITIONS)
    if EVERY_PAIR or (list(OBJECTIVES).index(o) + list(MODELS).index(m)) % 2 == number
]


@functools.cache
def batch_of(dataset):
    """One batch with everything that any objective or task may need."""
    batch = LABELLED.draw(next(iter(dataset.batches(batch_size=8, seed=3))), seed=3, number=tf.constant(0, tf.int64))
    numbers = tf.random.stateless_uniform([8, 2, 7], [1, 2])
    return {**batch, EPSILON: tf.random.stateless_uniform([8], [3, 4]), AUGMENTATION: numbers}


def changed(state, before):
    """Trainable weights that are not as they were, of the generator and of the discriminator."""
    now = arrays(state)
    trainable = {name for name, variable in state.trained.variables().items() if variable.trainable}
    return {
        group: [bool((now[name] != before[name]).any()) for name in sorted(trainable) if name.startswith(f"{group}/")]
        for group in ("generator", "discriminator")
    }


@pytest.mark.parametrize(("objective", "model", "condition"), STEPS)
def test_a_step_has_finite_terms_and_each_loss_moves_its_own_network_only(digits, objective, model, condition):
    loss, (task, precision) = OBJECTIVES[objective], CONDITIONS[condition]
    # Rates of RMSprop and Adam do not scale with the gradient, so no weight is too small to be seen moving.
    frozen, moving = RmsProp(learning_rate=0.0), Adam(learning_rate=1e-3)
    config, _, state = begun(
        digits,
        architecture=MODELS[model],
        task=task,
        precision=precision,
        generator_optimizer=moving,
        discriminator_optimizer=moving,
    )
    step = TrainStep(state, task=task, objective=loss, config=config, replicas=1)
    step.train_step(batch_of(digits), True)  # where a block ends in zeros, what lies before it moves from here on
    before = arrays(state)
    step.discriminator_step(batch_of(digits), True)
    found = changed(state, before)
    assert not any(found["generator"])
    assert np.mean(found["discriminator"]) > (0.4 if loss.constraint else 0.8)
    state.trained.discriminator_optimizer.learning_rate = frozen.learning_rate
    before = arrays(state)
    terms = step.train_step(batch_of(digits), True)
    found = changed(state, before)
    assert np.mean(found["generator"]) > 0.5
    assert not any(found["discriminator"])
    assert all(value.dtype == tf.float32 and np.isfinite(value) for value in terms.values())
    assert 0.0 <= float(terms["discriminator/accuracy"]) <= 1.0
    assert float(terms["gradient/generator"]) > 0.0


@pytest.mark.parametrize("objective", [name for name, objective in OBJECTIVES.items() if objective.has_penalties])
def test_penalties_under_bfloat16_are_float32_and_near_those_of_float32(digits, objective):
    loss, values = OBJECTIVES[objective], {}
    for kind in ("float32", "bfloat16"):
        config, _, state = begun(digits, architecture=Dcgan(width=8, dropout=0.0), precision=kind)
        step = TrainStep(state, task=PLAIN, objective=loss, config=config, replicas=1)
        terms = step.train_step(batch_of(digits), True)
        names = [name for name in terms if name.rpartition("/")[2] in ("r1", "r2", "gradient_penalty")]
        values[kind] = [float(terms[name]) for name in names]
        assert names
        assert all(terms[name].dtype == tf.float32 for name in names)
    assert values["bfloat16"] == pytest.approx(values["float32"], rel=0.05)


def test_wgan_gp_under_mirrored_strategy_makes_the_steps_that_one_replica_makes(digits):
    """The combination that stock Keras loops fail at: second derivatives, random points between, several replicas."""
    agree(digits, objective=WganGp(discriminator_steps=2), architecture=Dcgan(width=4), task=PLAIN)


# What replicas do to a pair, and what a checkpoint holds of it, are tried where there is something to go wrong: two
# graphs, statistics of batches, spectral norm's vectors, masks, labels, a schedule. WGAN-GP has its test above, clipped
# weights have one below.
SELECTION = {
    "minimax-mlp-labelled-cosine": (Minimax(), MODELS["mlp"], LABELLED, {"schedule": "cosine"}),
    "r1_lazy-dcgan": (NonSaturating(r1=1.0, r1_every=3), MODELS["dcgan"], PLAIN, {}),
    "least_squares-dcgan_batch-labelled": (LeastSquares(), MODELS["dcgan_batch"], LABELLED, {}),
    "hinge-dcgan_spectral-labelled-augmented": (
        Hinge(),
        MODELS["dcgan_spectral"],
        LABELLED,
        {"augmentation": ("translation", "cutout")},
    ),
    "relativistic-r3gan-labelled": (Relativistic(), MODELS["r3gan"], LABELLED, {}),
}
ON_REPLICAS = (
    "r1_lazy-dcgan",
    "least_squares-dcgan_batch-labelled",
    "hinge-dcgan_spectral-labelled-augmented",
)
RESUMED = (
    "minimax-mlp-labelled-cosine",
    "hinge-dcgan_spectral-labelled-augmented",
    "relativistic-r3gan-labelled",
)
if EVERY_PAIR:
    OWN_RATES = {"wasserstein": {"discriminator_optimizer": RmsProp(learning_rate=5e-5)}}  # its weights are small
    SELECTION |= {
        f"{objective}-{model}-{condition}": (OBJECTIVES[objective], MODELS[model], task, OWN_RATES.get(objective, {}))
        for objective, model in PAIRS
        for condition, task in (("plain", PLAIN), ("labelled", LABELLED))
    }
    ON_REPLICAS = RESUMED = tuple(SELECTION)


@pytest.mark.parametrize("pair", ON_REPLICAS)
def test_two_replicas_make_the_steps_that_one_makes(digits, pair):
    objective, model, task, settings = SELECTION[pair]
    agree(digits, objective=objective, architecture=model, task=task, **settings)


def agree(digits, *, objective, architecture, task, **settings):
    """Three steps on one and on two replicas; see the test of this name in test_training for the bounds."""
    common = {"objective": objective, "architecture": architecture, "task": task, "steps": 3, **settings}
    (one, one_rows), (two, two_rows) = (stepped(digits, replicas=replicas, **common) for replicas in (1, 2))
    other = arrays(two)
    for name, array in arrays(one).items():
        if name.startswith(("generator/", "discriminator/", "averaged/")) and array.dtype == np.float32:
            difference, size = np.abs(other[name] - array), max(1.0, np.abs(array).max())
            assert difference.max() < 6e-4 * size, name  # as far as three steps of Adam go
            assert (difference >= 1e-4 * size).sum() <= max(2, difference.size // 10), name
    assert_moments_agree(one, two, within=2e-3)
    for first, second in zip(one_rows, two_rows, strict=True):
        for name in first:
            if not name.startswith(("speed/", "gradient/")):  # each replica's gradient is that of its own batch
                assert second[name] == pytest.approx(first[name], rel=1e-3, abs=1e-5), name


def assert_moments_agree(one, two, *, within):
    """Adam's updates know nothing of the gradients' scale, its moments do: sums in place of means would double them."""
    others = arrays(two)
    moments = {name: array for name, array in arrays(one).items() if "_optimizer/" in name and array.ndim > 1}
    assert len(moments) > 6
    for name, array in moments.items():
        assert np.linalg.norm(others[name] - array) <= within * np.linalg.norm(array) + 1e-9, name


def test_two_replicas_in_bfloat16_stay_near_one(digits):
    common = {"objective": Relativistic(), "architecture": MODELS["dcgan"], "task": LABELLED, "steps": 1}
    one, two = (stepped(digits, replicas=replicas, precision="bfloat16", **common)[0] for replicas in (1, 2))
    assert_moments_agree(one, two, within=0.1)


@pytest.mark.parametrize("pair", RESUMED)
def test_a_resumed_run_ends_with_the_same_bits(digits, reference, tmp_path, capsys, pair):
    """Spectral norm's vectors, dropout's counters, the schedule's place and both optimizers are in the checkpoint."""
    objective, model, task, settings = SELECTION[pair]

    def run(name):
        config = TrainConfig(
            **{
                "steps": 4,
                "batch_size": 8,
                "steps_per_loop": 2,
                "score_every": 2,
                "sample_every": 4,
                "checkpoint_every": 2,
                "score_samples": 20,
                "precision": "float32",
                "home": str(tmp_path / f"home of {name}"),
                **settings,
            }
        )
        return train(
            digits, reference, task=task, architecture=model, objective=objective, config=config, output=tmp_path / name
        )

    whole = run("whole")
    # What an interruption after the second step leaves; runs that are really interrupted are in test_training.
    shutil.copytree(tmp_path / "home of whole", tmp_path / "home of rest")
    (tmp_path / "home of rest" / "checkpoints" / "step-000000004.npz").unlink()
    rest = run("rest")
    assert "resumes from step 2" in capsys.readouterr().out
    for kept in ("best", "last"):
        pairs = zip(whole.network(kept).get_weights(), rest.network(kept).get_weights(), strict=True)
        assert all((a == b).all() for a, b in pairs)


def test_lazy_penalties_come_at_their_steps_with_the_weight_of_those_between(digits):
    """A row of three steps holds one penalty, weighed by three: the mean is that of a penalty at every step."""
    _, rows = stepped(
        digits, objective=NonSaturating(r1=1.0, r1_every=3), architecture=MODELS["dcgan"], steps=7, steps_per_loop=1
    )
    present = [row["discriminator/r1"] > 0.0 for row in rows]
    assert present == [True, False, False, True, False, False, True]
    _, plain = stepped(digits, objective=NonSaturating(r1=1.0), architecture=MODELS["dcgan"], steps=1)
    assert rows[0]["discriminator/r1"] == pytest.approx(3 * plain[0]["discriminator/r1"], rel=1e-5)


def test_clipped_weights_stay_within_their_bound_on_every_replica(digits):
    state, _ = stepped(digits, objective=Wasserstein(discriminator_steps=2, clip=0.004), replicas=2, steps=2)
    [network] = state.trained.networks.discriminators.values()
    for variable in network.trainable_variables:
        for part in tf.nest.flatten(tf.distribute.get_strategy().experimental_local_results(variable.value)):
            assert float(tf.reduce_max(tf.abs(part))) <= 0.004 + 1e-9


def test_the_label_reaches_both_networks(digits):
    state, _ = stepped(digits, objective=Hinge(), architecture=MODELS["dcgan_spectral"], task=LABELLED, steps=8)
    [generator], [judge] = state.trained.networks.generators.values(), state.trained.networks.discriminators.values()
    latent = tf.repeat(tf.random.stateless_normal([1, 8], [0, 0]), 2, axis=0)
    label = tf.constant([0, 1], tf.int64)
    images = generator({"latent": latent, "label": label}, training=False)
    assert (images[0].numpy() != images[1].numpy()).any()
    same = tf.repeat(images[:1], 2, axis=0)
    logits = judge({"images": same, "label": label}, training=False).numpy()
    assert logits[0, 0] != logits[1, 0]


def test_augmentation_changes_what_the_discriminator_learns_and_lets_gradients_through(digits):
    plain, _ = stepped(digits, objective=Hinge(), steps=3)
    other, rows = stepped(digits, objective=Hinge(), steps=3, augmentation=("translation", "cutout"))
    assert (arrays(plain)["discriminator/discriminator/000"] != arrays(other)["discriminator/discriminator/000"]).any()
    assert rows[-1]["gradient/generator"] > 0.0


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_json_round_trip_of_networks(model):
    assert parse(AnyArchitecture, model.to_parameter()) == model
    assert parse(AnyArchitecture, model.kind).kind == model.kind


def test_json_round_trip_of_tasks():
    assert parse(AnyTask, LABELLED.to_parameter()) == LABELLED
