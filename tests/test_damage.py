"""What a restoration task does to images."""

import functools
import io
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pydantic import ValidationError

from ganlib import schema, streams
from ganlib.tasks.damage import AnyDamage, Downscale, Grey, Jpeg, Mask, Noise, own_masks, raster, strokes
from ganlib.tasks.damage.mask import RECIPES

SHAPES = sorted(RECIPES)
DAMAGES = {
    **{f"mask-{shape}": Mask(shape=shape) for shape in SHAPES},
    "noise": Noise(),
    "noise-range": Noise(sigma=(5.0, 50.0)),
    "salt": Noise(distribution="salt_and_pepper"),
    "poisson": Noise(distribution="poisson"),
    "downscale": Downscale(factor=2),
    "grey": Grey(),
    "jpeg": Jpeg(),
}
SIZES = [(32, 32, 3), (28, 28, 1), (20, 44, 3), (13, 9, 1)]


def keys_of(count, seed=3):
    return tf.stack([tf.fill([count], streams.key("noise", seed)), tf.range(count, dtype=tf.int64)], axis=1)


def pictures_of(count, shape, seed=0):
    """Smooth random pictures of full contrast."""
    height, width, channels = shape
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, channels), np.uint8)
    return tf.cast(tf.clip_by_value(tf.image.resize(coarse, [height, width], "bicubic"), 0, 255), tf.uint8)


@functools.cache
def graph_of(damage, shape):
    """A graph that knows no batch size. Autograph would take seconds; the input pipeline below has it."""
    specs = [tf.TensorSpec([None, *shape], tf.uint8), tf.TensorSpec([None, 2], tf.int64)]

    @tf.function(input_signature=specs, autograph=False)
    def graph(images, keys):
        damaged = damage.apply(images, keys)
        return damaged.images, () if damaged.mask is None else damaged.mask

    return graph


def applied(damage, images, keys):
    """The damaged images and the mask, as arrays."""
    found, mask = graph_of(damage, tuple(images.shape[1:]))(images, keys)
    return found.numpy(), None if isinstance(mask, tuple) else mask.numpy()


def fits(damage, shape):
    try:
        damage.check(shape)
    except ValueError:
        return False
    return True


CASES = [
    (name, shape)
    for name, damage in DAMAGES.items()
    for shape in (SIZES[1:3] if damage.has_mask else SIZES)  # a graph of masks takes a second to trace
    if fits(damage, shape)
]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_damage_of_an_image_depends_on_the_image_and_its_key_alone(name, shape):
    damage, images, keys = DAMAGES[name], pictures_of(7, shape), keys_of(7)
    found, mask = applied(damage, images, keys)
    assert found.shape == (7, *shape)
    assert found.dtype == np.uint8
    assert damage.has_mask == (mask is not None)
    for rows in ([4], [6, 4, 0], [4, 4]):
        again, its_mask = applied(damage, tf.gather(images, rows), tf.gather(keys, rows))
        np.testing.assert_array_equal(again, found[rows])
        if mask is not None:
            np.testing.assert_array_equal(its_mask, mask[rows])
    eager = damage.apply(images[3:6], keys[3:6])
    np.testing.assert_array_equal(eager.images, found[3:6])
    if mask is not None:
        np.testing.assert_array_equal(eager.mask, mask[3:6])


@pytest.mark.parametrize(
    "name", ["mask-thick", "mask-strokes", "noise-range", "salt", "poisson", "downscale", "grey", "jpeg"]
)
def test_damage_in_an_input_pipeline_is_the_same(name):
    images, keys = pictures_of(6, (20, 44, 3)), keys_of(6)
    found, _ = applied(DAMAGES[name], images, keys)
    batches = tf.data.Dataset.from_tensor_slices((images, keys)).batch(2, drop_remainder=True)
    batches = batches.map(lambda images, keys: DAMAGES[name].apply(images, keys).images, num_parallel_calls=2)
    np.testing.assert_array_equal(np.concatenate(list(batches.as_numpy_iterator())), found)


