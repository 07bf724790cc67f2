"""Every task with every network and every game: refused in one line, or trained. The catalogues say which there are.

By default each two of a task, a network and a game meet once; with GAN_PIPELINES_EVERY_PAIR all three meet.
"""

import itertools
import os
from typing import Literal, get_args, get_origin

import exported_models
import numpy as np
import pytest
import tensorflow as tf
import tiny_runs
from pydantic import ValidationError
from tiny_runs import BATCH

from ganlib import pixels, schema
from ganlib.config import RunConfig
from ganlib.export.network import save_signatures, signatures
from ganlib.export.onnx import onnx_export
from ganlib.inference import Inputs
from ganlib.models import AnyArchitecture, LatentToImage, Unet
from ganlib.objectives import AnyObjective
from ganlib.tasks import AnyTask, Generation
from ganlib.training.strategy import resolve_precision
from ganlib.training.train_step import TrainStep

SHAPE = (16, 16, 3)
SMALL = {
    "blocks": 1,
    "discriminator_layers": 1,
    "discriminator_width": 4,
    "generator_width": 8,
    "halvings": 1,
    "latent_dim": 8,
    "max_width": 8,
    "patches": 20,
    "pool_size": BATCH,
    "projection_width": 8,
    "width": 4,
}
"""Settings of every member that has them."""
PRECISIONS = ("float32", "bfloat16", "float16")
SECTIONS = ("task", "model", "objective")
EVERY_PAIR = "GAN_PIPELINES_EVERY_PAIR" in os.environ


def members(catalogue):
    """The classes of a catalogue."""
    return get_args(get_args(catalogue)[0])


def small(member, **settings):
    """A member with small networks, as the section of a config."""
    fields = member.model_fields
    return {"kind": fields["kind"].default, **{name: SMALL[name] for name in SMALL if name in fields}, **settings}


def name_of(section):
    return "-".join(str(section[key]) for key in ("kind", "damage") if key in section)


TASKS = [small(member) for member in members(AnyTask)]
TASKS.append({"kind": "restoration", "damage": "noise"})  # without a mask it plays the games that it refuses with one
NETWORKS, GAMES = ([small(member) for member in members(catalogue)] for catalogue in (AnyArchitecture, AnyObjective))


def configured(task, network, game):
    """The config of a run, and the lines that refuse it."""
    sections = {"data": {"size": 16, "colour": "rgb"}, "task": task, "model": network, "objective": game}
    try:
        return schema.parse(RunConfig, sections), []
    except ValidationError as error:
        return None, schema.problems(error)


def admitted(task):
    """The networks that a task admits, and the games that it admits with any of them."""
    pairs = [(network, game) for network in NETWORKS for game in GAMES if configured(task, network, game)[0]]
    return [[member for member in group if any(member in pair for pair in pairs)] for group in (NETWORKS, GAMES)]


def cells():
    """The tasks with the networks that they admit, and the games that are played there."""
    for number, task in enumerate(TASKS):
        networks, games = admitted(task)
        for row, network in enumerate(networks):
            # Diagonals: each game meets each task once and, as each task begins at another diagonal, each network.
            played = [game for game in games if EVERY_PAIR or (number + row + GAMES.index(game)) % len(networks) == 0]
            precision = PRECISIONS[(2 * number + row) % len(PRECISIONS)]
            yield pytest.param(task, network, played, precision, id=f"{name_of(task)}-{name_of(network)}-{precision}")


CELLS = list(cells())


def batch(number):
    """Images of random pixels, which serve any task."""
    random = np.random.default_rng(number)
    images = {name: tf.constant(random.integers(0, 256, (BATCH, *SHAPE)), tf.uint8) for name in ("images", "targets")}
    return {**images, "labels": tf.constant(random.integers(0, 2, BATCH), tf.int64)}


def trained_weights(state):
    groups = ("generator/", "discriminator/", "auxiliary/")
    variables = state.trained.variables().items()
    trained = {name: variable for name, variable in variables if variable.trainable and name.startswith(groups)}
    # The bias of the logits counts in real and fake images alike, so that games of differences do not see it.
    return {name: variable for name, variable in trained.items() if variable.shape != (1,)}


def test_what_does_not_go_together_is_refused_in_lines_that_name_the_two():
    refused = set()
    for task, network, game in itertools.product(TASKS, NETWORKS, GAMES):
        for line in configured(task, network, game)[1]:
            _, received = line.split("Received: ")
            names = [section for section in SECTIONS if f"{section}=" in line or f"{section}." in line]
            assert len(names) == 2, line
            assert "\n" not in received
            refused.add(tuple(names))
    assert refused == {("task", "model"), ("task", "objective")}


