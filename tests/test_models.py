"""Architectures build what their papers say, for the shapes that they say, and their layers compute what they claim."""

from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import TypeAdapter, ValidationError

from ganlib.models import AnyArchitecture, Dcgan, LatentToImage, Mlp, R3gan, Resnet
from ganlib.models.conditions import batch_norm, modulate, network_inputs, projection_logits
from ganlib.models.layers import ReplicaDropout
from ganlib.models.spectral import SpectralConv2D, SpectralDense, weight_layers
from ganlib.training.strategy import resolve_strategy

PYRAMIDS = [
    Dcgan(width=4, max_width=8),
    Dcgan(width=4, max_width=8, discriminator_norm="batch"),
    Dcgan(width=4, max_width=8, discriminator_norm="spectral"),
    R3gan(width=4, max_width=8),
    Resnet(width=4, max_width=8),
    Resnet(width=4, discriminator_norm="none"),
]
MODELS = [*PYRAMIDS, Mlp(generator_width=12, discriminator_width=6, maxout_pieces=3)]
GENERATORS = [PYRAMIDS[0], *PYRAMIDS[3:5], MODELS[-1]]  # a norm of discriminators makes no other generator
LATENT = 5
SHAPE = (16, 16, 1)


def name(model):
    return "-".join([model.kind, getattr(model, "discriminator_norm", "")]).rstrip("-")


over_models = pytest.mark.parametrize("model", MODELS, ids=name)
over_classes = pytest.mark.parametrize("classes", [0, 3])


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(3)


def pair(model, *, shape=SHAPE, classes=0, dtype="float32"):
    generator = model.generator(latent_dim=LATENT, image_shape=shape, classes=classes, dtype=dtype)
    return generator, model.discriminator(image_shape=shape, classes=classes, dtype=dtype, seed=0)


def condition(classes, *, count=4):
    return {"label": tf.range(count, dtype=tf.int64) % classes} if classes else {}


def latents(count=4):
    return {"latent": tf.random.stateless_normal([count, LATENT], [0, 0])}


def pictures(count=4, shape=SHAPE):
    return {"images": tf.random.stateless_uniform([count, *shape], [0, 1], minval=-1)}


def perturb(network, *, scale=0.1):
    for index, variable in enumerate(network.trainable_variables):
        variable.assign_add(scale * tf.random.stateless_normal(variable.shape, [index, 7]))


def test_every_kind_is_asked_these_questions_and_can_be_named_by_a_word():
    kinds = {model.kind for model in MODELS}
    members = get_args(get_args(AnyArchitecture)[0])
    assert kinds == {member().kind for member in members if issubclass(member, LatentToImage)}
    assert {TypeAdapter(AnyArchitecture).validate_python(kind).kind for kind in kinds} == kinds
    assert all(TypeAdapter(AnyArchitecture).validate_python(model.to_parameter()) == model for model in MODELS)


