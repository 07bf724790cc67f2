"""Networks from images to images are what their papers say, take the sizes that they name, and ship as stock Keras."""

from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import TypeAdapter, ValidationError

from ganlib.models import AnyArchitecture, Fourier, ImageToImage, ResnetTranslator, Unet
from ganlib.models.convolutions import normalise, reflect, upsample
from ganlib.models.layers import ReplicaDropout
from ganlib.models.spectral import SpectralConv2D
from ganlib.training.strategy import resolve_strategy

SMALL = {"discriminator_layers": 1, "discriminator_width": 4}
MODELS = {
    "unet": Unet(width=4, max_width=8, **SMALL),
    "unet_instance": Unet(
        width=4, norm="instance", upsampling="transposed", depth=3, **{**SMALL, "discriminator_norm": "batch"}
    ),
    "unet_convolved": Unet(width=6, norm="none", convolutions=1, depth=2, **SMALL),
    "resnet_translator": ResnetTranslator(width=4, blocks=5, **SMALL),
    "resnet_translator_transposed": ResnetTranslator(
        width=4, blocks=1, upsampling="transposed", **{**SMALL, "discriminator_norm": "spectral"}
    ),
    "fourier": Fourier(width=4, halvings=2, blocks=1, **SMALL),
    "fourier_gated": Fourier(
        width=4, halvings=1, blocks=1, gated=True, upsampling="transposed", **{**SMALL, "discriminator_norm": "none"}
    ),
}
SHAPE = (16, 24, 3)

over_models = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(3)


def generator(model, shape=SHAPE, *, channels=3, dtype="float32", seed=None):
    return model.generator(image_shape=shape, channels=channels, dtype=dtype, seed=seed)


def discriminator(model, shape=SHAPE, *, dtype="float32", condition_channels=0):
    return model.discriminator(image_shape=shape, classes=0, dtype=dtype, seed=0, condition_channels=condition_channels)


def pictures(shape=SHAPE, *, count=4, number=0):
    return tf.random.stateless_uniform([count, *shape], [number, 1], minval=-1)


def perturb(network, *, scale=0.1):
    for index, variable in enumerate(network.trainable_variables):
        variable.assign_add(scale * tf.random.stateless_normal(variable.shape, [index, 7]))