@pytest.mark.parametrize("name", [name for name in DAMAGES if name not in ("downscale", "grey")])
def test_other_keys_damage_otherwise(name):
    images = tf.repeat(pictures_of(1, (32, 32, 3)), 6, axis=0)
    keys = tf.concat([keys_of(3), keys_of(3, seed=4)], axis=0)
    found, _ = applied(DAMAGES[name], images, keys)
    assert len(np.unique(found.reshape(6, -1), axis=0)) == 6
    if name == "noise":
        errors = found[..., 0].reshape(6, -1) - images[..., 0].numpy().reshape(6, -1).astype(float)
        assert np.abs(np.corrcoef(errors) - np.eye(6)).max() < 0.15


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(8, 8, 1), (9, 64, 3)])
def test_known_pixels_are_untouched_and_holes_are_grey(shape, size):
    images = pictures_of(16, size)
    found, mask = applied(Mask(shape=shape), images, keys_of(16))
    hole = np.broadcast_to(mask == 1, found.shape)
    assert set(np.unique(mask)) <= {0, 1}
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(found[~hole], images.numpy()[~hole])
    assert set(found[hole]) == {128}
    assert mask.any(axis=(1, 2, 3)).all()


# Mean, 5 % and 95 % of the share of the hole. Those of LaMa are of 1,500 masks of its rule, drawn by OpenCV 5.0 as it
# draws them; Pillow's lines, without round ends, make smaller holes (0.23, 0.17, 0.25, 0.29). The box is a product of
# two uniform numbers, (1/2 - s/128)^2 with s in 0..16.
SHARES = {
    "strokes": (0.31, 0.21, 0.44),
    "thin": (0.289, 0.072, 0.471),
    "medium": (0.217, 0.016, 0.397),
    "thick": (0.271, 0.060, 0.470),
    "training": (0.334, 0.065, 0.694),
    "box": (0.191, 0.153, 0.234),
}


@pytest.mark.parametrize("side", [256, 64])
@pytest.mark.parametrize("shape", SHAPES)
def test_holes_are_as_large_as_those_of_the_papers(shape, side):
    shares = np.concatenate(
        [
            applied(Mask(shape=shape), tf.zeros([64, side, side, 1], tf.uint8), keys_of(64, seed))[1].mean(
                axis=(1, 2, 3)
            )
            for seed in range(10 if side == 64 else 6)
        ]
    )
    mean, low, high = SHARES[shape]
    assert np.mean(shares) == pytest.approx(mean, abs=0.025)
    assert np.quantile(shares, 0.05) == pytest.approx(low, abs=0.03)
    assert np.quantile(shares, 0.95) == pytest.approx(high, abs=0.05)
    if shape in ("thin", "medium", "thick"):
        assert shares.max() <= 0.5


def test_large_holes_are_drawn_again():
    images, keys = tf.zeros([200, 16, 16, 1], tf.uint8), keys_of(200)
    _, free = applied(Mask(shape="thick", max_share=1.0), images, keys)
    _, limited = applied(Mask(shape="thick", max_share=0.3), images, keys)
    large = free.mean(axis=(1, 2, 3)) > 0.3
    assert large.any()
    assert limited.mean(axis=(1, 2, 3)).max() <= 0.3
    np.testing.assert_array_equal(limited[~large], free[~large])


@pytest.mark.parametrize("share", [None, 0.3])
@pytest.mark.parametrize("shape", ["thin", "medium", "thick", "strokes"])
def test_the_largest_share_is_kept_by_the_smallest_images(shape, share):
    damage = Mask(shape=shape, max_share=share or (0.5 if shape == "strokes" else None))
    _, mask = applied(damage, tf.zeros([300, 8, 8, 1], tf.uint8), keys_of(300))
    assert mask.mean(axis=(1, 2, 3)).max() <= (share or 0.5)


def distances(line, height, width):
    """Distance of each pixel from a line, in float64."""
    x0, y0, x1, y1, _ = line
    y, x = np.mgrid[:height, :width].astype(float)
    length = (x1 - x0) ** 2 + (y1 - y0) ** 2
    t = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length, 0, 1) if length else 0.0
    return np.hypot(x - x0 - t * (x1 - x0), y - y0 - t * (y1 - y0))