def test_dcgan_at_28_pixels_is_the_classic_network():
    generator, discriminator = pair(Dcgan(), shape=(28, 28, 1))
    convolutions = [layer for layer in generator.layers if isinstance(layer, keras.layers.Conv2DTranspose)]
    assert [(c.filters, c.kernel_size, c.strides) for c in convolutions] == [
        (128, (5, 5), (1, 1)),
        (64, (5, 5), (2, 2)),
        (1, (5, 5), (2, 2)),
    ]
    convolutions = [layer for layer in discriminator.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [(c.filters, c.kernel_size, c.strides) for c in convolutions] == [
        (64, (5, 5), (2, 2)),
        (128, (5, 5), (2, 2)),
    ]
    weights = generator.get_layer(index=1).get_weights()[0]
    assert abs(weights.mean()) < 1e-4
    assert weights.std() == pytest.approx(0.02, rel=0.01)


# The authors' generator but for the biases of its nine hidden convolutions, which batch norm takes away.
SNGAN_GENERATOR = 129 * 4096 + 3 * (2 * 9 * 256**2 + 256**2 + 2 * 4 * 256) + 4 * 256 + 9 * 256 * 3 + 3
SNGAN_DISCRIMINATOR = (9 * 3 + 3 + 9 * 128 + 3) * 128 + (9 * 256 + 128 + 3) * 128 + 2 * (9 * 256 + 2) * 128 + 129


@pytest.mark.parametrize(
    ("model", "shape", "latent_dim", "generator", "discriminator"),
    [
        (Dcgan(), (28, 28, 1), 100, 2_330_944, 212_865),
        (Dcgan(), (32, 32, 3), 100, 5_159_360, 1_033_345),
        (Mlp(), (28, 28, 1), 100, 101 * 1200 + 1201 * (1200 + 784), (785 + 241) * 1200 + 241),
        (R3gan(), (28, 28, 1), 100, 890_400, 877_729),
        (Resnet(), (28, 28, 1), 100, 474_241, 264_130),
        (Resnet(width=256, max_width=256), (32, 32, 3), 128, SNGAN_GENERATOR, None),
        (Resnet(width=128, max_width=128, discriminator_norm="none"), (32, 32, 3), 128, None, SNGAN_DISCRIMINATOR),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else "",
)
def test_networks_have_the_sizes_that_their_papers_or_defaults_give(model, shape, latent_dim, generator, discriminator):
    if generator is not None:
        network = model.generator(latent_dim=latent_dim, image_shape=shape, classes=0, dtype="float32")
        assert network.count_params() == generator
    if discriminator is not None:
        network = model.discriminator(image_shape=shape, classes=0, dtype="float32", seed=0)
        assert network.count_params() == discriminator


SHAPES = [(16, 16, 1), (28, 28, 3), (36, 36, 1), (128, 128, 1), (48, 80, 3), (36, 64, 1)]
FITTING = [(model, shape) for model in PYRAMIDS for shape in SHAPES]
FITTING += [(MODELS[-1], shape) for shape in [(1, 1, 1), (28, 28, 1), (17, 30, 3), (64, 64, 3)]]


@pytest.mark.parametrize(("model", "shape"), FITTING, ids=lambda value: name(value) if hasattr(value, "kind") else None)
def test_networks_fit_the_image_shape(model, shape):
    generator, discriminator = pair(model, shape=shape, classes=3)
    assert generator.output_shape == discriminator.input["images"].shape == (None, *shape)
    assert discriminator.output_shape == (None, 1)
    images = generator({**latents(2), **condition(3, count=2)}, training=False)
    assert images.shape == (2, *shape)
    assert float(tf.reduce_max(tf.abs(images))) <= 1.0
    assert np.ptp(images) > 0.0
    assert discriminator({"images": images, **condition(3, count=2)}, training=False).shape == (2, 1)


@pytest.mark.parametrize("model", PYRAMIDS, ids=name)
def test_every_multiple_of_four_in_range_is_reached_and_no_other_size(model):
    for size in [*range(8, 140), 512, 1020, 1023, 1024, 1028]:
        if 16 <= size <= 1024 and size % 4 == 0:
            model.check((size, 32, 1))
            model.check((64, size, 1))
        else:
            message = f"^{model.kind} .*16 to 1024 pixels .* steps of 4 .*Received: size={size}x32"
            with pytest.raises(ValueError, match=message):
                model.check((size, 32, 1))


def test_mlp_refuses_images_with_too_many_pixels():
    Mlp().check((64, 3, 3))
    with pytest.raises(ValueError, match=r"at most 64 pixels .*Received: size=65x8"):
        pair(Mlp(), shape=(65, 8, 1))


@over_models
@over_classes
def test_networks_take_dicts_and_a_label_only_where_there_are_classes(model, classes):
    generator, discriminator = pair(model, classes=classes)
    label = {"label"} if classes else set()
    assert set(generator.input) == {"latent"} | label
    assert set(discriminator.input) == {"images"} | label
    assert all(network.input["label"].dtype == "int64" for network in (generator, discriminator) if classes)
    assert generator.name == "generator"
    assert discriminator.name == "discriminator"


@over_models
@over_classes
def test_mixed_precision_computes_in_bfloat16_and_answers_in_float32(model, classes):
    generator, discriminator = pair(model, classes=classes, dtype="mixed_bfloat16")
    images = generator({**latents(), **condition(classes)}, training=True)
    logits = discriminator({"images": images, **condition(classes)}, training=True)
    assert images.dtype == logits.dtype == tf.float32
    for network in (generator, discriminator):
        computed = [layer for layer in network.layers if layer.weights and layer.output.shape[1] != 1]
        half = [layer for layer in computed if layer.compute_dtype == "bfloat16"]
        assert len(half) >= len(computed) - 2  # embeddings may be exact
        assert {variable.dtype for variable in network.weights} == {"float32"}


@over_models
def test_another_class_gives_other_images_and_other_logits(model):
    generator, discriminator = pair(model, classes=3)
    perturb(generator)
    same_latents = {"latent": tf.repeat(latents(1)["latent"], 3, axis=0)}
    images = generator({**same_latents, **condition(3, count=3)}, training=False).numpy()
    same_images = {"images": tf.repeat(pictures(1)["images"], 3, axis=0)}
    logits = discriminator({**same_images, **condition(3, count=3)}, training=False).numpy()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(images[one] - images[other]).max() > 1e-3
        assert np.abs(logits[one] - logits[other]).max() > 1e-5


@pytest.mark.parametrize("model", [PYRAMIDS[0], PYRAMIDS[4]], ids=name)
def test_classes_start_equal_where_they_choose_gains_and_biases(model):
    generator, _ = pair(model, classes=3)
    same_latents = {"latent": tf.repeat(latents(1)["latent"], 3, axis=0)}
    images = generator({**same_latents, **condition(3, count=3)}, training=False).numpy()
    np.testing.assert_allclose(images, images[:1].repeat(3, axis=0), atol=1e-6)


def test_generators_are_loaded_without_this_project(fresh, tmp_path):
    for classes in (0, 3):
        for model in GENERATORS:
            generator, _ = pair(model, classes=classes)
            perturb(generator)
            inputs = {**latents(), **condition(classes)}
            images = generator(inputs, training=False)
            path = tmp_path / f"{name(model)}-{classes}.keras"
            generator.save(path)
            arrays = {key: value.numpy() for key, value in inputs.items()}
            np.savez(path.with_suffix(".npz"), images=images.numpy(), **arrays)
    program = (
        "import sys, pathlib, numpy, keras\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).glob('*.keras')):\n"
        "    arrays = dict(numpy.load(path.with_suffix('.npz')))\n"
        "    images = arrays.pop('images')\n"
        "    made = keras.models.load_model(path, compile=False)(arrays, training=False)\n"
        "    numpy.testing.assert_allclose(numpy.array(made), images, atol=1e-5)\n"
        "    print(path.stem)\n"
        "assert not [name for name in sys.modules if name.startswith('ganlib')]\n"
    )
    done = fresh("-c", program, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.split()) == 2 * len(GENERATORS)


@pytest.mark.parametrize("model", GENERATORS, ids=name)
@over_classes
def test_generators_can_be_cloned_with_their_weights(model, classes):
    generator, _ = pair(model, classes=classes)
    perturb(generator)
    copy = keras.models.clone_model(generator)
    copy.set_weights(generator.get_weights())
    inputs = {**latents(), **condition(classes)}
    np.testing.assert_allclose(copy(inputs, training=False), generator(inputs, training=False), atol=1e-6)


@over_models
def test_a_judge_of_batches_says_so_and_no_other_looks_at_the_rest_of_a_batch(model):
    model = model.model_copy(update={"dropout": 0.0, "input_dropout": 0.0} if hasattr(model, "dropout") else {})
    _, discriminator = pair(model)
    before, images = discriminator.get_weights(), pictures()["images"]
    logits = discriminator({"images": images}, training=True)[0]
    discriminator.set_weights(before)
    others = discriminator({"images": tf.concat([images[:1], images[1:] ** 2], axis=0)}, training=True)[0]
    assert (abs(float(logits[0] - others[0])) > 1e-4) == model.judges_batches


def replicated(network, strategy):
    return tf.function(lambda values: strategy.run(lambda part: network(part, training=True), args=(values,)))


@over_models
def test_two_replicas_compute_what_one_does(model):
    strategy = resolve_strategy(2)
    alone = pair(model, classes=3)
    with strategy.scope():
        shared = pair(model, classes=3)
    inputs = [{**latents(), **condition(3)}, {**pictures(), **condition(3)}]
    for one, both, values in zip(alone, shared, inputs, strict=True):
        perturb(one)
        both.set_weights(one.get_weights())
        halves = strategy.experimental_distribute_values_from_function(
            lambda context, v=values: {
                key: tf.split(item, 2)[context.replica_id_in_sync_group] for key, item in v.items()
            }
        )
        run = replicated(both, strategy)
        for _ in range(2):
            wanted = one(values, training=True).numpy()
            got = np.concatenate([part.numpy() for part in strategy.experimental_local_results(run(halves))])
            np.testing.assert_allclose(got, wanted, atol=2e-5)
        for variable, other in zip(one.weights, both.weights, strict=True):
            for copy in strategy.experimental_local_results(other.value):
                np.testing.assert_allclose(copy, variable.numpy(), atol=2e-5, err_msg=variable.path)


def penalty(discriminator, inputs, *, training):
    """The squared slope of the logits at the images."""
    with tf.GradientTape() as tape:
        tape.watch(inputs["images"])
        total = tf.reduce_sum(discriminator(inputs, training=training))
    return tf.reduce_mean(tf.square(tape.gradient(total, inputs["images"])) * 100.0)


@over_models
@over_classes
def test_slopes_of_discriminators_have_finite_gradients_that_reach_the_weights(model, classes):
    _, discriminator = pair(model, classes=classes)
    perturb(discriminator)
    inputs = {**pictures(), **condition(classes)}

    @tf.function
    def gradients():
        with tf.GradientTape(persistent=True) as tape:
            value = penalty(discriminator, inputs, training=True)
        return tape.gradient(value, discriminator.trainable_variables)

    found = [gradient for gradient in gradients() if gradient is not None]
    assert all(np.isfinite(gradient).all() for gradient in found)
    assert sum(np.abs(gradient).max() > 0 for gradient in found) >= len(found) / 2
    assert len(found) >= sum("kernel" in variable.name for variable in discriminator.trainable_variables)


def smooth(layer):
    """Softplus for what has kinks: the slope of a network jumps there, and finite differences see it."""
    kinked = isinstance(layer, keras.layers.ReLU | keras.layers.LeakyReLU)
    return keras.layers.Activation("softplus") if kinked else layer


@pytest.mark.parametrize("model", [PYRAMIDS[0], *PYRAMIDS[3:5]], ids=name)
def test_second_derivatives_are_those_of_finite_differences(model):
    discriminator = keras.models.clone_model(pair(model, classes=3)[1], clone_function=smooth)
    perturb(discriminator)
    inputs = {**pictures(), **condition(3)}
    forward = tf.function(lambda: discriminator(inputs, training=True))
    for _ in range(300 if "spectral" in name(model) else 0):  # at its fixed point sigma has no slope along u and v
        forward()
    weights = discriminator.trainable_variables
    directions = [tf.random.stateless_normal(weight.shape, [index, 9]) for index, weight in enumerate(weights)]
    with tf.GradientTape() as tape:
        value = penalty(discriminator, inputs, training=False)
    slopes = zip(tape.gradient(value, weights), directions, strict=True)  # None: the last bias has no say in slopes
    wanted = sum(float(tf.reduce_sum(slope * direction)) for slope, direction in slopes if slope is not None)
    sides = []
    for step in (1e-3, -2e-3):
        for weight, direction in zip(weights, directions, strict=True):
            weight.assign_add(step * direction)
        sides.append(float(penalty(discriminator, inputs, training=False)))
    assert (sides[0] - sides[1]) / 2e-3 == pytest.approx(wanted, rel=0.01)


def test_mlp_takes_the_largest_piece():
    _, discriminator = pair(MODELS[-1])
    perturb(discriminator)
    h = pictures()["images"].numpy().reshape(4, -1)
    *hidden, last, bias = discriminator.get_weights()
    for kernel, offset in zip(hidden[::2], hidden[1::2], strict=True):
        h = (h @ kernel + offset).reshape(4, 6, 3).max(axis=-1)
    np.testing.assert_allclose(discriminator(pictures(), training=False), h @ last + bias, atol=1e-5)


def test_mlp_drops_pixels_and_units_in_training_only():
    _, discriminator = pair(MODELS[-1])
    rates = [layer._rate for layer in discriminator.layers if isinstance(layer, ReplicaDropout)]
    assert rates == [0.2, 0.5, 0.5]
    answers = [discriminator(pictures(), training=training).numpy() for training in (True, True, False, False)]
    assert (answers[0] != answers[1]).any()
    assert (answers[2] == answers[3]).all()


def test_r3gan_blocks_start_as_the_identity_and_scale_with_their_number():
    model = R3gan(width=16, max_width=64, blocks=3)
    generator, discriminator = pair(model)
    for network, inputs in ((generator, latents()), (discriminator, pictures())):
        before = network(inputs).numpy()
        inner = [
            layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (3, 3)
        ]
        assert len(inner) == 3 * 3
        for layer in inner:
            layer.kernel.assign(layer.kernel * 2.0)
        np.testing.assert_array_equal(network(inputs).numpy(), before)
    kernel = inner[-1].kernel.numpy() / 2.0
    assert kernel.std() == pytest.approx(np.sqrt(2 / 1.04 / (9 * 128)) * 9**-0.25, rel=0.02)


def test_r3gan_starts_from_a_learned_map_that_the_latent_scales():
    generator, _ = pair(PYRAMIDS[3])
    start = next(layer for layer in generator.layers if isinstance(layer, keras.layers.EinsumDense))
    network = keras.Model(generator.input, start.output)
    basis = start.kernel.numpy()
    linear = next(layer for layer in generator.layers if isinstance(layer, keras.layers.Dense)).kernel.numpy()
    scales = latents()["latent"].numpy() @ linear
    np.testing.assert_allclose(network(latents()), basis[None] * scales[:, None, None, :], atol=1e-5)


def test_r3gan_splits_its_convolutions_into_groups_that_divide_them():
    whole, split = (pair(R3gan(width=4, max_width=8, groups=groups))[1] for groups in (1, 4))
    assert whole.count_params() - split.count_params() == 9 * 0.75 * (8**2 + 16**2 + 16**2)
    with pytest.raises(ValidationError, match=r"groups must divide .*Received: groups=3, width=4, max_width=8"):
        R3gan(width=4, max_width=8, groups=3)


@pytest.mark.parametrize("model", PYRAMIDS[1:3], ids=name)
def test_dcgan_normalises_every_convolution_but_the_first_or_every_weight(model):
    layers = pair(model, shape=(32, 32, 1), classes=3)[1].layers
    kinds = [type(layer).__name__ for layer in layers if layer.weights]
    assert (
        kinds
        == {
            "batch": ["Conv2D", "Conv2D", "BatchNormalization", "Conv2D", "BatchNormalization", "Dense", "Dense"],
            "spectral": ["SpectralConv2D"] * 3 + ["SpectralDense"] * 2,
        }[model.discriminator_norm]
    )


@pytest.mark.parametrize("model", [PYRAMIDS[2], PYRAMIDS[4]], ids=name)
def test_under_spectral_norm_no_weight_is_left_out(model):
    _, discriminator = pair(model, classes=3)
    weighted = [layer for layer in discriminator.layers if layer.weights]
    assert all(isinstance(layer, SpectralConv2D | SpectralDense) for layer in weighted)
    states = [layer.u for layer in weighted]
    assert {id(state) for state in states} <= {id(variable) for variable in discriminator.variables}
    assert not {id(state) for state in states} & {id(variable) for variable in discriminator.trainable_variables}


def test_conditional_batch_norm_is_the_formula():
    inputs, images, known = network_inputs("images", (2, 3, 4), 3)
    outputs = modulate(batch_norm(images, affine=False, dtype="float32"), known, dtype="float32")
    network = keras.Model(inputs, outputs)
    gain, bias = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    found = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.get_weights()[0].tolist() for layer in found] == [np.ones((3, 4)).tolist(), np.zeros((3, 4)).tolist()]
    for layer, weights in zip(found, (gain, bias), strict=True):
        layer.set_weights([weights])
    x, y = np.random.default_rng(1).normal(2, 3, size=(5, 2, 3, 4)).astype(np.float32), np.array([2, 0, 1, 1, 2])
    flat = x.reshape(-1, 4)
    normal = (x - flat.mean(axis=0)) / np.sqrt(flat.var(axis=0) + 1e-3)
    wanted = normal * gain[y][:, None, None, :] + bias[y][:, None, None, :]
    np.testing.assert_allclose(network({"images": x, "label": y}, training=True), wanted, atol=1e-4)


@pytest.mark.parametrize("spectral", [False, True])
def test_the_projection_is_the_formula(spectral):
    inputs, features, known = network_inputs("features", (6,), 3)
    initial = keras.initializers.GlorotUniform
    logits = projection_logits(features, known, dense=weight_layers(spectral=spectral)[1], initial=initial)
    network = keras.Model(inputs, logits)
    h, y = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32), np.array([2, 0, 1, 1])
    for _ in range(100):
        network({"features": h, "label": y}, training=True)
    linear, bias, embedding = (variable.numpy() for variable in network.trainable_variables)
    if linear.shape != (6, 1):
        embedding, linear, bias = linear, bias, embedding
    if spectral:
        linear, embedding = (w / np.linalg.svd(w, compute_uv=False)[0] for w in (linear, embedding))
    wanted = h @ linear + bias + (embedding[y] * h).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(network({"features": h, "label": y}, training=False), wanted, rtol=1e-3, atol=1e-5)