def test_penalties_are_refused_where_a_discriminator_mixes_the_images_of_a_batch():
    refused = 0
    for member, game in itertools.product(members(AnyArchitecture), GAMES):
        norms = member.model_fields.get("discriminator_norm")
        if norms is None or "batch" not in get_args(norms.annotation):
            continue
        task = next(task for task in TASKS if configured(task, small(member), GAMES[0])[0])
        config, lines = configured(task, small(member, discriminator_norm="batch"), game)
        if config is not None:
            assert not config.objective.has_penalties
            continue
        [line] = [line for line in lines if "penalty" in line]
        assert f"objective={game['kind']}, model.discriminator_norm=batch" in line
        refused += 1
    assert refused


def test_each_two_of_a_task_a_network_and_a_game_meet():
    """A network from latents has one task alone; `test_family` plays every game with each of them."""
    met, precisions = set(), set()
    for task, network, games, precision in (cell.values for cell in CELLS):
        precisions.update([(task["kind"], precision), *((game["kind"], precision) for game in games)])
        for game in games:
            met.update(itertools.combinations(map(name_of, (task, network, game)), 2))
    assert precisions == set(itertools.product((member["kind"] for member in [*TASKS, *GAMES]), PRECISIONS))
    latent = {small(member)["kind"] for member in members(AnyArchitecture) if issubclass(member, LatentToImage)}
    for task, network, game in itertools.product(TASKS, NETWORKS, GAMES):
        if configured(task, network, game)[0]:
            pairs = list(itertools.combinations(map(name_of, (task, network, game)), 2))
            assert met.issuperset(pairs[:2] if network["kind"] in latent else pairs), pairs


@pytest.mark.parametrize(("task", "network", "games", "precision"), CELLS)
def test_steps_of_every_game_are_finite_and_move_every_weight(task, network, games, precision):
    state = None
    for game in games:
        config, _ = configured(task, network, game)
        if state is None:  # the games go on from each other's weights, since building takes longer than a step
            settings, state = begun(config, precision=precision)
        step = TrainStep(state, task=config.task, objective=config.objective, config=settings, replicas=1)
        weights = trained_weights(state)
        before = {name: variable.numpy() for name, variable in weights.items()}
        still = set(weights)
        for number in range(2):  # where a block ends in zeros, what lies before it moves from the second step on
            if still:
                row = step.train_step(step.draw(batch(number), seed=5, number=tf.constant(number, tf.int64)), True)
                assert all(np.isfinite(value) for value in row.values()), (game, row)
                assert float(row["gradient/generator"]) > 0.0
                assert float(row["gradient/discriminator"]) > 0.0
                still = {name for name in still if (weights[name].numpy() == before[name]).all()}
        assert not still, (game, still)


def begun(config, *, precision="float32", scale=2.0**8):
    """The settings and the state before the first step; in float16 with a loss scale that none of these overflows."""
    settings = tiny_runs.config(precision=precision)
    dtype = resolve_precision(precision)
    _, _, state = tiny_runs.build(config.task, config.model, settings, image_shape=SHAPE, classes=2, dtype=dtype)
    if precision == "float16":
        for optimizer in (state.trained.generator_optimizer, state.trained.discriminator_optimizer):
            optimizer.dynamic_scale.assign(scale)
    return settings, state


def test_a_gradient_of_zero_in_float16_is_a_step_that_was_skipped_and_training_goes_on():
    """All of the image is too bright, so the gradients of the last bias add up beyond float16 at the first scales."""
    task = {"kind": "restoration", "damage": "noise", "adversarial_weight": 0.0}
    config, _ = configured(task, small(Unet), GAMES[0])
    settings, state = begun(config, precision="float16", scale=2.0**15)
    step = TrainStep(state, task=config.task, objective=config.objective, config=settings, replicas=1)
    dark = {**batch(0), "images": tf.zeros([BATCH, *SHAPE], tf.uint8)}
    rows = []
    for number in range(5):
        row = step.train_step(step.draw(dark, seed=5, number=tf.constant(number, tf.int64)), True)
        rows.append({name: float(value) for name, value in row.items()})
    skipped = [row["skipped/generator"] for row in rows]
    assert skipped == sorted(skipped, reverse=True)
    assert 1.0 <= sum(skipped) < 5.0
    assert [row["gradient/generator"] > 0.0 for row in rows] == [not each for each in skipped]
    scales = [row["loss_scale/generator"] for row in rows]
    assert scales == [2.0**15 / 2.0 ** sum(skipped[:number]) for number in range(5)]


