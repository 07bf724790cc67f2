"""Training images are enlarged and cropped at random places: a function of seed and batch number, as order is."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ganlib import streams
from ganlib.data import Arrays, DataConfig, PreparedDataset, prepare, shuffling

COUNT, BATCH = 21, 4
PER_EPOCH = COUNT // BATCH
SIZE = (12, 20)
MEMORY = [{}, {"in_memory_bytes": 0}]


IMAGES = np.random.default_rng(0).integers(60, 196, (COUNT, *SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Prepares oblong images, whose labels are their numbers, with some settings."""
    folder = tmp_path_factory.mktemp("jitter")
    numbers = np.arange(COUNT)
    np.savez(folder / "data.npz", x_train=IMAGES, y_train=numbers, x_test=IMAGES[:4], y_test=numbers[:4])

    def prepare_with(**settings) -> PreparedDataset:
        name = "-".join(map(str, settings.items())) or "plain"
        if (folder / name).exists():
            return PreparedDataset.open(folder / name)
        source = Arrays(path=str(folder / "data.npz"))
        return prepare(DataConfig(source=source, size=SIZE, colour="rgb", shards=2, **settings), folder / name)

    return prepare_with


def take(dataset, count, *, seed=1, start=0, **memory):
    found = dataset.batches(batch_size=BATCH, seed=seed, start=start, **memory).take(count)
    return [{name: values.numpy() for name, values in batch.items()} for batch in found]


def places(number, *, seed, sides, crop):
    """Where the crops of a batch begin, drawn as the documentation of the streams says."""
    key = streams.pair(streams.key("jitter", seed), number)
    drawn = tf.random.stateless_uniform([BATCH, 2], key).numpy().astype(np.float64)
    return np.floor(drawn * (np.array(sides) - crop + 1)).astype(int)


def interpolate(image, sides):
    """Bilinear enlargement with half-pixel centres, one axis after the other in float64."""
    result = image.astype(np.float64)
    for axis, side in enumerate(sides):
        length = image.shape[axis]
        position = np.clip((np.arange(side) + 0.5) * length / side - 0.5, 0, length - 1)
        lower = np.minimum(position.astype(int), length - 2)
        weight = np.expand_dims(position - lower, tuple(other for other in range(3) if other != axis))
        result = np.take(result, lower, axis) * (1 - weight) + np.take(result, lower + 1, axis) * weight
    return result


@pytest.mark.parametrize("memory", MEMORY, ids=["in memory", "streamed"])
def test_each_image_is_enlarged_and_cropped_back(prepared, memory):
    dataset = prepared(jitter=1.3, resize="bilinear")
    sides, epoch = (16, 26), take(dataset, PER_EPOCH, **memory)
    for number, batch in enumerate(epoch):
        tops = places(number, seed=1, sides=sides, crop=SIZE)
        for image, label, (top, left) in zip(batch["images"], batch["labels"], tops, strict=True):
            enlarged = interpolate(IMAGES[label], sides)[top : top + SIZE[0], left : left + SIZE[1]]
            assert image.dtype == np.uint8
            assert np.abs(image - enlarged).max() <= 0.51


@pytest.mark.parametrize("resize", ["bicubic", "bilinear", "lanczos"])
def test_enlarging_is_that_of_the_preparation(prepared, resize):
    """Pillow rounds after each axis, hence the tolerance. No filter overshoots beyond 0 or 255 here."""
    dataset, sides = prepared(jitter=1.5, resize=resize), (18, 30)
    [batch] = take(dataset, 1)
    for image, label, (top, left) in zip(
        batch["images"], batch["labels"], places(0, seed=1, sides=sides, crop=SIZE), strict=True
    ):
        enlarged = Image.fromarray(IMAGES[label]).resize(sides[::-1], Image.Resampling[resize.upper()])
        expected = np.asarray(enlarged, int)[top : top + SIZE[0], left : left + SIZE[1]]
        assert np.abs(image - expected).max() <= 2


@pytest.mark.parametrize("resize", ["bicubic", "lanczos"])
def test_values_beyond_white_and_black_are_clipped(resize):
    edge = np.zeros((1, 12, 20, 1), np.uint8)
    edge[:, :, 10:] = 255
    examples = tf.data.Dataset.from_tensors({"images": edge, "labels": [0]})
    [batch] = shuffling.jitter(examples, 1, factor=1.5, crop=(18, 30), resize={"images": resize}, seed=0, start=0)
    expected = np.asarray(Image.fromarray(edge[0, ..., 0]).resize((30, 18), Image.Resampling[resize.upper()]), int)
    assert np.abs(batch["images"][0, ..., 0] - expected).max() <= 1
    assert {0, 255} < set(np.unique(expected))


@pytest.mark.parametrize("memory", MEMORY, ids=["in memory", "streamed"])
@pytest.mark.parametrize("crop", [8, (8, 20), (12, 9)])
def test_crops_are_pieces_of_the_images_as_they_are(prepared, memory, crop):
    dataset = prepared(crop=crop)
    height, width = (crop, crop) if isinstance(crop, int) else crop
    assert dataset.batch_shape == (height, width, 3)
    assert dataset.image_shape == (*SIZE, 3)
    for number, batch in enumerate(take(dataset, PER_EPOCH, **memory)):
        assert batch["images"].shape == (BATCH, height, width, 3)
        tops = places(number, seed=1, sides=SIZE, crop=(height, width))
        for image, label, (top, left) in zip(batch["images"], batch["labels"], tops, strict=True):
            np.testing.assert_array_equal(image, IMAGES[label][top : top + height, left : left + width])