def test_lines_cover_the_pixels_within_their_radius():
    generator = np.random.default_rng(1)
    lines = generator.uniform(-8, 40, (60, 1, 5)).astype(np.float32)
    lines[..., 4] = generator.uniform(0.5, 12, (60, 1))
    lines[1, 0] = 5, 7, 5, 7, 3  # a point
    lines[2, 0] = 5, 7, 20, 7, 3.2  # level
    lines[3, 0] = 20, 7, 5, 7.0000001, 3.2
    lines[4, 0] = 5, 25, 5, 2, 0.5  # upright
    lines[5, 0] = -50, 12, 90, 12.5, 4.1  # through the whole image
    lines[6, 0] = 12, 12, 30, 30, -1.0  # absent
    lines[7, 0] = -40, -40, -20, -20, 3.0  # outside
    masks = raster.draw(tf.constant(lines), tf.zeros([60, 0, 4]), height=24, width=33).numpy()
    for line, mask in zip(lines[:, 0], masks, strict=True):
        distance = distances(line.astype(float), 24, 33)
        clear = np.abs(distance - line[4]) > 1e-4
        np.testing.assert_array_equal(mask[clear], (distance <= line[4])[clear])


def test_lines_and_boxes_are_united():
    lines = tf.constant([[[3, 3, 9, 3, 1.2], [3, 3, 3, 9, 1.2]], [[0, 0, 1, 1, -1], [5, 5, 5, 5, 0.5]]], tf.float32)
    boxes = tf.constant([[[1, 2, 4, 5]], [[-1, -1, -1, -1]]], tf.float32)
    masks = raster.draw(lines, boxes, height=11, width=12).numpy()
    wanted = np.minimum(distances([3, 3, 9, 3, 0], 11, 12), distances([3, 3, 3, 9, 0], 11, 12)) <= 1.2
    wanted[1:5, 2:6] = True
    np.testing.assert_array_equal(masks[0], wanted)
    assert np.argwhere(masks[1]).tolist() == [[5, 5]]


@pytest.mark.parametrize("angle", np.linspace(0, math.pi, 13))
def test_the_thinnest_line_has_no_gap(angle):
    end = [20 + 15.3 * math.cos(angle), 20.4 + 15.3 * math.sin(angle)]
    [mask] = raster.draw(
        tf.constant([[[20, 20.4, *end, strokes.MIN_RADIUS]]]), tf.zeros([1, 0, 4]), height=40, width=40
    )
    spread = tf.nn.max_pool2d(tf.cast(mask, tf.float32)[None, ..., None], 3, 1, "SAME")[0, ..., 0].numpy() > 0
    reached = np.zeros((40, 40), bool)
    reached[tuple(np.argwhere(mask)[0])] = True
    for _ in range(40):
        near = tf.nn.max_pool2d(tf.cast(reached, tf.float32)[None, ..., None], 3, 1, "SAME")[0, ..., 0].numpy() > 0
        reached = near & mask.numpy()
    np.testing.assert_array_equal(reached, mask)
    assert spread.sum() > mask.numpy().sum()


@pytest.mark.parametrize(
    ("settings", "psnr"), [((10.0, 10.0), 28.13), (15.0, 24.61), (25.0, 20.17), (20.0, 10 * math.log10(255**2 / 400))]
)
def test_noise_has_its_exact_psnr(settings, psnr):
    damage = Noise(sigma=settings)
    images = tf.fill([8, 64, 64, 3], tf.constant(127, tf.uint8))
    found, _ = applied(damage, images, keys_of(8))
    error = found.astype(float) - 127
    assert 10 * math.log10(255**2 / np.mean(error**2)) == pytest.approx(psnr, abs=0.05)
    assert np.mean(error) == pytest.approx(0, abs=0.3)
    assert damage.floor == f"PSNR {psnr:.2f} dB, if nothing is clipped"
    channels = error.reshape(-1, 3)
    assert np.abs(np.corrcoef(channels.T) - np.eye(3)).max() < 0.03