def spectral_layer(kind, *, dtype="float32"):
    if kind == "dense":
        return SpectralDense(7, dtype=dtype), tf.random.stateless_normal([3, 5], [1, 1])
    layer = SpectralConv2D(7, 3, strides=2, padding="same", dtype=dtype)
    return layer, tf.random.stateless_normal([3, 6, 8, 2], [1, 1])


over_layers = pytest.mark.parametrize("kind", ["dense", "convolution"])


@over_layers
def test_spectral_norm_divides_by_the_largest_singular_value(kind):
    layer, x = spectral_layer(kind)
    for _ in range(100):
        outputs = layer(x, training=True)
    layer.bias.assign(tf.range(7.0))
    kernel = layer.kernel.numpy()
    kernel /= np.linalg.svd(kernel.reshape(-1, 7), compute_uv=False)[0]
    outputs = layer(x, training=False)
    assert layer.compute_output_shape(x.shape) == outputs.shape
    wanted = x @ kernel if kind == "dense" else tf.nn.conv2d(x, kernel, strides=2, padding="SAME")
    np.testing.assert_allclose(outputs, wanted + tf.range(7.0), atol=1e-3)


@pytest.mark.parametrize(("padding", "shape"), [("same", (2, 4, 5, 7)), ("valid", (2, 3, 4, 7))])
def test_a_spectral_convolution_knows_its_shape(padding, shape):
    layer = SpectralConv2D(7, 3, strides=2, padding=padding, use_bias=False)
    assert layer.compute_output_shape((2, 8, 10, 3)) == layer(tf.zeros([2, 8, 10, 3])).shape == shape
    assert layer.compute_output_shape((None, None, 10, 3)) == (None, None, *shape[2:])