def trainable(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


def test_every_kind_is_asked_these_questions_and_can_be_named_by_a_word():
    kinds = {model.kind for model in MODELS.values()}
    members = get_args(get_args(AnyArchitecture)[0])
    assert kinds == {member().kind for member in members if issubclass(member, ImageToImage)}
    assert {TypeAdapter(AnyArchitecture).validate_python(kind).kind for kind in kinds} == kinds
    assert all(TypeAdapter(AnyArchitecture).validate_python(model.to_parameter()) == model for model in MODELS.values())


@pytest.mark.parametrize(
    ("model", "size", "wanted"),
    [
        (Unet(upsampling="transposed"), 256, 54_413_955),
        (Unet(upsampling="transposed"), 128, 41_828_995),  # the authors' unet_128
        (ResnetTranslator(upsampling="transposed"), 256, 11_378_179),
        (ResnetTranslator(upsampling="transposed", blocks=6), 128, 7_837_699),
    ],
)
def test_generators_have_the_sizes_of_the_authors(model, size, wanted):
    assert trainable(generator(model, (size, size, 3))) == wanted


def test_lama_has_27_million_parameters():
    local, outside, middle = 128, 384, 192
    ffc = 9 * 512 * local + 9 * local * outside  # to the local channels from all, to the global ones from the local
    ffc += outside * middle + (2 * middle) ** 2 + middle * outside  # the spectral transform
    ffc += 2 * (512 + middle + 2 * middle)  # gains and biases of batch norm
    stem = 49 * 4 * 64 + 9 * (64 * 128 + 128 * 256 + 256 * 512) + 2 * (64 + 128 + 256 + 512)
    tail = 9 * (512 * 256 + 256 * 128 + 128 * 64) + 2 * (256 + 128 + 64) + 49 * 64 * 3 + 3
    network = generator(Fourier(upsampling="transposed"), (256, 256, 4))
    assert trainable(network) == stem + 18 * ffc + tail
    assert round(trainable(network) / 1e6) == 27  # as the paper says


@pytest.mark.parametrize(
    ("settings", "condition", "wanted"),
    [
        ({}, 0, 2_764_737),
        ({"discriminator_norm": "none"}, 0, 2_764_737),
        ({"discriminator_norm": "batch"}, 3, 2_768_705),  # that of pix2pix, which sees six channels
    ],
)
def test_the_discriminator_of_70_pixels_is_that_of_the_authors(settings, condition, wanted):
    network = discriminator(Unet(**settings), (256, 256, 3), condition_channels=condition)
    assert trainable(network) == wanted
    inputs = {"images": (1, 256, 256, 3), "condition": (1, 256, 256, condition)}
    spec = {name: keras.KerasTensor(shape) for name, shape in inputs.items() if name in network.input}
    assert network.compute_output_spec(spec).shape == (1, 30, 30, 1)


@pytest.mark.parametrize("layers", range(7))
def test_a_logit_sees_a_patch_of_the_side_that_the_setting_says(layers):
    side = (1, 16, 34, 70, 142, 286, 574)[layers]
    model = ResnetTranslator(discriminator_layers=layers, discriminator_width=1, discriminator_norm="none")
    size = -(-(side + 2**layers) // 64) * 128
    network = discriminator(model, (size, size, 1))
    for variable in network.trainable_variables:
        variable.assign(tf.ones_like(variable))
    images = tf.ones([1, size, size, 1])
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = network({"images": images})
        middle = logits[0, logits.shape[1] // 2, logits.shape[2] // 2, 0]
    rows, columns = np.nonzero(tape.gradient(middle, images).numpy()[0, :, :, 0])
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (side, side)
    assert len(rows) == side**2


SIZES = {
    "unet": [(16, 16), (28, 28), (48, 80), (64, 4 * 9)],
    "unet_instance": [(8, 8), (24, 40)],
    "unet_convolved": [(8, 8), (28, 20)],
    "resnet_translator": [(8, 8), (28, 20), (64, 8)],
    "resnet_translator_transposed": [(8, 12), (40, 64)],
    "fourier": [(8, 8), (28, 20), (64, 8)],
    "fourier_gated": [(6, 6), (10, 34)],
}


@over_models
@pytest.mark.parametrize("channels", [1, 4])
def test_networks_fit_every_size_that_they_name(model, channels):
    [name] = [name for name, other in MODELS.items() if other is model]
    for height, width in SIZES[name]:
        network, judge = (
            generator(model, (height, width, channels), channels=3),
            discriminator(model, (height, width, 3)),
        )
        assert network.input["image"].shape == (None, None, None, channels)
        multiple = model.multiple_at((height, width, channels))
        for size in ((height, width), (height + multiple, width + 3 * multiple)):
            images = network({"image": pictures((*size, channels), count=2)}, training=False)
            assert images.shape == (2, *size, 3)
            assert images.dtype == tf.float32
            assert float(tf.reduce_max(tf.abs(images))) <= 1.0
            assert np.ptp(images) > 0.0
            logits = judge({"images": images}, training=False)
            halved = [-(-side // 2) - 2 for side in size]
            assert logits.shape == (2, *halved, 1)


def test_a_unet_is_as_deep_as_its_image_allows():
    depths = {(256, 256): 8, (512, 1024): 8, (48, 80): 4, (28, 28): 2, (64, 36): 2, (128, 128): 7}
    assert {size: Unet().levels((*size, 3)) for size in depths} == depths
    assert Unet().multiple_at((48, 80, 3)) == 16
    assert (Unet().multiple_of, Unet(depth=5).multiple_of, Unet(depth=5).multiple_at((64, 64, 1))) == (4, 32, 32)


def test_instance_norm_never_sees_a_single_pixel_where_it_saw_more_in_training():
    """It would make zero of it, and all that the innermost levels know would be lost without a word."""
    shapes = [(48, 80), (64, 64), (64, 128), (28, 28)]
    for norm, wanted in (("instance", [32, 64, 64, 8]), ("batch", [16, 64, 64, 4])):
        assert [Unet(norm=norm).smallest_at((*shape, 3)) for shape in shapes] == wanted
    assert ResnetTranslator().smallest_at((64, 64, 3)) == ResnetTranslator().smallest == 8
    network = generator(Unet(width=4, norm="instance", discriminator_layers=1), (24, 40, 3))
    perturb(network)
    innermost = keras.Model(network.input, network.get_layer("feature_2").output)
    for side, seen in ((8, False), (16, True)):
        features = innermost({"image": pictures((side, side, 3))}).numpy()
        assert (np.abs(features).max() > 1e-3) == seen


@pytest.mark.parametrize(("size", "encoder"), [((32, 32), 3), ((32, 64), 3), ((48, 80), 3), ((16, 16), 2)])
def test_a_unet_normalises_all_maps_but_the_first_and_one_of_a_single_row(size, encoder):
    for norm, layer in (("batch", keras.layers.BatchNormalization), ("instance", keras.layers.GroupNormalization)):
        model = Unet(width=4, norm=norm, discriminator_layers=1)
        layers = generator(model, (*size, 1)).layers
        decoder = model.levels((*size, 1)) - 1
        assert sum(isinstance(each, layer) for each in layers) == encoder + decoder
        convolutions = [each for each in layers if isinstance(each, keras.layers.Conv2D)]
        assert [each.use_bias for each in convolutions[:-1]] == [norm == "instance"] * (len(convolutions) - 1)


@pytest.mark.parametrize(
    ("model", "shape", "complaint"),
    [
        (Unet(), (30, 32, 3), "unet takes images whose sides are multiples of 4 and at least 20 pixels"),
        (Unet(), (64, 16, 3), r"at least 20 pixels \(with discriminator_layers=3\)\. Received: size=64x16"),
        (Unet(depth=6), (64, 96, 3), r"multiples of 64 and at least 64 pixels\. Received: size=64x96"),
        (ResnetTranslator(), (130, 128, 3), "multiples of 4 and at least 20 pixels"),
        (ResnetTranslator(discriminator_layers=0), (4, 8, 3), "at least 8 pixels. Received: size=4x8"),
        (Fourier(), (60, 64, 1), "fourier takes images whose sides are multiples of 8 and at least 40 pixels"),
        (Fourier(), (32, 64, 1), r"at least 40 pixels \(with discriminator_layers=4\)\. Received: size=32x64"),
    ],
)
def test_a_size_that_a_network_cannot_take_is_refused_in_one_line(model, shape, complaint):
    for build in (lambda: model.check(shape), lambda: generator(model, shape), lambda: discriminator(model, shape)):
        with pytest.raises(ValueError, match=complaint) as caught:
            build()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layers", range(4))
def test_the_smallest_size_that_is_taken_works_and_gives_a_logit(layers):
    model = ResnetTranslator(width=2, blocks=1, discriminator_layers=layers, discriminator_width=1)
    side = max(8, {0: 1, 1: 8, 2: 12, 3: 20}[layers])
    model.check((side, side, 1))
    if side > 8:
        with pytest.raises(ValueError, match=f"at least {side} pixels"):
            model.check((side - 4, side, 1))
    images = generator(model, (side, side, 1), channels=1)({"image": pictures((side, side, 1))})
    assert np.isfinite(discriminator(model, (side, side, 1))({"images": images})).all()


def test_settings_that_no_network_can_have_are_refused():
    with pytest.raises(ValidationError, match=r"global_ratio .*Received: global_ratio=0.05, width=2, halvings=3"):
        Fourier(width=2, global_ratio=0.05)
    with pytest.raises(ValidationError, match="max_width, the upper bound"):
        Unet(width=32, max_width=16)
    with pytest.raises(ValueError, match=r"unet has no classes in its discriminator\. Received: classes=3"):
        Unet().discriminator(image_shape=(64, 64, 3), classes=3, dtype="float32", seed=0)


@over_models
def test_mixed_precision_computes_in_bfloat16_and_answers_in_float32(model):
    network, judge = generator(model, dtype="mixed_bfloat16", seed=1), discriminator(model, dtype="mixed_bfloat16")
    images = network({"image": pictures()}, training=True)
    logits = judge({"images": images}, training=True)
    assert images.dtype == logits.dtype == tf.float32
    for each in (network, judge):
        convolutions = [layer for layer in each.layers if "Conv2D" in type(layer).__name__]
        half = [layer for layer in convolutions if layer.compute_dtype == "bfloat16"]
        assert len(half) >= len(convolutions) - 1  # the logits are exact
        assert {variable.dtype for variable in each.weights} == {"float32"}
    exact = generator(model, seed=None)
    exact.set_weights(network.get_weights())
    network = generator(model, dtype="mixed_bfloat16", seed=None)
    network.set_weights(exact.get_weights())
    difference = np.abs(network({"image": pictures()}) - exact({"image": pictures()}))
    assert difference.mean() < 0.02


@over_models
def test_without_a_seed_the_weights_are_the_same_and_nothing_is_random(model):
    networks = []
    for seed in (None, 5):
        keras.utils.set_random_seed(3)
        networks.append(generator(model, seed=seed))
    plain, random = networks
    for one, other in zip(plain.get_weights(), random.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(type(layer).__module__.startswith("keras.") for layer in plain.layers)
    kinds = [[type(layer) for layer in network.layers if not isinstance(layer, ReplicaDropout)] for network in networks]
    assert kinds[0] == kinds[1]
    np.testing.assert_array_equal(plain({"image": pictures()}), random({"image": pictures()}))
    answers = [network({"image": pictures()}, training=True).numpy() for network in (plain, plain, random, random)]
    np.testing.assert_array_equal(answers[0], answers[1])
    dropped = [layer for layer in random.layers if isinstance(layer, ReplicaDropout)]
    assert (answers[2] != answers[3]).any() == bool(dropped) == isinstance(model, Unet)


@pytest.mark.parametrize(("norm", "count"), [("none", 2), ("batch", 1), ("instance", 3)])
def test_convolutions_of_a_unet_stand_at_each_size_on_both_ways(norm, count):
    network = generator(Unet(width=8, max_width=16, depth=3, convolutions=count, norm=norm, **SMALL), (24, 40, 3))
    flat = [
        layer
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D) and (layer.strides, layer.padding) == ((1, 1), "same")
    ]
    # Down: at the size of the image, then after each halving. Up: at each size but the innermost, and the images.
    channels = [*[4] * count, *[8] * count, *[16] * count, *[16] * count, *[16] * count, *[8] * count, *[4] * count, 3]
    assert [layer.filters for layer in flat] == channels
    assert all(layer.kernel_size == (3, 3) for layer in flat)
    assert [layer.use_bias for layer in flat] == [norm != "batch"] * (len(flat) - 1) + [True]
    # It ends in a pixel, which has no neighbours.
    single = generator(Unet(width=8, convolutions=count, norm=norm, **SMALL), (16, 16, 3))
    at_a_pixel = [
        layer for layer in single.layers if isinstance(layer, keras.layers.Conv2D) and layer.strides == (1, 1)
    ]
    assert len(at_a_pixel) == count * 8 + 4 + 1  # of eight sizes on both ways; one after each doubling; the images


def test_without_norm_the_signal_keeps_its_size():
    keras.utils.set_random_seed(3)
    for model in (Unet(norm="none", convolutions=2, depth=4), Unet(norm="none", depth=4)):
        network = generator(model, (64, 64, 3))
        inner = keras.Model(network.input, [network.get_layer(f"feature_{level}").output for level in range(4)])
        deviations = [float(np.std(features)) for features in inner({"image": pictures((64, 64, 3))})]
        assert max(deviations) < 4 * min(deviations)


def test_dropout_is_in_the_first_three_levels_of_the_decoder_alone():
    def channels(model, size):
        network = generator(model, (size, size, 1), channels=1, seed=1)
        return [(layer.output.shape[-1], layer._rate) for layer in network.layers if isinstance(layer, ReplicaDropout)]

    deep = Unet(width=4, max_width=1024, discriminator_layers=0)
    assert channels(deep, 64) == [(64, 0.5), (32, 0.5), (16, 0.5)]
    assert channels(deep, 28) == [(4, 0.5)]
    assert channels(deep.model_copy(update={"dropout": 0.0}), 64) == []


FRESH = (
    "import sys, pathlib, numpy, keras\n"
    "for path in sorted(pathlib.Path(sys.argv[1]).glob('*.keras')):\n"
    "    arrays = numpy.load(path.with_suffix('.npz'))\n"
    "    network = keras.models.load_model(path, compile=False)\n"
    "    for size in ('small', 'large'):\n"
    "        made = network({'image': arrays[size]}, training=False)\n"
    "        numpy.testing.assert_allclose(numpy.array(made), arrays[size + '_out'], atol=1e-5)\n"
    "    print(path.stem)\n"
    "assert not [name for name in sys.modules if name.startswith('ganlib')]\n"
)


def test_generators_are_loaded_without_this_project_and_take_another_size(fresh, tmp_path):
    for number, (name, model) in enumerate(MODELS.items()):
        for dtype in ("float32", "mixed_bfloat16")[number % 2 :]:
            network = generator(model, dtype=dtype)
            perturb(network)
            inputs = {"small": pictures(), "large": pictures((32, 40, 3), count=1)}
            outputs = {f"{size}_out": network({"image": image}, training=False) for size, image in inputs.items()}
            path = tmp_path / f"{name}-{dtype}.keras"
            network.save(path)
            np.savez(
                path.with_suffix(".npz"), **{key: np.asarray(value) for key, value in {**inputs, **outputs}.items()}
            )
    done = fresh("-c", FRESH, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.split()) == (3 * len(MODELS) + 1) // 2


@over_models
def test_generators_can_be_cloned_with_their_weights_and_features(model):
    network = generator(model)
    perturb(network)
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    for layer in ("feature_0", "feature_1", "images"):
        one, other = (keras.Model(each.input, each.get_layer(layer).output) for each in (network, copy))
        np.testing.assert_allclose(other({"image": pictures()}), one({"image": pictures()}), atol=1e-6)


def features(network):
    names = [layer.name for layer in network.layers if layer.name.startswith("feature_")]
    assert sorted(names) == [f"feature_{number}" for number in range(len(names))]
    return [network.get_layer(f"feature_{number}").output.shape[-1] for number in range(len(names))]


def test_features_are_named_in_the_order_of_the_network():
    assert features(discriminator(Unet(), (64, 64, 3))) == [64, 128, 256, 512]
    assert features(discriminator(Unet(discriminator_layers=0), (64, 64, 3))) == [64, 128]
    assert features(discriminator(Unet(discriminator_layers=5), (128, 128, 3))) == [64, 128, 256, 512, 512, 512]
    assert features(generator(Unet(width=4), (64, 64, 3))) == [4, 8, 16, 32, 64, 128]
    assert features(generator(Fourier(width=4, halvings=2, blocks=3), (64, 64, 4))) == [8, 16, 16, 16, 16]
    for blocks, wanted in ((9, [3, 8, 16, 16, 16]), (6, [3, 8, 16, 16, 16]), (4, [3, 8, 16, 16])):
        assert features(generator(ResnetTranslator(width=4, blocks=blocks), (64, 64, 3))) == wanted


def test_features_of_the_translator_are_those_that_cut_compares():
    network = generator(ResnetTranslator(width=4, blocks=6), (32, 32, 3))
    perturb(network)
    names = [f"feature_{number}" for number in range(5)]
    values = keras.Model(network.input, [network.get_layer(name).output for name in names])({"image": pictures()})
    assert [value.shape[1:3] for value in values] == [(22, 30), (8, 12), (4, 6), (4, 6), (4, 6)]
    border = np.pad(pictures(), ((0, 0), (3, 3), (3, 3), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(values[0], border)
    sums = [layer for layer in network.layers if isinstance(layer, keras.layers.Add)]
    assert [sums.index(network.get_layer(name)) for name in names[3:]] == [0, 4]


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_instance_norm_is_the_formula(dtype):
    inputs = keras.Input((None, None, 3))
    network = keras.Model(inputs, normalise(inputs, "instance", dtype=dtype))
    assert not network.weights
    x = np.random.default_rng(0).normal(2, 3, size=(3, 5, 4, 3)).astype(np.float32)
    wanted = np.empty_like(x)
    for image in range(3):
        for channel in range(3):
            plane = x[image, :, :, channel]
            wanted[image, :, :, channel] = (plane - plane.mean()) / np.sqrt(plane.var() + 1e-5)
    np.testing.assert_allclose(tf.cast(network(x), tf.float32), wanted, atol=1e-5 if dtype == "float32" else 0.03)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_border_mirrors_the_image(channels):
    inputs = keras.Input((None, None, channels))
    x = pictures((5, 4, channels)).numpy()
    wanted = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(keras.Model(inputs, reflect(inputs, 3))(x), wanted)


@pytest.mark.parametrize("upsampling", ["resize", "transposed"])
@pytest.mark.parametrize("kernel", [3, 4])
def test_only_transposed_convolutions_leave_a_checkerboard_on_a_constant_image(upsampling, kernel):
    inputs = keras.Input((None, None, 2))
    settings = {"use_bias": False, "dtype": "float32"}
    network = keras.Model(inputs, upsample(inputs, 3, upsampling=upsampling, kernel=kernel, settings=settings))
    outputs = network(tf.ones([1, 6, 7, 2])).numpy()
    assert outputs.shape == (1, 12, 14, 3)
    spread = np.ptp(outputs[:, 2:-2, 2:-2], axis=(1, 2)).min()
    assert spread < 1e-5 if upsampling == "resize" else spread > 1e-2
    if upsampling == "resize":  # nor an edge
        np.testing.assert_allclose(outputs, outputs[:, :1, :1].repeat(12, 1).repeat(14, 2), atol=1e-5)


def test_a_condition_is_judged_beside_the_image():
    model = MODELS["resnet_translator"]
    judge = discriminator(model, condition_channels=2)
    assert {name: tensor.shape for name, tensor in judge.input.items()} == {
        "images": (None, None, None, 3),
        "condition": (None, None, None, 2),
    }
    images, conditions = pictures(), [pictures((16, 24, 2), number=number) for number in (1, 2)]
    logits = [judge({"images": images, "condition": condition}).numpy() for condition in conditions]
    assert np.abs(logits[0] - logits[1]).max() > 1e-6
    both = discriminator(model, (16, 24, 5))
    both.set_weights(judge.get_weights())
    np.testing.assert_allclose(both({"images": tf.concat([images, conditions[0]], -1)}), logits[0], atol=1e-6)


def test_under_spectral_norm_no_weight_of_the_discriminator_is_left_out():
    judge = discriminator(Unet(discriminator_norm="spectral", discriminator_width=4), (20, 24, 3))
    weighted = [layer for layer in judge.layers if layer.weights]
    assert len(weighted) == 5
    assert all(isinstance(layer, SpectralConv2D) for layer in weighted)


SINGLE = {
    "single": Unet(depth=1, width=4, **SMALL),
    "single_convolved": Unet(depth=1, width=4, convolutions=1, **SMALL),
    "single_instance": Unet(depth=1, width=4, convolutions=1, norm="instance", **SMALL),
}


@pytest.mark.parametrize("model", [*MODELS.values(), *SINGLE.values()], ids=[*MODELS, *SINGLE])
def test_a_network_that_mixes_images_says_so_and_no_other_has_batch_norm(model):
    layers = generator(model).layers
    assert model.mixes_images == any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)


@over_models
def test_a_judge_of_batches_says_so_and_no_other_looks_at_the_rest_of_a_batch(model):
    judge = discriminator(model)
    before, images = judge.get_weights(), pictures()
    logits = judge({"images": images}, training=True)[0]
    judge.set_weights(before)
    others = judge({"images": tf.concat([images[:1], images[1:] ** 2], axis=0)}, training=True)[0]
    assert (float(tf.reduce_max(tf.abs(logits - others))) > 1e-6) == model.judges_batches


@pytest.mark.parametrize(
    ("name", "compiled"),
    [*((name, False) for name in MODELS), *((name, True) for name in ("unet", "resnet_translator", "fourier_gated"))],
)
def test_gradients_are_finite_and_reach_every_kernel(name, compiled):
    """Also through the slope of a discriminator, as penalties have it, and where the step is compiled."""
    network, judge = generator(MODELS[name], seed=1), discriminator(MODELS[name])
    variables = network.trainable_variables + judge.trainable_variables

    @tf.function(autograph=False, jit_compile=compiled)
    def gradients(images):
        with tf.GradientTape() as outer:
            fake = network({"image": images}, training=True)
            with tf.GradientTape() as inner:
                inner.watch(fake)
                logits = judge({"images": fake}, training=True)
            slope = inner.gradient(logits, fake)
            loss = tf.reduce_mean(tf.square(logits)) + tf.reduce_sum(tf.square(slope)) + tf.reduce_mean(tf.square(fake))
        return outer.gradient(loss, variables, unconnected_gradients="zero")

    for variable, gradient in zip(variables, gradients(pictures()), strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert variable.name != "kernel" or np.abs(gradient).max() > 0.0, variable.path


@over_models
def test_two_replicas_compute_what_one_does(model):
    strategy = resolve_strategy(2)
    alone = generator(model, seed=1), discriminator(model)
    with strategy.scope():
        shared = generator(model, seed=1), discriminator(model)
    for one, both, name in zip(alone, shared, ("image", "images"), strict=True):
        perturb(one)
        both.set_weights(one.get_weights())
        values = pictures()
        halves = strategy.experimental_distribute_values_from_function(
            lambda context, values=values: tf.split(values, 2)[context.replica_id_in_sync_group]
        )
        run = tf.function(
            lambda parts, both=both, name=name: strategy.run(lambda x: both({name: x}, training=True), args=(parts,))
        )
        for _ in range(2):
            wanted = one({name: values}, training=True).numpy()
            got = np.concatenate([part.numpy() for part in strategy.experimental_local_results(run(halves))])
            np.testing.assert_allclose(got, wanted, atol=5e-5)
        for variable, other in zip(one.weights, both.weights, strict=True):
            for copy in strategy.experimental_local_results(other.value):
                np.testing.assert_allclose(copy, variable.numpy(), atol=5e-5, err_msg=variable.path)