def test_each_image_draws_its_sigma_from_the_range():
    images = tf.fill([300, 16, 16, 1], tf.constant(127, tf.uint8))
    found, _ = applied(Noise(sigma=(10.0, 30.0)), images, keys_of(300))
    sigmas = found.astype(float).std(axis=(1, 2, 3))
    assert np.quantile(sigmas, [0.02, 0.5, 0.98]) == pytest.approx([10.4, 20, 29.6], abs=2)
    assert Noise(sigma=(10.0, 25.0)).floor == "PSNR 20.17 to 28.13 dB, if nothing is clipped"
    assert Noise(sigma=(0, 50)).floor == "PSNR 14.15 to inf dB, if nothing is clipped"


def test_noise_is_clipped():
    images = tf.constant([0, 255], tf.uint8)[:, None, None, None] * tf.ones([1, 64, 64, 1], tf.uint8)
    found, _ = applied(Noise(sigma=50.0), images, keys_of(2))
    assert found[0].min() == 0
    assert found[1].max() == 255
    assert np.mean(found[0] == 0) == pytest.approx(0.5, abs=0.03)
    assert np.mean(found[1] == 255) == pytest.approx(0.5, abs=0.03)


def test_salt_and_pepper_replace_their_share():
    images = tf.fill([8, 64, 64, 3], tf.constant(100, tf.uint8))
    found, _ = applied(Noise(distribution="salt_and_pepper", share=0.3), images, keys_of(8))
    values, counts = np.unique(found, return_counts=True)
    assert values.tolist() == [0, 100, 255]
    assert counts / found.size == pytest.approx([0.15, 0.7, 0.15], abs=0.01)
    everything, _ = applied(Noise(distribution="salt_and_pepper", share=1.0), images, keys_of(8))
    assert set(np.unique(everything)) == {0, 255}


