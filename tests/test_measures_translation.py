"""Measures of translations without a truth, on translators whose honesty is known."""

import io

import numpy as np
import pytest
from PIL import Image

from ganlib.evaluation.measures.shortcuts import painted_mean, returned_input
from ganlib.evaluation.measures.translation import (
    cycle_error,
    hidden_information,
    identity_error,
    luminance_correlation,
)


def smooth(seed, count, side, channels):
    """Smooth images with all grey levels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, side // 8, side // 8, channels), np.uint8)
    size = (side, side)
    planes = [
        [np.asarray(Image.fromarray(image[..., channel]).resize(size)) for channel in range(channels)]
        for image in coarse
    ]
    return np.moveaxis(np.array(planes), 1, -1)


def cycles(forward, back, batches):
    """Batches of images, of their translations, and of these translated back."""
    return [(images, forward(images), back(forward(images))) for images in batches]


def scores(forward, back, inputs, **further):
    return {score.name: score for score in hidden_information(cycles(forward, back, [inputs]), back, key=1, **further)}


def test_the_errors_are_mean_absolute_differences_over_all_images():
    first = [smooth(0, 3, 16, 3), smooth(1, 2, 16, 3)]
    second = [smooth(2, 3, 16, 3), smooth(3, 2, 16, 3)]
    pairs = list(zip(first, second, strict=True))
    each = np.concatenate([np.abs(a.astype(int) - b).reshape(len(a), -1).mean(1) for a, b in pairs]) / 255
    for name, measure in (("cycle_error", cycle_error), ("identity_error", identity_error)):
        score = measure(pairs)
        assert (score.name, score.count) == (name, 5)
        assert (score.value, score.error) == pytest.approx((each.mean(), each.std(ddof=1) / np.sqrt(5)))
    with pytest.raises(ValueError, match="one shape"):
        cycle_error([(first[0], second[1])])


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_inverted_brightness_has_a_correlation_of_minus_one(channels):
    inputs = smooth(4, 3, 16, channels)
    [inverted] = luminance_correlation([(inputs, 255 - inputs)])
    [darker] = luminance_correlation([(inputs, inputs // 4 * 2)])
    assert inverted.value == pytest.approx(-1)
    assert darker.value == pytest.approx(1, abs=1e-3)


def test_the_correlation_is_that_of_pillows_grey_images():
    inputs, outputs = smooth(5, 4, 32, 3), smooth(6, 4, 32, 3)
    greys = [
        [np.asarray(Image.fromarray(image).convert("L")).ravel() for image in images] for images in (inputs, outputs)
    ]
    expected = [np.corrcoef(one, other)[0, 1] for one, other in zip(*greys, strict=True)]
    [score] = luminance_correlation([(inputs[:3], outputs[:3]), (inputs[3:], outputs[3:])])
    assert score.value == pytest.approx(np.mean(expected), abs=1e-3)
    [mixed] = luminance_correlation([(inputs, np.array(greys[1], np.uint8).reshape(4, 32, 32, 1))])
    assert mixed.value == pytest.approx(score.value, abs=1e-3)


def test_images_of_one_brightness_have_no_correlation():
    inputs = smooth(7, 3, 16, 3)
    flat = np.full_like(inputs, 77)
    assert luminance_correlation([(inputs, flat)]) == []
    half = np.concatenate([inputs[:2], flat[2:]])
    [score] = luminance_correlation([(half, half)])
    assert (score.value, score.count) == (pytest.approx(1), 2)


def hiding(cover):
    """A translator that shows an unrelated image and keeps the input in the lowest three bits, and its way back."""
    return lambda images: cover[: len(images)] & 0xF8 | images >> 5, lambda images: (images & 7) << 5 | 16


def test_a_translator_that_hides_the_input_is_convicted():
    inputs = smooth(8, 4, 32, 3)
    forward, back = hiding(smooth(9, 4, 32, 3))
    assert np.abs(forward(inputs).astype(int) - smooth(9, 4, 32, 3)).max() <= 7  # nobody sees it
    result = scores(forward, back, inputs)
    assert result["cycle_error"].value < 0.04  # the cycle looks good
    for disturbance in ("noise", "jpeg"):
        assert result[f"cycle_error_{disturbance}"].value > 5 * result["cycle_error"].value
        ratio = result[f"hidden_information_{disturbance}"]
        assert ratio.value - 10 * ratio.error > 3
    assert scores(forward, back, inputs, noise=2)["hidden_information_noise"].value > 3


@pytest.mark.parametrize(
    ("forward", "back", "limit"),
    [
        (lambda images: 255 - images, lambda images: 255 - images, 1.0),  # a perfect cycle
        (lambda images: images[..., ::-1] // 16 * 16, lambda images: images[..., ::-1], 1.0),  # a coarse one
        (
            lambda images: images // 2 + 64,
            lambda images: np.clip(images.astype(int) * 2 - 128, 0, 255).astype(np.uint8),
            2.0,
        ),
        (lambda images: images * 0 + 90, lambda images: images * 0 + 120, 1.0),  # nothing gets through
    ],
)
def test_honest_translators_are_acquitted(forward, back, limit):
    result = scores(forward, back, smooth(10, 4, 32, 3))
    for disturbance in ("noise", "jpeg"):
        assert result[f"hidden_information_{disturbance}"].value < limit + 1e-9


def test_the_value_is_the_error_over_what_explains_it():
    inputs = smooth(11, 3, 32, 1)
    result = scores(lambda images: images, lambda images: np.maximum(images, 200), inputs)
    compressed = []
    for image in inputs[..., 0]:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=90)
        compressed.append(np.asarray(Image.open(file)))
    compressed = np.array(compressed)[..., None].astype(int)
    error = np.abs(np.maximum(inputs, 200) - inputs.astype(int)).mean() / 255
    after = np.abs(np.maximum(compressed, 200) - inputs).mean() / 255
    size = np.abs(compressed - inputs).mean() / 255
    assert result["cycle_error"].value == pytest.approx(error)
    assert result["cycle_error_jpeg"].value == pytest.approx(after)
    assert result["hidden_information_jpeg"].value == pytest.approx(after / (error + size))


def test_the_noise_depends_on_the_seed_and_not_on_batches():
    inputs = smooth(12, 5, 16, 3)
    forward, back = hiding(smooth(13, 1, 16, 3).repeat(5, axis=0))
    whole, parts, other = (
        hidden_information(cycles(forward, back, batches), back, key=seed)
        for batches, seed in (([inputs], 5), ([inputs[:2], inputs[2:3], inputs[3:]], 5), ([inputs], 6))
    )
    assert parts == whole
    assert other != whole


def test_the_noise_has_the_deviation_that_it_says():
    seen = []

    def back(images):
        seen.append(images.astype(float))
        return images

    grey = np.full((2, 64, 64, 3), 128, np.uint8)
    scores(lambda images: images, back, grey, noise=5)
    assert (seen[1] - seen[0]).std() == pytest.approx(5, rel=0.03)
    assert (seen[1] - seen[0]).mean() == pytest.approx(0, abs=0.2)


def test_a_disturbance_that_changes_nothing_has_no_ratio():
    black = np.zeros((2, 16, 16, 1), np.uint8)
    result = scores(lambda images: images, lambda images: images, black, noise=0)
    assert result.keys() == {"cycle_error", "cycle_error_noise", "cycle_error_jpeg"}


def test_jpeg_is_left_out_for_channels_that_it_cannot_store():
    result = scores(lambda images: 255 - images, lambda images: 255 - images, smooth(14, 2, 16, 2))
    assert result.keys() == {"cycle_error", "cycle_error_noise", "hidden_information_noise"}


def test_a_translator_that_returns_its_input_is_seen():
    inputs = smooth(15, 20, 16, 3)
    almost = np.clip(inputs + np.random.default_rng(0).integers(-2, 3, inputs.shape), 0, 255).astype(np.uint8)
    mean = inputs.mean(axis=0)
    assert returned_input(inputs, inputs, mean).all()
    assert returned_input(almost, inputs, mean).all()
    mixed = np.concatenate([almost[:5], 255 - inputs[5:]])
    assert returned_input(mixed, inputs, mean).tolist() == [True] * 5 + [False] * 15


def test_with_true_images_a_returned_input_is_measured_by_what_there_was_to_do():
    truths = np.full((4, 8, 8, 1), 100, np.uint8)
    inputs = truths + np.array([50, 50, 10, 0], np.uint8)[:, None, None, None]
    samples = truths + np.array([46, 44, 10, 0], np.uint8)[:, None, None, None]
    assert returned_input(samples, inputs, truths).tolist() == [True, False, True, False]


def test_a_restorer_that_paints_the_mean_or_one_colour_is_seen():
    truths = smooth(16, 6, 16, 3)
    mean = truths.mean(axis=0)
    holes = np.zeros((6, 16, 16, 1), bool)
    holes[:, 4:14, 2:12] = True
    holes[5] = False
    painted = np.stack([mean, mean + 1, mean * 0 + 40, truths[3], np.roll(truths[4], 3, axis=0), mean])
    samples = np.where(holes, np.round(painted), truths).astype(np.uint8)
    assert painted_mean(samples, truths, mean, holes=holes).tolist() == [True] * 3 + [False] * 3
    whole = np.round(painted).astype(np.uint8)
    assert painted_mean(whole, truths, mean).tolist() == [True] * 3 + [False] * 2 + [True]


def test_one_colour_is_right_where_the_truth_has_one():
    truths = np.zeros((2, 12, 12, 1), np.uint8)
    truths[1] = smooth(17, 1, 16, 1)[0, :12, :12]
    holes = np.ones((2, 12, 12, 1), bool)
    assert painted_mean(truths * 0, truths, np.full((12, 12, 1), 60.0), holes=holes).tolist() == [False, True]
