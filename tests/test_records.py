"""The one on-disk format: what is written reads back, and batches are a function of seed and number."""

import itertools
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from ganlib.data import Arrays, DataConfig, PreparedDataset, decoded, prepare, records, shuffling

COUNT = 53
BATCH = 8
PER_EPOCH = COUNT // BATCH
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)


def parts(batch):
    """The images and the labels of a batch."""
    return batch["images"], batch["labels"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> PreparedDataset:
    """Images whose label is their number, in three shards."""
    folder = tmp_path_factory.mktemp("numbered")
    numbers = np.arange(COUNT)
    np.savez(folder / "data.npz", x_train=IMAGES, y_train=numbers, x_test=IMAGES[:5], y_test=numbers[:5])
    source = Arrays(path=str(folder / "data.npz"))
    return prepare(DataConfig(source=source, size=8, colour="rgb", shards=3), folder / "dataset")


@pytest.fixture(scope="module")
def flipped(dataset) -> PreparedDataset:
    """The same images, to be mirrored at random."""
    source = Arrays(path=dataset.manifest["source"]["path"])
    config = DataConfig(source=source, size=8, colour="rgb", shards=3, flip=True)
    return prepare(config, dataset.folder.parent / "flipped")


@pytest.fixture(params=["in memory", "streamed", "streamed through a small window"])
def batches(request, dataset, monkeypatch):
    """Takes the numbers of the images in some batches."""
    if request.param == "streamed through a small window":
        monkeypatch.setattr(shuffling, "SHUFFLE_RECORDS", 10)
    memory = {} if request.param == "in memory" else {"in_memory_bytes": 0}

    def take(count, *, seed=1, start=0):
        found = dataset.batches(batch_size=BATCH, seed=seed, start=start, **memory).take(count)
        return [labels.numpy().tolist() for _, labels in map(parts, found)]

    take.memory = memory
    return take


def test_images_and_labels_stay_together(dataset, batches):
    found = list(dataset.batches(batch_size=BATCH, seed=0, **batches.memory).take(PER_EPOCH))
    for images, labels in map(parts, found):
        np.testing.assert_array_equal(images.numpy(), IMAGES[labels.numpy()])
        assert images.dtype == tf.uint8
        assert labels.dtype == tf.int64


def test_the_shape_of_a_batch_is_known_to_the_graph(dataset, batches):
    images, labels = parts(dataset.batches(batch_size=BATCH, seed=0, **batches.memory).element_spec)
    assert images.shape[1:] == (8, 8, 3) or images.shape.rank is None
    assert labels.dtype == tf.int64


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_the_same_seed_gives_the_same_batches(batches, seed):
    assert batches(PER_EPOCH + 1, seed=seed) == batches(PER_EPOCH + 1, seed=seed)


def test_another_seed_gives_other_batches(batches):
    assert batches(2, seed=1) != batches(2, seed=2)


def test_the_programs_global_seed_has_no_say(batches):
    found = []
    try:
        for seed in (0, 1):
            tf.random.set_seed(seed)
            found.append(batches(PER_EPOCH + 1))
        tf.random.uniform([3])
        found.append(batches(PER_EPOCH + 1))
    finally:
        tf.random.set_seed(None)
    assert found[0] == found[1] == found[2]


def test_a_resume_goes_on_with_exactly_the_batches_that_would_have_followed(batches):
    whole = batches(5 * PER_EPOCH)
    for start in (1, PER_EPOCH - 1, PER_EPOCH, 3 * PER_EPOCH + 2):
        assert batches(PER_EPOCH + 2, start=start) == whole[start : start + PER_EPOCH + 2]


def test_labels_of_no_class_are_refused_wherever_batches_are_read(dataset, batches):
    """They would be trained on as pictures of no class."""
    manifest = {**dataset.manifest, "classes": dataset.manifest["classes"][:-1]}
    fewer = PreparedDataset(dataset.folder, manifest)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=r"expected labels in 0\.\.51"):
        list(fewer.batches(batch_size=BATCH, seed=0, **batches.memory).take(4 * PER_EPOCH))