@pytest.mark.parametrize("peak", [4.0, 30.0, 1000.0])
def test_poisson_noise_has_the_variance_of_its_mean(peak):
    damage = Noise(distribution="poisson", peak=peak)
    for value in (0, 60, 120):
        images = tf.fill([4, 64, 64, 3], tf.constant(value, tf.uint8))
        found = applied(damage, images, keys_of(4))[0].astype(float)
        variance = 255 * value / peak
        if value + 4 * math.sqrt(variance) < 255:
            assert np.mean(found) == pytest.approx(value, abs=4 * math.sqrt(variance / found.size) + 0.02)
        if value == 60 and peak > 4:
            assert np.var(found) == pytest.approx(variance + 1 / 12, rel=0.03)
    assert damage.floor is None


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_downscaling_keeps_what_is_coarse_and_removes_what_is_fine(factor):
    damage, side = Downscale(factor=factor), 48
    for value in (0, 77, 255):
        constant = tf.fill([1, side, 72, 3], tf.constant(value, tf.uint8))
        np.testing.assert_array_equal(applied(damage, constant, keys_of(1))[0], constant)
    place = np.arange(side) + 0.5
    waves = {
        "coarse": 128 + 100 * np.cos(2 * math.pi * place / side),
        "fine": 128 + 100 * (-1.0) ** np.arange(side),
    }
    images = np.stack([np.broadcast_to(np.round(wave)[:, None, None], (side, side, 1)) for wave in waves.values()])
    coarse, fine = applied(damage, tf.constant(images, tf.uint8), keys_of(2))[0].astype(float)
    assert np.abs(coarse - images[0]).max() <= (16 if factor == 8 else 8)
    inside = slice(2 * factor, -2 * factor)
    assert np.abs(fine[inside] - 128).max() <= (13 if factor == 2 else 8)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_downscaling_is_that_of_pillow(factor):
    images = pictures_of(3, (48, 72, 3)).numpy()
    found, _ = applied(Downscale(factor=factor), tf.constant(images), keys_of(3))
    for channel in range(3):  # Pillow rounds only at the end if the numbers are floats
        for image, ours in zip(images[..., channel], found[..., channel], strict=True):
            theirs = image
            for size in ((72 // factor, 48 // factor), (72, 48)):
                resized = Image.fromarray(theirs.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
                theirs = np.clip(np.round(np.asarray(resized)), 0, 255)
            assert np.abs(ours - theirs).max() <= 1  # of a number half-way between two
            assert np.mean(ours != theirs) < 0.01


def test_grey_is_that_of_pillow():
    colours = np.stack(np.meshgrid(*[np.arange(0, 256, 5)] * 3), -1).astype(np.uint8).reshape(1, 52, -1, 3)
    found, mask = applied(Grey(), tf.constant(colours), keys_of(1))
    theirs = np.asarray(Image.fromarray(colours[0]).convert("L"))
    np.testing.assert_array_equal(found[0], np.repeat(theirs[..., None], 3, axis=2))
    assert mask is None


@pytest.mark.parametrize("shape", [(40, 24, 3), (17, 31, 1)])
@pytest.mark.parametrize("quality", [1, 30, 75, 100])
def test_jpeg_is_that_of_pillow(quality, shape):
    images = pictures_of(3, shape).numpy()
    found, _ = applied(Jpeg(quality=quality), tf.constant(images), keys_of(3))
    for image, ours in zip(images, found, strict=True):
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, "JPEG", quality=quality)
        np.testing.assert_array_equal(ours.squeeze(), np.asarray(Image.open(file)))


def test_each_image_draws_its_quality_from_the_range():
    images = tf.repeat(pictures_of(1, (16, 16, 3)), 60, axis=0)
    found, _ = applied(Jpeg(quality=(20, 22)), images, keys_of(60))
    each = [applied(Jpeg(quality=quality), images[:1], keys_of(1))[0][0] for quality in (20, 21, 22)]
    drawn = [[np.array_equal(image, one) for one in each] for image in found]
    assert np.any(drawn, axis=1).all()
    assert np.any(drawn, axis=0).all()


def write_masks(folder, masks):
    folder.mkdir(exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(mask).save(folder / name)
    return str(folder)


def half(height, width, value=255):
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = value
    return mask


def test_own_masks_of_any_size_are_resized_and_chosen_by_key(tmp_path, capsys):
    upper = half(300, 17).T.copy()
    colour = np.repeat(half(31, 51)[:, ::-1, None], 3, axis=2).copy()
    folder = write_masks(tmp_path / "masks", {"a.png": half(13, 40), "b.png": upper, "c.png": colour})
    damage = Mask(shape="file", masks=folder)
    images = pictures_of(60, (20, 32, 3))
    damage.check((20, 32, 3))
    found, mask = applied(damage, images, keys_of(60))
    wanted = [half(20, 32) > 0, half(32, 20).T > 0, half(20, 32)[:, ::-1] > 0]
    which = [[np.abs(one[..., 0] - other).mean() < 0.1 for other in wanted] for one in mask]
    assert np.sum(which, axis=1).tolist() == [1] * 60
    assert np.sum(which, axis=0).min() >= 10
    hole = np.broadcast_to(mask == 1, found.shape)
    np.testing.assert_array_equal(found[~hole], images.numpy()[~hole])
    alone, _ = applied(damage, images[7:8], keys_of(60)[7:8])
    np.testing.assert_array_equal(alone[0], found[7])
    assert capsys.readouterr().out == f"damage: 3 masks from {folder}, resized to 32x20\n"


@pytest.mark.parametrize("value", [1, 200, 255])
def test_own_masks_from_arrays_of_any_value(tmp_path, value):
    np.savez(tmp_path / "masks.npz", images=np.stack([half(9, 8, value), half(9, 8, value)[:, ::-1]]))
    _, mask = applied(Mask(shape="file", masks=str(tmp_path / "masks.npz")), pictures_of(8, (9, 8, 1)), keys_of(8))
    assert {one[0, 0, 0] for one in mask} == {0, 1}
    for one in mask:
        np.testing.assert_array_equal(one[..., 0], half(9, 8, 1)[:, :: 1 if one[0, 0, 0] else -1])


def test_transparent_pixels_are_the_hole(tmp_path):
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[..., 3] = 255 - half(16, 16)
    folder = write_masks(tmp_path / "masks", {"one.png": pixels})
    _, mask = applied(Mask(shape="file", masks=folder), pictures_of(1, (16, 16, 3)), keys_of(1))
    np.testing.assert_array_equal(mask[0, ..., 0], half(16, 16, 1))


def test_prepared_images_are_masks_too(digits):
    masks = own_masks.load(str(digits.folder), height=16, width=16)
    images, _ = digits.load("train")
    first = np.unpackbits(masks[0]).reshape(16, 16)
    np.testing.assert_array_equal(first, images[0, ..., 0] > 127)
    assert len(masks) == digits.count("train") + digits.count("test")


def test_an_archive_of_masks(tmp_path):
    folder = write_masks(tmp_path / "masks", {"a.png": half(20, 20)})
    archive = shutil.make_archive(tmp_path / "archive", "zip", folder)
    _, mask = applied(Mask(shape="file", masks=archive), pictures_of(2, (20, 20, 3)), keys_of(2))
    np.testing.assert_array_equal(mask[1, ..., 0], half(20, 20, 1))


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"a.png": half(8, 8), "b.png": np.zeros((9, 9), np.uint8)}, "where b.png has no hole at 16x16"),
        ({"a.png": half(8, 8), "b.png": np.full((9, 9), 255, np.uint8)}, "where b.png has nothing but a hole"),
    ],
)
def test_masks_that_are_of_no_use_are_named(tmp_path, masks, message):
    damage = Mask(shape="file", masks=write_masks(tmp_path / "masks", masks))
    with pytest.raises(ValueError, match=message) as caught:
        damage.check((16, 16, 3))
    assert "\n" not in str(caught.value)


