"""Paired measures, against closed forms and the definitions written out with plain windows."""

import numpy as np
import pytest
import tensorflow as tf

from ganlib.evaluation.measures.ms_ssim import WEIGHTS, multi_scale_similarity
from ganlib.evaluation.measures.paired import PairedMeasures
from ganlib.evaluation.measures.ssim import similarity_maps

OFFSETS = np.arange(11) - 5
KERNEL = np.exp(-(OFFSETS[:, None] ** 2 + OFFSETS**2) / (2 * 1.5**2))
KERNEL /= KERNEL.sum()


def pairs(seed, count, height, width, channels, *, noise=20.0):
    """Smooth images with a flat white corner, and noisy ones."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, height // 4 + 1, width // 4 + 1, channels))
    truths = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
    truths[:, : height // 2, : width // 2] = 255
    samples = np.clip(np.round(truths + random.normal(0, noise, truths.shape)), 0, 255)
    return samples.astype(np.uint8), truths.astype(np.uint8)


def scores(samples, truths, **further):
    measures = PairedMeasures()
    measures.add(samples, truths, **further)
    return {score.name: score for score in measures.scores()}


def values(samples, truths, **further):
    return {name: score.value for name, score in scores(samples, truths, **further).items()}


def plain_maps(x, y):
    """The formulas of the paper for one channel, with each window's own mean subtracted."""
    similarity, structure = (np.empty((x.shape[0] - 10, x.shape[1] - 10)) for _ in range(2))
    for row, column in np.ndindex(similarity.shape):
        a, b = (image[row : row + 11, column : column + 11].astype(np.float64) for image in (x, y))
        mean_a, mean_b = (KERNEL * a).sum(), (KERNEL * b).sum()
        variances = (KERNEL * (a - mean_a) ** 2).sum() + (KERNEL * (b - mean_b) ** 2).sum()
        covariance = (KERNEL * (a - mean_a) * (b - mean_b)).sum()
        structure[row, column] = (2 * covariance + 58.5225) / (variances + 58.5225)
        luminance = (2 * mean_a * mean_b + 6.5025) / (mean_a**2 + mean_b**2 + 6.5025)
        similarity[row, column] = luminance * structure[row, column]
    return similarity, structure


def same_pair(samples, truths):
    return multi_scale_similarity(samples, truths, full_size=similarity_maps(samples, truths))


@pytest.mark.parametrize("shape", [(11, 11, 1), (12, 19, 3), (37, 24, 1), (59, 70, 2)])
def test_structural_similarity_is_that_of_plain_windows(shape):
    samples, truths = pairs(1, 2, *shape)
    expected = [
        [plain_maps(sample[..., channel], truth[..., channel])[0] for channel in range(shape[2])]
        for sample, truth in zip(samples, truths, strict=True)
    ]
    assert values(samples, truths)["ssim"] == pytest.approx(np.mean(expected), abs=1e-12)
    np.testing.assert_allclose(similarity_maps(samples[0], truths[0]).similarity, expected[0], atol=1e-12)


def test_structural_similarity_is_tensorflows_to_the_rounding_of_float32():
    samples, truths = pairs(2, 3, 64, 80, 3)
    expected = tf.image.ssim(tf.constant(samples), tf.constant(truths), 255).numpy()
    assert values(samples, truths)["ssim"] == pytest.approx(expected.mean(), abs=2e-5)


@pytest.mark.parametrize(("first", "second"), [(0, 255), (3, 7), (255, 254), (128, 128)])
def test_of_flat_images_only_the_luminance_counts(first, second):
    one, other = (np.full((1, 13, 30, 3), value, np.uint8) for value in (first, second))
    expected = (2 * first * second + 6.5025) / (first**2 + second**2 + 6.5025)
    assert values(one, other)["ssim"] == pytest.approx(expected, abs=1e-9)


def plain_multi_scale(x, y):
    """One channel. The halving of the paper's program: means over 2x2, the last row and column repeated if needed."""
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        similarity, structure = plain_maps(x, y)
        product *= max(0.0, (similarity if scale == 4 else structure).mean()) ** weight
        x, y = (
            np.array(
                [
                    [image[i : i + 2, j : j + 2][[0, -1]][:, [0, -1]].mean() for j in range(0, image.shape[1], 2)]
                    for i in range(0, image.shape[0], 2)
                ]
            )
            for image in (x.astype(np.float64), y.astype(np.float64))
        )
    return product