def test_an_epoch_shows_no_image_twice_and_leaves_out_only_the_remainder(batches):
    found = batches(4 * PER_EPOCH)
    for epoch in range(4):
        seen = list(itertools.chain(*found[epoch * PER_EPOCH : (epoch + 1) * PER_EPOCH]))
        assert len(seen) == len(set(seen)) == PER_EPOCH * BATCH
        assert set(seen) <= set(range(COUNT))


def test_each_epoch_has_an_order_of_its_own(batches):
    found = batches(4 * PER_EPOCH)
    epochs = [tuple(itertools.chain(*found[i * PER_EPOCH : (i + 1) * PER_EPOCH])) for i in range(4)]
    assert len(set(epochs)) == 4
    assert len({frozenset(epoch) for epoch in epochs}) > 1  # so the remainder is not always the same images


def test_every_image_comes_up_in_time(batches):
    assert set(itertools.chain(*batches(12 * PER_EPOCH))) == set(range(COUNT))


def test_neighbouring_seeds_do_not_share_epochs(batches):
    one, two = batches(3 * PER_EPOCH, seed=1), batches(3 * PER_EPOCH, seed=2)
    assert not {tuple(batch) for batch in one} & {tuple(batch) for batch in two}


def test_a_batch_of_the_whole_split_is_possible_and_a_larger_one_is_refused(dataset, batches):
    (images, labels), (_, later) = map(parts, dataset.batches(batch_size=COUNT, seed=0, **batches.memory).take(2))
    assert images.shape == (COUNT, 8, 8, 3)
    assert sorted(labels.numpy()) == sorted(later.numpy()) == list(range(COUNT))
    with pytest.raises(ValueError, match=r"at least training\.batch_size=54 training images\. Received: images=53"):
        dataset.batches(batch_size=COUNT + 1, seed=0, **batches.memory)


def test_data_that_fits_exactly_into_memory_is_held_there(dataset):
    size = COUNT * 8 * 8 * 3

    def first(limit):
        return next(iter(dataset.batches(batch_size=BATCH, seed=1, in_memory_bytes=limit)))["labels"].numpy().tolist()

    assert first(size) == first(2 * size)
    assert first(size - 1) == first(0) != first(size)


@pytest.fixture
def mirrored(flipped, batches):
    """Takes some batches' image numbers, and which of the images were mirrored."""

    def take(count, *, batch_size=BATCH, **choice):
        found = flipped.batches(batch_size=batch_size, **{"seed": 1, **choice}, **batches.memory).take(count)
        numbers, chosen = [], []
        for images, labels in map(parts, found):
            plain = IMAGES[labels.numpy()]
            chosen.append((images.numpy() != plain).any(axis=(1, 2, 3)))
            np.testing.assert_array_equal(images, np.where(chosen[-1][:, None, None, None], plain[:, :, ::-1], plain))
            numbers.append(labels.numpy().tolist())
        return numbers, np.array(chosen)

    return take


def test_a_flipped_image_is_mirrored_left_to_right_and_half_of_them_are(mirrored):
    _, chosen = mirrored(100)
    assert abs(chosen.mean() - 0.5) < 0.08  # 4.5 standard deviations of 800 draws
    assert (np.abs(chosen.mean(axis=0) - 0.5) < 0.25).all()  # at each place of the batch
    assert len({row.tobytes() for row in chosen}) > 60  # by batch; 83 of 256 patterns are to be expected


def test_flipping_leaves_the_order_as_it_was(mirrored, batches):
    assert mirrored(2 * PER_EPOCH)[0] == batches(2 * PER_EPOCH)


