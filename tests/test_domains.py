"""One class of prepared images is a data set of its own, in memory and streamed."""

import itertools

import numpy as np
import pytest
from PIL import Image

from ganlib.data import Arrays, DataConfig, ImageFolder, PairedImages, PreparedDataset, decoded, prepare, shuffling

COUNTS = {0: 23, 1: 9, 2: 14}
LABELS = np.random.default_rng(3).permutation(np.repeat(list(COUNTS), list(COUNTS.values())))
IMAGES = np.random.default_rng(0).integers(0, 256, (len(LABELS), 8, 8), dtype=np.uint8)
IMAGES[:, 0, 0] = np.arange(len(LABELS))  # names the image
BATCH = 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("classes")
    np.savez(folder / "data.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:30], y_test=LABELS[:30])
    config = DataConfig(source=Arrays(path=str(folder / "data.npz")), size=8, shards=3, flip=True)
    return prepare(config, folder / "dataset")


@pytest.fixture(params=["in memory", "streamed", "streamed through a small window"])
def memory(request, monkeypatch):
    if request.param == "streamed through a small window":
        monkeypatch.setattr(shuffling, "SHUFFLE_RECORDS", 5)
    return {} if request.param == "in memory" else {"in_memory_bytes": 0}


def numbers(batch):
    """The names of the images, whether mirrored or not."""
    images = np.asarray(batch["images"])[..., 0]
    names = {image.tobytes(): int(image[0, 0]) for image in IMAGES}
    names |= {image[:, ::-1].tobytes(): int(image[0, 0]) for image in IMAGES}
    return [names[image.tobytes()] for image in images]


@pytest.mark.parametrize("label", COUNTS)
def test_a_class_has_its_images_alone_in_the_stored_order(dataset, label):
    domain = dataset.of_class(str(label))
    for split in ("train", "test"):
        images, labels = dataset.load(split)
        own = labels == label
        assert domain.count(split) == own.sum()
        np.testing.assert_array_equal(domain.load(split)[0], images[own])
        np.testing.assert_array_equal(domain.load(split)[1], labels[own])
        np.testing.assert_array_equal(np.concatenate([each["images"] for each in domain.examples(split)]), images[own])
        np.testing.assert_array_equal(np.concatenate([each for each, _ in domain.read(split)]), images[own])
    assert domain.count("train") == COUNTS[label]
    assert domain.classes == dataset.classes
    assert domain.class_shares == [float(index == label) for index in COUNTS]
    assert domain.summary["train"] == COUNTS[label]
    assert domain.image_shape == domain.batch_shape == (8, 8, 1)
    assert domain.flip


def test_each_class_has_a_checksum_of_its_own(dataset):
    checksums = {dataset.checksum, *(dataset.of_class(str(label)).checksum for label in COUNTS)}
    assert len(checksums) == 4
    assert dataset.of_class("1").checksum == PreparedDataset.open(dataset.folder).of_class("1").checksum


@pytest.mark.parametrize("label", COUNTS)
def test_an_epoch_has_each_image_of_the_class_once(dataset, memory, label):
    domain, per_epoch = dataset.of_class(str(label)), COUNTS[label] // BATCH
    batches = list(domain.batches(batch_size=BATCH, seed=1, **memory).take(3 * per_epoch))
    own = set(np.flatnonzero(label == LABELS).tolist())
    orders = []
    for epoch in range(3):
        seen = list(itertools.chain(*map(numbers, batches[epoch * per_epoch : (epoch + 1) * per_epoch])))
        assert len(set(seen)) == len(seen) == per_epoch * BATCH
        assert set(seen) <= own
        orders.append(tuple(seen))
    assert len(set(orders)) == 3
    assert all((batch["labels"].numpy() == label).all() for batch in batches)


def test_a_resume_goes_on_with_the_batches_that_would_have_followed(dataset, memory):
    domain = dataset.of_class("0")
    whole = [batch["images"].numpy() for batch in domain.batches(batch_size=BATCH, seed=5, **memory).take(14)]
    for start in (1, 5, 11):
        rest = domain.batches(batch_size=BATCH, seed=5, start=start, **memory).take(3)
        for one, other in zip(rest, whole[start:], strict=False):
            np.testing.assert_array_equal(one["images"], other)


def test_another_seed_gives_another_order(dataset):
    domain = dataset.of_class("0")
    one, other = (numbers(next(iter(domain.batches(batch_size=20, seed=seed)))) for seed in (1, 2))
    assert one != other


def test_a_batch_larger_than_the_class_is_refused(dataset):
    with pytest.raises(ValueError, match=r"at least training.batch_size=10 training images\. Received: images=9"):
        dataset.of_class("1").batches(batch_size=10, seed=0)


def test_decoded_once_a_class_is_the_same(dataset):
    domain = dataset.of_class("2")
    kept = decoded.DecodedDataset(domain)
    for split in ("train", "test"):
        np.testing.assert_array_equal(kept.load(split)[0], domain.load(split)[0])
    assert kept.checksum == domain.checksum


@pytest.mark.parametrize("name", ["3", "", "all"])
def test_an_unknown_class_is_refused_with_those_that_there_are(dataset, name):
    with pytest.raises(
        ValueError, match=rf"expected one of the classes of 'arrays': 0, 1, 2\. Received: class='{name}'"
    ):
        dataset.of_class(name)


def test_data_without_classes_have_none(tmp_path):
    np.savez(tmp_path / "data.npz", images=IMAGES)
    dataset = prepare(DataConfig(source=Arrays(path=str(tmp_path / "data.npz")), size=8), tmp_path / "dataset")
    with pytest.raises(ValueError, match=r"expected one of the classes of 'arrays': none\. Received: class='A'"):
        dataset.of_class("A")


def test_a_class_of_a_class_is_the_class_or_nothing(dataset):
    domain = dataset.of_class("1")
    np.testing.assert_array_equal(domain.of_class("1").load("test")[0], domain.load("test")[0])
    with pytest.raises(ValueError, match="expected train images of every class used"):
        domain.of_class("2")


def test_two_domains_of_unequal_size_from_folders(tmp_path):
    for place, count in (("trainA", 11), ("trainB", 7), ("testA", 3), ("testB", 2)):
        (tmp_path / "images" / place).mkdir(parents=True)
        for index in range(count):
            pixels = np.full((8, 8), 100 * ("B" in place) + index, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / place / f"{index}.png")
    dataset = prepare(DataConfig(source=ImageFolder(path=str(tmp_path / "images")), size=8), tmp_path / "dataset")
    assert dataset.classes == ("A", "B")
    assert sorted(dataset.of_class("A").load("train")[0][:, 0, 0, 0]) == list(range(11))
    assert sorted(dataset.of_class("B").load("train")[0][:, 0, 0, 0]) == list(range(100, 107))
    assert sorted(dataset.of_class("B").load("test")[0][:, 0, 0, 0]) == [100, 101]


def test_a_class_of_pairs_keeps_its_targets(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "pictures" / split / name).mkdir(parents=True)
            for index in range(5):
                pixels = np.full((8, 8), 100 * (name == "dog") + index, np.uint8)
                Image.fromarray(np.concatenate([pixels, 255 - pixels], axis=1)).save(
                    tmp_path / "pictures" / split / name / f"{index}.png"
                )
    source = PairedImages(path=str(tmp_path / "pictures"))
    dogs = prepare(DataConfig(source=source, size=8), tmp_path / "dataset").of_class("dog")
    np.testing.assert_array_equal(dogs.of("targets").load("test")[0], 255 - dogs.load("test")[0])
    assert dogs.of("targets").of_class("dog").shown == "targets"
    for memory in ({}, {"in_memory_bytes": 0}):
        [batch] = dogs.batches(batch_size=5, seed=0, **memory).take(1)
        assert (batch["images"].numpy() >= 100).all()
        np.testing.assert_array_equal(batch["targets"], 255 - batch["images"].numpy())
