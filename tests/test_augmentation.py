"""DiffAugment, against an implementation that goes pixel by pixel."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from ganlib.training.augmentation import NUMBERS, augment

ALL = ("colour", "translation", "cutout")
CHOICES = [chosen for count in range(4) for chosen in itertools.combinations(ALL, count)]
EXACT = [chosen for chosen in CHOICES if "colour" not in chosen]
SHAPES = [(8, 8, 3), (28, 28, 1), (9, 17, 3), (11, 20, 1)]
ALMOST_ONE = np.nextafter(np.float32(1), np.float32(0))
MIDDLE = np.full(NUMBERS, 0.5, np.float32)


def drawn(shape, count=16, seed=0):
    """Images and numbers."""
    generator = np.random.default_rng(seed)
    images = generator.uniform(-1, 1, (count, *shape)).astype(np.float32)
    return images, generator.random((count, NUMBERS), np.float32)


def expected(image, numbers, transforms):
    """One image float64 [H, W, C], one pixel after the other."""
    height, width, channels = image.shape
    image = image.astype(np.float64)
    brightness, saturation, contrast, shift_y, shift_x, hole_y, hole_x = (float(number) for number in numbers)
    if "colour" in transforms and channels == 3:
        image = image + (brightness - 0.5)
        for y, x in np.ndindex(height, width):
            grey = sum(image[y, x]) / 3
            image[y, x] = [grey + 2 * saturation * (value - grey) for value in image[y, x]]
        mean = image.sum() / image.size
        image = mean + (0.5 + contrast) * (image - mean)
    if "translation" in transforms:
        most_y, most_x = int(height / 8 + 0.5), int(width / 8 + 0.5)
        down = np.arange(-most_y, most_y + 1)[int(shift_y * (2 * most_y + 1))]
        right = np.arange(-most_x, most_x + 1)[int(shift_x * (2 * most_x + 1))]
        moved = np.zeros_like(image)
        for y, x in np.ndindex(height, width):
            if 0 <= y + down < height and 0 <= x + right < width:
                moved[y + down, x + right] = image[y, x]
        image = moved
    if "cutout" in transforms:
        image = image.copy()
        hole_height, hole_width = int(height / 2 + 0.5), int(width / 2 + 0.5)
        centre_y = int(hole_y * (height + 1 if hole_height % 2 == 0 else height))
        centre_x = int(hole_x * (width + 1 if hole_width % 2 == 0 else width))
        for y, x in itertools.product(range(hole_height), range(hole_width)):
            row, column = centre_y - hole_height // 2 + y, centre_x - hole_width // 2 + x
            if 0 <= row < height and 0 <= column < width:
                image[row, column] = 0
    return image


def adjoint(images, numbers, directions, transforms):
    """The gradient of <T x, y> with respect to x."""
    images = tf.convert_to_tensor(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        product = tf.reduce_sum(augment(images, numbers, transforms=transforms) * directions)
    return tape.gradient(product, images, unconnected_gradients="zero")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("transforms", CHOICES, ids="+".join)
def test_each_image_changes_as_the_paper_says(transforms, shape):
    images, numbers = drawn(shape)
    found = augment(images, numbers, transforms=transforms)
    wanted = np.stack([expected(image, own, transforms) for image, own in zip(images, numbers, strict=True)])
    assert found.shape == images.shape
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0 if transforms in EXACT or shape[2] == 1 else 1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_at_their_extremes(shape):
    numbers = np.array(list(itertools.product([0, ALMOST_ONE], repeat=NUMBERS)), np.float32)
    images = np.repeat(drawn(shape, count=1)[0], len(numbers), axis=0)
    wanted = np.stack([expected(image, own, ALL) for image, own in zip(images, numbers, strict=True)])
    np.testing.assert_allclose(augment(images, numbers, transforms=ALL), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [8, 9, 28, 32, 64])
def test_every_shift_and_every_hole_is_as_likely_as_another(side):
    steps = 2 * int(side / 8 + 0.5) + 1
    numbers = np.tile(MIDDLE, (steps, 1))
    numbers[:, 3] = (np.arange(steps) + 0.5) / steps
    rows = np.broadcast_to(np.arange(1, side + 1, dtype=np.float32)[:, None, None], (steps, side, side, 1))
    middle = augment(rows, numbers, transforms=["translation"])[:, side // 2, side // 2, 0]
    np.testing.assert_array_equal(side // 2 + 1 - middle, np.arange(steps) - steps // 2)
    hole = (side + 1) // 2
    places = side + 1 - hole % 2
    numbers = np.tile(MIDDLE, (places, 1))
    numbers[:, 5] = (np.arange(places) + 0.5) / places
    kept = augment(np.ones((places, side, side, 1), np.float32), numbers, transforms=["cutout"])[:, :, side // 2, 0]
    holes = side - np.sum(kept, axis=1)
    assert holes.max() == hole
    assert holes.min() == hole // 2 + hole % 2
    np.testing.assert_array_equal(holes, holes[::-1])


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e-45, np.finfo(np.float32).max, 1 + 2**-23])
def test_translation_moves_every_bit_and_touches_no_other_pixel(value):
    images = np.ones((1, 16, 16, 1), np.float32)
    images[0, 8, 8, 0] = value
    numbers = MIDDLE.copy()[None]
    numbers[0, 3:5] = 0, ALMOST_ONE
    moved = augment(images, numbers, transforms=["translation"]).numpy()
    wanted = np.zeros_like(images)
    wanted[:, :14, 2:] = images[:, 2:, :14]
    np.testing.assert_array_equal(moved.view(np.uint32), wanted.view(np.uint32))


def test_grey_images_keep_their_colour():
    images, numbers = drawn((28, 28, 1))
    np.testing.assert_array_equal(augment(images, numbers, transforms=["colour"]), images)
    np.testing.assert_array_equal(
        augment(images, numbers, transforms=ALL), augment(images, numbers, transforms=["translation", "cutout"])
    )


def test_the_order_in_which_transforms_are_named_has_no_say():
    images, numbers = drawn((8, 8, 3))
    np.testing.assert_array_equal(
        augment(images, numbers, transforms=ALL), augment(images, numbers, transforms=ALL[::-1])
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("transforms", CHOICES, ids="+".join)
def test_the_gradient_is_the_adjoint(transforms, shape):
    images, numbers = drawn(shape)
    directions = np.random.default_rng(1).normal(size=images.shape).astype(np.float32)
    constant = augment(np.zeros_like(images), numbers, transforms=transforms)  # what brightness adds
    linear = augment(images, numbers, transforms=transforms) - constant
    back = adjoint(images, numbers, directions, transforms)
    one = np.sum(np.float64(linear) * directions, axis=(1, 2, 3))
    other = np.sum(images * np.float64(back), axis=(1, 2, 3))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
    if transforms in EXACT:  # moved back, not summed up
        assert np.isin(back, [0, *directions.ravel()]).all()


def test_a_gradient_can_be_differentiated_again():
    images, numbers = drawn((9, 17, 3))
    directions = tf.Variable(np.random.default_rng(1).normal(size=images.shape).astype(np.float32))
    with tf.GradientTape() as tape:
        product = tf.reduce_sum(adjoint(images, numbers, directions, ALL) * images)
    constant = augment(np.zeros_like(images), numbers, transforms=ALL)
    linear = augment(images, numbers, transforms=ALL) - constant
    np.testing.assert_allclose(tape.gradient(product, directions), linear, rtol=0, atol=1e-5)


@pytest.mark.parametrize("transform", ALL)
def test_equal_numbers_change_alike_and_other_numbers_otherwise(transform):
    images = np.repeat(drawn((16, 16, 3), count=1)[0], 8, axis=0)
    numbers = drawn((1, 1, 1), count=8)[1]
    numbers[1] = numbers[0]
    found = augment(images, numbers, transforms=[transform]).numpy()
    assert len({image.tobytes() for image in found}) == 7
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("transforms", CHOICES, ids="+".join)
def test_a_replicas_share_is_that_part_of_the_whole(transforms):
    images, numbers = drawn((16, 16, 3))
    whole = augment(images, numbers, transforms=transforms)
    shares = [augment(images[part], numbers[part], transforms=transforms) for part in (slice(8), slice(8, 16))]
    np.testing.assert_allclose(tf.concat(shares, axis=0), whole, rtol=0, atol=0 if transforms in EXACT else 1e-6)


@pytest.mark.parametrize("transforms", [("translation", "cutout"), ALL], ids="+".join)
@pytest.mark.parametrize("jit", [False, True])
def test_a_graph_gives_the_same_values_and_gradients(transforms, jit):
    images, numbers = drawn((16, 16, 3))
    directions = np.random.default_rng(1).normal(size=images.shape).astype(np.float32)

    @tf.function(autograph=False, jit_compile=jit)
    def compiled(images, numbers, directions):
        values = augment(images, numbers, transforms=transforms)
        return values, adjoint(images, numbers, directions, transforms)

    values, back = compiled(*map(tf.constant, (images, numbers, directions)))
    atol = 0 if transforms in EXACT else 1e-5
    np.testing.assert_allclose(values, augment(images, numbers, transforms=transforms), rtol=0, atol=atol)
    np.testing.assert_allclose(back, adjoint(images, numbers, directions, transforms), rtol=0, atol=atol)


def test_a_batch_of_unknown_size_is_possible():
    images, numbers = drawn((16, 16, 3))
    specs = tf.TensorSpec([None, 16, 16, 3]), tf.TensorSpec([None, NUMBERS])
    found = tf.function(lambda *given: augment(*given, transforms=ALL), input_signature=specs)
    np.testing.assert_allclose(found(images, numbers), augment(images, numbers, transforms=ALL), rtol=0, atol=1e-6)