def test_what_is_flipped_is_a_function_of_seed_and_batch_number(mirrored):
    numbers, chosen = mirrored(3 * PER_EPOCH)
    for start in (0, 1, PER_EPOCH, 2 * PER_EPOCH + 1):
        later, again = mirrored(PER_EPOCH - 1, start=start)
        assert later == numbers[start : start + PER_EPOCH - 1]
        np.testing.assert_array_equal(again, chosen[start : start + PER_EPOCH - 1])
    assert (mirrored(PER_EPOCH, seed=2)[1] != chosen[:PER_EPOCH]).any()


def test_both_ways_of_reading_flip_alike(flipped):
    """By place in the batch, where other images stand."""

    def chosen(**memory):
        found = flipped.batches(batch_size=BATCH, seed=3, start=5, **memory).take(4)
        return [(images.numpy() != IMAGES[labels.numpy()]).any(axis=(1, 2, 3)) for images, labels in map(parts, found)]

    np.testing.assert_array_equal(chosen(), chosen(in_memory_bytes=0))


def test_the_programs_global_seed_has_no_say_in_what_is_flipped(mirrored):
    found = []
    try:
        for seed in (0, 1):
            tf.random.set_seed(seed)
            found.append(mirrored(4)[1])
    finally:
        tf.random.set_seed(None)
    np.testing.assert_array_equal(*found)


def test_stored_pixels_are_not_flipped(dataset, flipped, batches):
    assert flipped.checksum == dataset.checksum
    np.testing.assert_array_equal(flipped.load("train")[0], dataset.load("train")[0])
    assert flipped.batches(batch_size=BATCH, seed=0, **batches.memory).element_spec["images"].dtype == tf.uint8