@over_layers
def test_the_gradient_flows_through_sigma_with_its_vectors_fixed(kind):
    layer, x = spectral_layer(kind)
    layer(x, training=True)
    matrix = layer.kernel.numpy().astype(np.float64).reshape(-1, 7)
    v = matrix @ layer.u.numpy()
    v /= np.linalg.norm(v)
    u = matrix.T @ v
    u /= np.linalg.norm(u)
    cost = np.random.default_rng(0).normal(size=matrix.shape)
    with tf.GradientTape() as tape:
        used = tf.reshape(layer.normalised_kernel(training=True), matrix.shape)
        loss = tf.reduce_sum(used * cost.astype(np.float32))
    gradient = tape.gradient(loss, layer.trainable_variables)[0].numpy().reshape(matrix.shape)
    np.testing.assert_allclose(layer.u, u, atol=1e-5)

    def value(weights):
        return (cost * weights / (v.T @ weights @ u)).sum()

    wanted = np.zeros_like(matrix)
    for place in np.ndindex(*matrix.shape):
        step = np.zeros_like(matrix)
        step[place] = 1e-6
        wanted[place] = (value(matrix + step) - value(matrix - step)) / 2e-6
    np.testing.assert_allclose(gradient, wanted, atol=1e-4 * np.abs(wanted).max() + 1e-5)