def test_masks_that_cannot_be_read_are_named(tmp_path):
    folder = write_masks(tmp_path / "masks", {"a.png": half(8, 8)})
    (tmp_path / "masks" / "b.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"pictures that can be read. Received: b.png \(unreadable") as caught:
        Mask(shape="file", masks=folder).check((16, 16, 3))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="no such file or folder"):
        Mask(shape="file", masks=str(tmp_path / "nowhere")).check((16, 16, 3))


@pytest.mark.parametrize(
    ("damage", "shape", "message"),
    [
        (Mask(), (7, 64, 3), "expected sides of at least 8 pixels for damage=mask. Received: image_shape=(7, 64, 3)"),
        (
            Downscale(factor=8),
            (64, 28, 1),
            "expected sides that are multiples of 8 for damage.factor=8. Received: image_shape=(64, 28, 1)",
        ),
        (Grey(), (28, 28, 1), "expected images in colour for damage=grey. Received: image_shape=(28, 28, 1)"),
    ],
)
def test_images_that_cannot_be_damaged(damage, shape, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the whole message is compared
        damage.check(shape)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("blur", "expected one of"),
        ({"kind": "mask", "shape": "round"}, "shape: "),
        ({"kind": "mask", "shape": "file"}, "expected masks with shape=file, and only then. Received: shape=file"),
        ({"kind": "mask", "masks": "x"}, "expected masks with shape=file, and only then. Received: shape=training"),
        ({"kind": "mask", "max_share": 0.1}, "max_share: "),
        ({"kind": "noise", "sigma": -1}, "sigma: expected a number from 0 to 255, or two"),
        ({"kind": "noise", "sigma": [50, 10]}, "sigma: expected a number from 0 to 255, or two"),
        ({"kind": "noise", "sigma": [1, 2, 3]}, "sigma: expected a number from 0 to 255, or two"),
        ({"kind": "noise", "sigma": "much"}, "sigma: expected a number from 0 to 255, or two"),
        ({"kind": "noise", "sigma": math.nan}, "sigma: expected a number from 0 to 255, or two"),
        ({"kind": "noise", "sigma": 0}, "expected some noise"),
        ({"kind": "noise", "share": 0.5}, "share is of no use without distribution=salt_and_pepper"),
        ({"kind": "noise", "distribution": "poisson", "sigma": 10}, "sigma is of no use without distribution=gaussian"),
        ({"kind": "noise", "distribution": "poisson", "peak": 0}, "peak: "),
        ({"kind": "downscale", "factor": 5}, "factor: "),
        ({"kind": "jpeg", "quality": 0}, "quality: expected a number from 1 to 100, or two"),
        ({"kind": "jpeg", "quality": 2.5}, "quality: expected a number from 1 to 100, or two"),
        ({"kind": "jpeg", "quality": [20, 120]}, "quality: expected a number from 1 to 100, or two"),
    ],
)
def test_each_mistake_is_one_clear_line(settings, message):
    with pytest.raises(ValidationError) as caught:
        schema.parse(AnyDamage, settings)
    [line] = schema.problems(caught.value)
    assert message in line
    assert "Received: " in line
    assert "\n" not in line