def test_data_from_before_there_was_a_choice_is_not_flipped(flipped, copy):
    folder = copy(flipped.folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["preparation"].pop("flip") is True
    (folder / "manifest.json").write_text(json.dumps(manifest))
    old = PreparedDataset.open(folder)
    assert (flipped.flip, old.flip) == (True, False)
    for images, labels in map(parts, old.batches(batch_size=BATCH, seed=1).take(PER_EPOCH)):
        np.testing.assert_array_equal(images, IMAGES[labels.numpy()])


def test_the_split_reads_back_whole_and_in_the_stored_order(dataset):
    images, labels = dataset.load("train")
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert sorted(labels) == list(range(COUNT))
    np.testing.assert_array_equal(images, IMAGES[labels])
    np.testing.assert_array_equal(dataset.load("train")[1], labels)


def test_reading_in_parts_gives_the_same_as_reading_at_once(dataset, monkeypatch):
    monkeypatch.setattr(records, "READ_BATCH", 10)
    parts = [labels for _, labels in dataset.read("train")]
    assert [len(part) for part in parts] == [10, 10, 10, 10, 10, 3]
    monkeypatch.undo()
    np.testing.assert_array_equal(np.concatenate(parts), dataset.load("train")[1])


def test_any_tensorflow_program_can_read_the_shards(dataset):
    files = [str(dataset.folder / shard["file"]) for shard in dataset.manifest["splits"]["train"]["shards"]]
    found = {}
    for raw in tf.data.TFRecordDataset(files):
        example = tf.train.Example.FromString(raw.numpy())
        (pixels,) = example.features.feature["image"].bytes_list.value
        (label,) = example.features.feature["label"].int64_list.value
        found[label] = np.frombuffer(pixels, np.uint8).reshape(8, 8, 3)
    np.testing.assert_array_equal(np.stack([found[index] for index in range(COUNT)]), IMAGES)


def test_the_dataset_says_what_it_is(dataset):
    assert dataset.name == "arrays"
    assert dataset.image_shape == (8, 8, 3)
    assert dataset.classes == tuple(str(index) for index in range(COUNT))
    assert (dataset.count("train"), dataset.count("test")) == (COUNT, 5)
    assert dataset.summary == {
        "name": "arrays",
        "sha256": dataset.checksum,
        "image_shape": [8, 8, 3],
        "classes": COUNT,
        "train": COUNT,
        "test": 5,
        "skipped": 0,
    }


def test_a_folder_without_prepared_data_is_refused(tmp_path):
    cached = "which is empty; if it is of a step that KFP took from its cache, submit with --no-cache"
    with pytest.raises(ValueError, match=rf"^expected the file manifest.json. Received: folder='.*', {cached}$"):
        PreparedDataset.open(tmp_path)
    (tmp_path / "other").touch()
    with pytest.raises(ValueError, match=r"^expected the file manifest.json. Received: folder='.*'$"):
        PreparedDataset.open(tmp_path)
    with pytest.raises(ValueError, match=r"^expected the file manifest.json. Received: folder='.*gone'$"):
        PreparedDataset.open(tmp_path / "gone")


def test_data_of_another_format_is_refused(dataset, copy):
    folder = copy(dataset.folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": "gan-pipelines/tfrecord@0"}))
    with pytest.raises(ValueError, match=r"expected .* format .*@1. Received: format='gan-pipelines/tfrecord@0'$"):
        PreparedDataset.open(folder)


def test_a_manifest_that_is_none_is_refused(dataset, copy):
    folder = copy(dataset.folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(ValueError, match=r"expected .* format .*@1. Received: format=None$"):
        PreparedDataset.open(folder)
    for name in ("splits", "classes", "skipped"):
        (folder / "manifest.json").write_text(json.dumps({key: manifest[key] for key in manifest if key != name}))
        with pytest.raises(ValueError, match=r"^expected a whole manifest.json; prepare the data anew. Received: fol"):
            PreparedDataset.open(folder)


def test_a_shard_that_keeps_its_length_but_not_its_content_is_told(dataset, copy):
    folder = copy(dataset.folder)
    shard = folder / "train-00001-of-00003.tfrecord"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255
    shard.write_bytes(data)
    with pytest.raises(ValueError, match=r"^damaged images; prepare them anew. Received: folder='.*' \(.*\)$"):
        PreparedDataset.open(folder).load("train")


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_damaged_shard_is_named(dataset, copy, damage):
    folder = copy(dataset.folder)
    shard = folder / "train-00001-of-00003.tfrecord"
    if damage == "missing":
        shard.unlink()
    else:
        os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(ValueError, match=rf"the shard {shard.name} is missing or cut off. Received: folder='.*'$"):
        PreparedDataset.open(folder)


def test_a_dataset_can_be_moved(dataset, copy):
    moved = PreparedDataset.open(str(copy(dataset.folder)))
    np.testing.assert_array_equal(moved.load("train")[0], dataset.load("train")[0])
    assert moved.checksum == dataset.checksum


def test_a_small_split_is_decoded_once(dataset, copy):
    opened = PreparedDataset.open(copy(dataset.folder))
    images, labels = dataset.load("train")
    decoded_dataset = decoded.DecodedDataset(opened)
    for again in (False, True):
        batches = list(decoded_dataset.read("train"))
        assert [len(batch) for batch, _ in batches] == [len(batch) for batch, _ in dataset.read("train")]
        np.testing.assert_array_equal(np.concatenate([batch for batch, _ in batches]), images)
        np.testing.assert_array_equal(np.concatenate([batch for _, batch in batches]), labels)
        if not again:
            shutil.rmtree(opened.folder)
    with pytest.raises(ValueError, match="read-only"):
        batches[0][0][:] = 0


def test_a_large_split_is_decoded_each_time(dataset, copy, monkeypatch):
    monkeypatch.setattr(decoded, "DECODED_BYTES", 8)
    opened = PreparedDataset.open(copy(dataset.folder))
    decoded_dataset = decoded.DecodedDataset(opened)
    np.testing.assert_array_equal(decoded_dataset.load("test")[0], dataset.load("test")[0])
    shutil.rmtree(opened.folder)
    with pytest.raises(tf.errors.NotFoundError):
        decoded_dataset.load("test")