@over_layers
def test_one_iteration_a_pass_in_training_and_none_is_kept_otherwise(kind):
    layer, x = spectral_layer(kind)
    layer(x, training=True)
    states = [layer.u.numpy()]
    for training in (False, True):
        answers = [layer(x, training=training).numpy() for _ in range(2)]
        assert (answers[0] == answers[1]).all() == (not training)
        states.append(layer.u.numpy())
    assert (states[0] == states[1]).all()
    assert (states[1] != states[2]).any()
    np.testing.assert_allclose([np.linalg.norm(state) for state in states], 1.0, rtol=1e-5)


@over_layers
def test_spectral_norm_iterates_in_a_branch_of_a_graph(kind):
    layer, x = spectral_layer(kind)
    layer.build(x.shape)

    @tf.function
    def maybe(go):
        return tf.cond(go, lambda: tf.reduce_sum(layer(x, training=True)), lambda: 0.0)

    before = layer.u.numpy()
    maybe(tf.constant(False))
    assert (layer.u.numpy() == before).all()
    maybe(tf.constant(True))
    assert (layer.u.numpy() != before).any()


def test_sigma_is_computed_in_float32_under_mixed_precision():
    half, _ = spectral_layer("dense", dtype="mixed_bfloat16")
    full, _ = spectral_layer("dense")
    for layer in (half, full):
        layer.build((5, 5))
    full.set_weights(half.get_weights())
    for training in (True, True, False):
        used = half(tf.eye(5), training=training)
        wanted = tf.cast(full(tf.eye(5), training=training), tf.bfloat16)
        assert used.dtype == tf.bfloat16
        np.testing.assert_array_equal(tf.cast(used, tf.float32), tf.cast(wanted, tf.float32))
        np.testing.assert_array_equal(half.u.numpy(), full.u.numpy())
    assert half.u.dtype == half.kernel.dtype == "float32"


