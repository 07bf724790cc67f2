"""Holes are filled from their borders, in layers that any process has."""

import keras
import numpy as np
import pytest

from ganlib.models.fill import BOXES, SURE, fill, move


def network(channels=3):
    image, mask = keras.Input((None, None, channels), name="image"), keras.Input((None, None, 1), name="mask")
    return keras.Model({"image": image, "mask": mask}, fill(image, mask))


def filled(image, mask):
    return np.asarray(network(image.shape[-1])({"image": image, "mask": mask.astype(np.float32)}))


def with_hole(height, width, top, left, side, *, seed=0):
    image = np.random.default_rng(seed).uniform(-1, 1, (1, height, width, 3)).astype(np.float32)
    mask = np.zeros((1, height, width, 1), bool)
    mask[:, top : top + side, left : left + side] = True
    return image, mask


def simulated(image, mask):
    """Pixel by pixel, with sums over windows that end at the border of the image."""
    known = (~mask[0]).astype(np.float64)
    sums = np.concatenate([image[0] * known, known], axis=-1)

    def average(values, box, axis):
        values, half = np.moveaxis(values, axis, 0), box // 2
        means = [values[max(0, place - half) : place + half + 1].mean(axis=0) for place in range(len(values))]
        return np.moveaxis(np.stack(means), 0, axis)

    levels = []
    for box in BOXES:
        sums = average(average(sums, box, 0), box, 1)
        levels.append(sums)
    result = levels[-1][..., :-1] / (levels[-1][..., -1:] + 1e-6)
    for level in reversed(levels[:-1]):
        share = np.clip(SURE * level[..., -1:], 0, 1)
        result = share * level[..., :-1] / (level[..., -1:] + 1e-6) + (1 - share) * result
    return np.where(mask[0], result, image[0])


@pytest.mark.parametrize("shape", [(20, 13, 3, 2, 9), (7, 40, 0, 30, 10), (16, 16, 0, 0, 15)], ids=str)
def test_a_hole_has_the_colours_that_a_loop_gives_it(shape):
    image, mask = with_hole(*shape)
    result = filled(image, mask)
    np.testing.assert_allclose(result[0], simulated(image, mask), atol=1e-5)
    np.testing.assert_array_equal(result[~mask[..., 0]], image[~mask[..., 0]])  # to the bit


def test_what_is_under_the_mask_does_not_matter():
    image, mask = with_hole(24, 24, 5, 6, 12)
    other = np.where(mask, np.float32(0.9), image)
    np.testing.assert_array_equal(filled(image, mask), filled(other, mask))


def test_one_colour_goes_on_through_a_hole_of_any_size_and_colours_stay_between_those_around():
    for side in (1, 8, 60):
        image, mask = with_hole(64, 64, 2, 2, side)
        np.testing.assert_allclose(filled(np.full_like(image, -0.4), mask), -0.4, atol=1e-4)
        result, known = filled(image, mask), image[~mask[..., 0]]
        assert (result >= known.min() - 1e-5).all()
        assert (result <= known.max() + 1e-5).all()


def test_a_hole_is_brighter_where_its_border_is():
    image, mask = with_hole(64, 64, 20, 20, 24)
    image[:, :, :32], image[:, :, 32:] = -0.5, 0.5
    row = filled(image, mask)[0, 32, 20:44, 0]
    assert (np.diff(row) > -1e-6).all()
    assert row[0] < -0.45
    assert row[-1] > 0.45


def test_without_a_known_pixel_all_is_grey():
    image, mask = with_hole(16, 16, 0, 0, 16)
    np.testing.assert_array_equal(filled(image, mask), 0.0)


def test_an_image_moves_to_either_end_of_its_range_and_not_beyond():
    image = np.linspace(-1, 1, 9, dtype=np.float32)
    for change, expected in ((0.0, image), (1.0, 1.0), (-1.0, -1.0), (0.5, (image + 1) / 2), (-0.5, (image - 1) / 2)):
        np.testing.assert_allclose(move(image, np.full_like(image, change)), expected, atol=1e-7)