def test_multi_scale_similarity_is_that_of_plain_windows_and_of_tensorflow_for_odd_sides():
    samples, truths = pairs(3, 1, 177, 181, 1, noise=60.0)
    value = values(samples, truths)["ms_ssim"]
    assert value == pytest.approx(plain_multi_scale(samples[0, ..., 0], truths[0, ..., 0]), abs=1e-12)
    theirs = tf.image.ssim_multiscale(tf.constant(samples), tf.constant(truths), 255).numpy()
    assert value == pytest.approx(theirs[0], abs=2e-5)
    assert 0.5 < value < 0.99


def test_the_channels_of_the_multi_scale_similarity_are_multiplied_before_they_are_averaged():
    samples, truths = pairs(4, 1, 176, 176, 3, noise=90.0)
    truths[..., 2] = 255 - truths[..., 2]  # a negative structure counts as 0
    channels = [
        same_pair(samples[0, ..., [c]].transpose(1, 2, 0), truths[0, ..., [c]].transpose(1, 2, 0)) for c in range(3)
    ]
    assert channels[2] == 0.0
    assert values(samples, truths)["ms_ssim"] == pytest.approx(np.mean(channels), abs=1e-12)


def test_equal_images_are_perfect_and_opposite_ones_are_not():
    images = pairs(5, 2, 176, 180, 3)[0]
    assert values(images, images) == pytest.approx({"l1": 0, "psnr": 100, "ssim": 1, "ms_ssim": 1}, abs=1e-12)
    black, white = (np.full((2, 16, 16, 1), value, np.uint8) for value in (0, 255))
    assert values(white, black) == pytest.approx({"l1": 1, "psnr": 0, "ssim": 6.5025 / (255**2 + 6.5025)}, abs=1e-12)


@pytest.mark.parametrize("offset", [1, 7, 100])
def test_the_signal_to_noise_ratio_of_an_offset_is_the_known_one(offset):
    truths = np.random.default_rng(6).integers(0, 256 - offset, (3, 9, 5, 3)).astype(np.uint8)
    result = values(truths + np.uint8(offset), truths)
    assert result == pytest.approx({"l1": offset / 255, "psnr": 20 * np.log10(255 / offset)}, abs=1e-12)


def test_the_ratio_of_noise_is_the_one_of_its_deviation():
    """sigma 25 of 255 is 20.17 dB, without clipping."""
    random = np.random.default_rng(7)
    truths = np.full((20, 64, 64, 3), 128, np.uint8)
    samples = np.round(truths + random.normal(0, 25, truths.shape)).astype(np.uint8)
    assert values(samples, truths)["psnr"] == pytest.approx(20.17, abs=0.02)


def test_logarithms_are_averaged_with_their_error_over_images():
    truths = np.zeros((3, 4, 4, 1), np.uint8)
    samples = truths + np.array([1, 10, 100], np.uint8)[:, None, None, None]
    ratio = scores(samples, truths)["psnr"]
    each = 20 * np.log10(255 / np.array([1, 10, 100]))
    assert (ratio.value, ratio.error, ratio.count) == pytest.approx((each.mean(), each.std(ddof=1) / np.sqrt(3), 3))
    assert ratio.value > 10 * np.log10(255**2 / np.mean([1, 100, 10_000]))  # the logarithm of the mean
    assert scores(samples[:1], truths[:1])["psnr"].error is None


def holes_of(shape, *boxes):
    holes = np.zeros((*shape[:3], 1), bool)
    for hole, (top, bottom, left, right) in zip(holes, boxes, strict=True):
        hole[top:bottom, left:right] = True
    return holes


def test_inside_holes_only_their_pixels_count():
    samples, truths = pairs(8, 3, 20, 40, 3)
    holes = holes_of(samples.shape, (6, 12, 8, 31), (0, 0, 0, 0), (0, 20, 0, 40))
    inside = scores(samples, truths, holes=holes)
    differences = (samples.astype(float) - truths) / 255
    parts = [
        difference[np.broadcast_to(hole, difference.shape)] for difference, hole in zip(differences, holes, strict=True)
    ]
    absolute = [np.abs(parts[number]).mean() for number in (0, 2)]
    ratios = [-10 * np.log10((parts[number] ** 2).mean()) for number in (0, 2)]
    assert inside["l1_hole"].value == pytest.approx(np.mean(absolute))
    assert inside["psnr_hole"].value == pytest.approx(np.mean(ratios))
    assert inside["l1_hole"].count == inside["ssim_hole"].count == 2  # the second image has no hole
    maps = [[plain_maps(samples[n, ..., c], truths[n, ..., c])[0] for c in range(3)] for n in (0, 2)]
    expected = [np.mean([one[1:7, 3:26] for one in maps[0]]), np.mean(maps[1])]
    assert inside["ssim_hole"].value == pytest.approx(np.mean(expected), abs=1e-12)
    assert inside["l1"].value == pytest.approx(np.abs(differences).mean())