def test_dropout_drops_its_share_and_keeps_the_mean():
    layer = ReplicaDropout(0.3, seed=1, dtype="float32")
    kept = layer(tf.ones([50, 7, 7, 9]), training=True).numpy()
    assert (kept == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert kept.mean() == pytest.approx(1.0, abs=0.015)
    assert (layer(tf.ones([5, 3]), training=False).numpy() == 1).all()


def test_dropout_masks_change_with_every_call_and_repeat_with_the_seed():
    first, again, other = (ReplicaDropout(0.5, seed=seed, dtype="float32") for seed in (1, 1, 2))
    ones = tf.ones([8, 30])
    masks = [first(ones, training=True).numpy() for _ in range(2)]
    assert (masks[0] != masks[1]).any()
    assert (again(ones, training=True).numpy() == masks[0]).all()
    assert (other(ones, training=True).numpy() != masks[0]).any()


@pytest.mark.parametrize("features", [(7, 7, 4), (5,), (1,), (3, 3)])
def test_two_replicas_drop_what_one_would_have_dropped(features):
    batch = np.arange(1, 1 + 8 * np.prod(features), dtype=np.float32).reshape(8, *features)
    alone = ReplicaDropout(0.4, seed=3, dtype="float32")
    expected = [alone(tf.constant(batch), training=True).numpy() for _ in range(3)]
    strategy = resolve_strategy(2)
    with strategy.scope():
        shared = ReplicaDropout(0.4, seed=3, dtype="float32")
    halves = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(np.split(batch, 2)[context.replica_id_in_sync_group])
    )
    run = tf.function(lambda values: strategy.run(lambda value: shared(value, training=True), args=(values,)))
    for wanted in expected:
        got = np.concatenate([part.numpy() for part in strategy.experimental_local_results(run(halves))])
        np.testing.assert_array_equal(got, wanted)