FRESH = """
import pathlib, sys, numpy, tensorflow
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    signatures = tensorflow.saved_model.load(str(folder / "saved_model")).signatures
    for path in sorted(folder.glob("*.npz")):
        with numpy.load(path) as file:
            arrays = dict(file)
        expected = arrays.pop("expected")
        function = signatures[path.stem.partition(" ")[0]]
        made = function(**{name: tensorflow.constant(values) for name, values in arrays.items()})["images"].numpy()
        assert made.dtype == expected.dtype
        numpy.testing.assert_allclose(made.astype(float), expected, atol=1 if made.dtype == "uint8" else 1e-5)
        print(folder.name, path.stem)
assert not [name for name in sys.modules if name.startswith("ganlib")]
"""


def test_a_fresh_process_gives_the_same_images_at_two_sizes(fresh, tmp_path):
    """One network for each task that makes images from images; each network has its turn."""
    expected = set()
    for number, task in enumerate(TASKS):
        networks, games = admitted(task)
        config, _ = configured(task, networks[number % len(networks)], games[0])
        if config.task.samples_from == "seed":
            continue
        folder = tmp_path / f"{number}-{name_of(task)}"
        shipped = config.task.shipped(begun(config)[1].trained.averaged)
        for network in shipped.values():
            for index, weights in enumerate(network.trainable_variables):
                weights.assign_add(0.1 * tf.random.stateless_normal(weights.shape, [index, 7]))
        functions = signatures(shipped, config.task, image_shape=SHAPE, classes=0)
        save_signatures(shipped, functions, folder / "saved_model")
        for (name, function), side in itertools.product(functions.items(), (16, 32)):
            arrays = {key: noise(spec, side=side) for key, spec in function.inputs.items()}
            images = function.function(**{key: tf.constant(values) for key, values in arrays.items()})["images"]
            assert np.ptp(images) > 0
            np.savez(folder / f"{name} {side}.npz", expected=images, **arrays)
            expected.add(f"{folder.name} {name} {side}")
    done = fresh("-c", FRESH, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(done.stdout.splitlines()) == expected


def variants(member):
    """A generator with each of its choices in turn."""
    fields = {name: field for name, field in member.model_fields.items() if not name.startswith("discriminator")}
    choices = [{}]
    for name, field in fields.items():
        values = (True, False) if field.annotation is bool else get_args(field.annotation)
        if get_origin(field.annotation) is Literal or field.annotation is bool:
            choices += [{name: value} for value in values if name != "kind" and value != field.default]
    return [small(member, **choice) for choice in choices]


if EVERY_PAIR:

    @pytest.mark.parametrize("member", members(AnyArchitecture), ids=lambda member: member.model_fields["kind"].default)
    def test_onnxruntime_makes_the_images_of_every_network(member, tmp_path):
        tasks = [task for task in TASKS if task["kind"] not in ("paired_translation", "contrastive_translation")]
        tasks.append(small(Generation, conditional=True))
        tried = 0
        for number, (task, network) in enumerate(itertools.product(tasks, variants(member))):
            config = next(filter(None, (configured(task, network, game)[0] for game in GAMES)), None)
            if config is None:
                continue
            classes = 2 if config.task.takes_label else 0
            networks = config.task.shipped(begun(config)[1].trained.averaged)
            for one in networks.values():
                for index, weights in enumerate(one.variables):
                    change = 0.1 * tf.random.stateless_normal(weights.shape, [index, 7])
                    weights.assign_add(change if weights.trainable else tf.abs(change))  # variances stay positive
            folder = tmp_path / str(number)
            shipped = exported_models.fill(folder, config.task, networks, image_shape=SHAPE, classes=classes)
            with onnx_export(True) as writer:
                inputs = Inputs(classes=("a", "b")[:classes])
                files = writer.write(networks, shipped, folder, inputs=inputs, tolerance=1e-4)
            assert all(np.load(one.witness)["output"].std() > 0.01 for one in shipped)
            print(f"{task} {network}: {files.difference:.1e}")
            tried += 1
        assert tried


def noise(spec, *, side):
    """An argument of an exported function, for two images."""
    values = np.random.default_rng(0).integers(0, 256, (2, side, 3 * side // 2 // 16 * 16, spec.shape[-1]), np.uint8)
    if spec.dtype == tf.uint8:
        return values
    return (values > 127).astype(np.float32) if spec.shape[-1] == 1 else pixels.to_model_range(values).numpy()