@pytest.mark.parametrize("word", ["mask", "noise", "downscale", "grey", "jpeg"])
def test_a_damage_is_chosen_by_a_word_and_survives_json(word):
    damage = schema.parse(AnyDamage, word)
    assert damage.kind == word
    assert schema.parse(AnyDamage, damage.to_parameter()) == damage


def test_ranges_survive_json():
    for damage in (Noise(sigma=(0.5, 50)), Jpeg(quality=(5, 5)), Mask(shape="file", masks="x.npz")):
        assert schema.parse(AnyDamage, damage.to_parameter()) == damage


def test_files_beside_the_masks_are_named(tmp_path, capsys):
    folder = write_masks(tmp_path / "masks", {"a.png": half(8, 8)})
    (tmp_path / "masks" / "readme.txt").write_text("masks")
    own_masks.load(folder, height=8, width=8)
    ignored, _ = capsys.readouterr().out.splitlines()
    assert ignored.startswith(f"{folder}: ignored 1 file")
    assert ignored.endswith("such as readme.txt")


def test_masks_are_read_once_for_each_size(tmp_path, capsys):
    folder = write_masks(tmp_path / "masks", {"a.png": half(8, 8)})
    for _ in range(2):
        own_masks.load(folder, height=8, width=8)
        own_masks.load(folder, height=16, width=12)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"damage: 1 masks from {folder}", f"damage: 1 masks from {folder}, resized to 12x16"]


def test_equal_damages_have_one_identity_and_others_have_others(tmp_path):
    """Wherever masks of one's own are, and whether a default is written or not."""
    shape = (16, 16, 1)
    for number, side in enumerate((4, 6, 4)):
        (tmp_path / str(number)).mkdir()
        pixels = np.zeros((16, 16), np.uint8)
        pixels[:side] = 255
        Image.fromarray(pixels).save(tmp_path / str(number) / "mask.png")
    own = [Mask(shape="file", masks=str(tmp_path / str(number))).identity(shape) for number in range(3)]
    assert own[0] == own[2] != own[1]
    assert str(tmp_path) not in own[0]
    assert Mask(shape="thin").identity(shape) == Mask(shape="thin", max_share=0.5).identity(shape)
    damages = [
        Mask(),
        Mask(shape="thin"),
        Mask(shape="thin", max_share=0.4),
        Noise(sigma=25.0),
        Noise(sigma=50.0),
        Jpeg(),
    ]
    assert len({one.identity(shape) for one in damages} | set(own)) == len(damages) + 2


def test_own_masks_that_cover_too_much_are_left_out_with_a_word(tmp_path, capsys):
    for number, side in enumerate((4, 6, 12)):
        pixels = np.zeros((16, 16), np.uint8)
        pixels[:side] = 255
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    damage = Mask(shape="file", masks=str(tmp_path), max_share=0.5)
    keys = tf.constant([(0, number) for number in range(200)], tf.int64)
    damaged = damage.apply(tf.zeros((200, 16, 16, 1), tf.uint8), keys)
    assert set(np.mean(damaged.mask, axis=(1, 2, 3)).tolist()) == {4 / 16, 6 / 16}
    assert "2 masks from" in (printed := capsys.readouterr().out)
    assert "; 1 left out, whose hole is more than max_share=0.5 of the image" in printed
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").unlink()
    with pytest.raises(
        ValueError, match=r"expected masks whose hole is at most max_share of the image. Received: .*0.3"
    ):
        Mask(shape="file", masks=str(tmp_path), max_share=0.3).check((16, 16, 1))