def test_a_hole_that_is_all_at_the_edge_has_no_structure():
    samples, truths = pairs(9, 1, 20, 20, 1)
    inside = values(samples, truths, holes=holes_of(samples.shape, (0, 5, 0, 20)))
    assert {"l1_hole", "psnr_hole", "ssim"} <= inside.keys()
    assert "ssim_hole" not in inside
    assert "ssim_hole" in values(samples, truths, holes=holes_of(samples.shape, (0, 6, 0, 20)))


def test_scores_by_hole_are_those_of_the_images_in_each_group():
    samples, truths = pairs(10, 5, 20, 10, 1)
    boxes = [(0, 0, 0, 0), (0, 1, 0, 1), (0, 2, 0, 10), (0, 3, 0, 7), (0, 20, 0, 10)]  # 0, 0.5, 10, 10.5 and 100 %
    holes = holes_of(samples.shape, *boxes)
    measures = PairedMeasures()
    measures.add(samples, truths, holes=holes)
    groups = {score.name: score for score in measures.scores_by_hole()}
    for place, members in {"0_10": [1, 2], "10_20": [3], "90_100": [4]}.items():
        alone = values(samples[members], truths[members], holes=holes[members])
        for name in ("l1", "psnr", "l1_hole", "psnr_hole"):
            assert groups[f"{name}_{place}"].value == pytest.approx(alone[name])
            assert groups[f"{name}_{place}"].count == len(members)
    assert {name.split("_", 1)[1].removeprefix("hole_") for name in groups} == {"0_10", "10_20", "90_100"}
    assert not scores(samples, truths).keys() & groups.keys()


def test_the_baselines_are_what_the_inputs_score():
    samples, truths = pairs(11, 3, 16, 16, 3)
    inputs = pairs(11, 3, 16, 16, 3, noise=60.0)[0]
    holes = holes_of(samples.shape, (0, 8, 0, 8), (4, 12, 4, 12), (0, 16, 0, 16))
    nothing = scores(inputs, truths, holes=holes)
    for name, score in scores(samples, truths, holes=holes, inputs=inputs).items():
        assert (score.baseline, score.floor) == (nothing[name].value, None)
    assert nothing["psnr"].baseline is None
    measures = PairedMeasures()
    measures.add(samples, truths, holes=holes, inputs=inputs)
    assert all(score.baseline is not None for score in measures.scores_by_hole())


def test_batches_make_no_difference():
    samples, truths = pairs(12, 5, 14, 18, 3)
    holes = holes_of(samples.shape, *[(0, 9, 0, 2 + number) for number in range(5)])
    whole, parts = PairedMeasures(), PairedMeasures()
    whole.add(samples, truths, holes=holes)
    for start in (0, 2, 4, 5):  # the last is empty
        batch = slice(start, start + 2)
        parts.add(samples[batch], truths[batch], holes=holes[batch])
    assert parts.scores() == whole.scores()
    assert parts.scores_by_hole() == whole.scores_by_hole()


def test_scores_that_images_are_too_small_for_are_left_out_with_a_note():
    measures = PairedMeasures()
    assert (measures.scores(), measures.notes()) == ([], [])
    for side in (8, 175, 176):
        samples, truths = pairs(13, 1, side, 200, 1)
        measures.add(samples, truths)
    counts = {score.name: score.count for score in measures.scores()}
    assert counts == {"l1": 3, "psnr": 3, "ssim": 2, "ms_ssim": 1}
    assert measures.notes() == [
        "Images of 8x200 pixels have no ms_ssim, which needs sides of at least 176.",
        "Images of 8x200 pixels have no ssim, which needs sides of at least 11.",
        "Images of 175x200 pixels have no ms_ssim, which needs sides of at least 176.",
    ]


def test_images_that_do_not_belong_together_are_refused():
    samples, truths = pairs(14, 2, 12, 12, 3)
    holes = np.ones((2, 12, 12, 1), bool)
    for wrong in ({"holes": holes[..., 0]}, {"holes": holes.astype(np.uint8)}, {"inputs": samples[..., :1]}):
        with pytest.raises(ValueError, match=f"expected {next(iter(wrong))} of shape"):
            PairedMeasures().add(samples, truths, **wrong)
    with pytest.raises(ValueError, match="expected truths of shape"):
        PairedMeasures().add(samples, truths[:1])
    with pytest.raises(ValueError, match="at least 11x11"):
        similarity_maps(samples[0, :10], truths[0, :10])
    with pytest.raises(ValueError, match="at least 176"):
        same_pair(samples[0], truths[0])
