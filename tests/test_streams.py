"""The seed of every random stream depends on its purpose, so that no two streams draw the same numbers."""

import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from loop import MODEL, TASK, begun

from ganlib import streams
from ganlib.models import Dcgan, Mlp
from ganlib.models.layers import ReplicaDropout
from ganlib.streams import Purpose
from ganlib.tasks import Generation

STREAM = st.tuples(st.sampled_from(get_args(Purpose)), st.lists(st.integers(0, 2**63 - 1), max_size=3).map(tuple))
NEAR = st.tuples(st.sampled_from(get_args(Purpose)), st.lists(st.integers(0, 12), max_size=3).map(tuple))


@given(st.lists(STREAM | NEAR, unique=True, min_size=2, max_size=50))
def test_no_two_purposes_or_numbers_share_a_key(chosen):
    keys = [streams.key(purpose, *numbers) for purpose, numbers in chosen]
    assert len(set(keys)) == len(keys)
    assert all(0 <= key < 2**63 for key in keys)


def test_a_key_is_the_same_in_every_process_and_version():
    assert streams.key("latents", 0, 1) == 9082586927903976745


@given(seed=st.integers(0, 2**31 - 1), other=st.integers(0, 2**31 - 1), number=st.integers(0, 2**40))
def test_the_latents_of_a_training_are_those_of_no_sample(seed, other, number):
    """In the past, scores drew the same latents as the first batch, and pictures of seed 42 the same as training."""
    images = tf.zeros([4, 2, 2, 1], tf.uint8)
    trained = TASK.draw({"images": images}, seed=seed, number=tf.constant(number, tf.int64))["latents"]
    for sampled in (other, seed, streams.key("training score", seed), streams.key("noise", seed, 0)):
        drawn = TASK.inputs(4, seed=sampled, shares=[])["latent"]
        assert (trained.numpy() != drawn.numpy()).any(axis=1).all()


def test_every_use_of_samples_has_latents_of_its_own():
    uses = [("training score", 1), ("evaluation", 1), ("evaluation sheet", 1), ("classification accuracy", 1)]
    uses += [("evaluation", 2), ("training sheet",), ("witness",)]
    drawn = [TASK.inputs(4, seed=streams.key(*use), shares=[])["latent"].numpy() for use in uses]
    drawn += [TASK.inputs(4, seed=seed, shares=[])["latent"].numpy() for seed in range(4)]
    rows = np.concatenate(drawn)
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_latents_and_classes_of_samples_are_drawn_apart():
    task = Generation(latent_dim=1, conditional=True)
    classes = task.inputs(1000, seed=5, shares=[0.5, 0.5])["label"].numpy()
    latents = task.inputs(1000, seed=5, shares=[0.5, 0.5])["latent"].numpy()[:, 0]
    assert abs(np.corrcoef(classes, latents)[0, 1]) < 0.1


@pytest.mark.parametrize("model", [Dcgan(width=4, dropout=0.5), Mlp(generator_width=2, discriminator_width=2)])
def test_no_two_layers_of_any_seeds_drop_alike(model):
    seeds = []
    for seed in range(4):
        network = model.discriminator(image_shape=(16, 16, 1), classes=0, dtype="float32", seed=seed)
        seeds += [layer.get_config()["seed"] for layer in network.layers if isinstance(layer, ReplicaDropout)]
    assert len(seeds) >= 8
    assert len(set(seeds)) == len(seeds)


def test_a_rollback_and_another_seed_draw_other_noise(digits):
    _, _, state = begun(digits, architecture=MODEL)
    first = state.noise_seed
    state.health.rollbacks += 1
    later = state.noise_seed
    state.seed += 1
    assert len({first, later, state.noise_seed}) == 3


def test_all_that_is_seeded_here_is_seeded_with_a_key():
    """Except for orders and networks that are fixed by definition."""
    fixed = {"random_features.py", "parts.py", "early.py", "best.py"}
    fixed.add("onnx_card.py")  # holds lines for users
    seeded = re.compile(r"(default_rng|set_random_seed|keras_seed|ReplicaDropout|stateless_\w+)\((.*)")
    for path in Path(streams.__file__).parent.rglob("*.py"):
        for line in path.read_text().splitlines() if path.name not in fixed else []:
            result = seeded.search(line)
            if result and not line.strip().startswith(("class ", "def ", "from ", "import ", '"')):
                assert re.search(r"streams\.|key|stream\b", result.group(2)), f"{path.name}: {line}"