def test_every_place_comes_up_also_the_last(prepared):
    found = np.concatenate([places(number, seed=3, sides=SIZE, crop=(8, 18)) for number in range(100)])
    assert set(found[:, 0]) == {0, 1, 2, 3, 4}
    assert set(found[:, 1]) == {0, 1, 2}
    batches = take(prepared(crop=(8, 18)), 100, seed=3)
    firsts = {(int(label), image.tobytes()) for batch in batches for image, label in zip(*pair(batch), strict=True)}
    assert len(firsts) > 190  # of 21 * 15; 400 draws give 226 on average


def pair(batch):
    return batch["images"], batch["labels"]


def test_jitter_and_crop_are_one_crop_of_the_enlarged_image(prepared):
    dataset = prepared(jitter=1.5, crop=(8, 16), resize="nearest")
    [batch] = take(dataset, 1)
    for image, label, (top, left) in zip(*pair(batch), places(0, seed=1, sides=(18, 30), crop=(8, 16)), strict=True):
        rows, columns = ((np.arange(side) + 0.5) / 1.5 for side in (18, 30))
        enlarged = IMAGES[label][np.ix_(rows.astype(int), columns.astype(int))]
        np.testing.assert_array_equal(image, enlarged[top : top + 8, left : left + 16])


@pytest.mark.parametrize("memory", MEMORY, ids=["in memory", "streamed"])
def test_a_resume_goes_on_with_the_same_crops(prepared, memory):
    dataset = prepared(jitter=1.3, flip=True)
    whole = take(dataset, 3 * PER_EPOCH, **memory)
    for start in (1, PER_EPOCH, 2 * PER_EPOCH + 1):
        rest = take(dataset, 2, start=start, **memory)
        for one, other in zip(rest, whole[start : start + 2], strict=True):
            for name in ("images", "labels"):
                np.testing.assert_array_equal(one[name], other[name])


def test_each_epoch_and_each_seed_have_crops_of_their_own(prepared):
    dataset = prepared(jitter=1.3)
    seen = [
        {int(label): image.tobytes() for batch in epoch for image, label in zip(*pair(batch), strict=True)}
        for epoch in (
            take(dataset, PER_EPOCH),
            take(dataset, PER_EPOCH, start=PER_EPOCH),
            take(dataset, PER_EPOCH, seed=2),
        )
    ]
    for first, second in ((0, 1), (0, 2)):
        both = seen[first].keys() & seen[second].keys()
        same = [label for label in both if seen[first][label] == seen[second][label]]
        assert len(same) < len(both) / 2


@pytest.mark.parametrize("memory", MEMORY, ids=["in memory", "streamed"])
def test_order_and_mirroring_are_those_without_jitter(prepared, memory):
    """A crop of the whole image is the image, so nothing else has changed."""
    plain, whole = prepared(flip=True), prepared(flip=True, crop=SIZE)
    assert whole.batch_shape == whole.image_shape
    for one, other, jittered in zip(
        take(plain, 7, **memory),
        take(whole, 7, **memory),
        take(prepared(flip=True, jitter=1.3), 7, **memory),
        strict=True,
    ):
        np.testing.assert_array_equal(one["images"], other["images"])
        np.testing.assert_array_equal(one["labels"], other["labels"])
        np.testing.assert_array_equal(one["labels"], jittered["labels"])
        assert (one["images"] != jittered["images"]).any()


def test_batches_without_jitter_are_those_of_earlier_versions(tmp_path):
    """Runs resume with them."""
    dataset = prepare(DataConfig(size=8, shards=3, flip=True), tmp_path / "digits")
    digest = hashlib.sha256()
    for batch in dataset.batches(batch_size=64, seed=7, start=20).take(30):
        digest.update(batch["images"].numpy().tobytes())
        digest.update(batch["labels"].numpy().tobytes())
    assert digest.hexdigest() == "18431db37a1c1b8d09e497a20eabed5ea8b8c6e7ae648430a425a0952c418167"


def test_stored_images_stay_whole(prepared):
    plain, cropped = prepared(), prepared(crop=8, jitter=1.3)
    assert cropped.checksum == plain.checksum
    for split in ("train", "test"):
        np.testing.assert_array_equal(cropped.load(split)[0], plain.load(split)[0])
    assert cropped.manifest["preparation"]["crop"] == 8
    assert cropped.manifest["preparation"]["jitter"] == 1.3


def test_data_from_before_there_was_a_choice_are_not_jittered(prepared):
    dataset = prepared()
    preparation = {name: value for name, value in dataset.manifest["preparation"].items() if name != "jitter"}
    older = PreparedDataset(dataset.folder, {**dataset.manifest, "preparation": preparation})
    assert older.jitter == 1.0
    assert older.batch_shape == older.image_shape
    for one, other in zip(take(older, 3), take(dataset, 3), strict=True):
        np.testing.assert_array_equal(one["images"], other["images"])


def test_the_programs_global_seed_has_no_say(prepared):
    found = []
    for seed in (0, 1):
        tf.random.set_seed(seed)
        found.append(take(prepared(jitter=1.3), 2)[1]["images"])
    tf.random.set_seed(None)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 32}, "expected crops no larger than the images, data.size. Received: data.crop=32, data.size=28"),
        (
            {"size": [48, 80], "crop": [80, 48]},
            r"no larger than the images.*data.crop=\(80, 48\), data.size=\(48, 80\)",
        ),
        (
            {"target_resize": "nearest"},
            "only for pairs of images. Received: data.target_resize=nearest, data.source=digits",
        ),
        ({"jitter": 1.01}, "adds at least a pixel to 28. Received: data.jitter=1.01"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**settings)
