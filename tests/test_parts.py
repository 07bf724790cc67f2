"""Merged parts equal, byte by byte, what one task writes, and only parts that belong together are merged."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from ganlib.data import Archive, Arrays, DataConfig, ImageFolder, merge_parts, parts, prepare, prepare_part, reading

COUNT = 60
BAD = range(3, COUNT, 7)


def write_images(folder, bad=BAD):
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 9, 9, 3), dtype=np.uint8)
    for index, image in enumerate(images):
        path = folder / ("train" if index % 4 else "test") / "ab"[index % 2] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if index in bad:
            path.write_text("text")
        else:
            Image.fromarray(image).save(path)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """45 images to train on and 15 to test on, of two classes; some in both splits are not images."""
    return write_images(tmp_path_factory.mktemp("parts") / "images")


def config_of(folder, **changes):
    source = ImageFolder(path=str(folder))
    return DataConfig(**{"source": source, "size": 8, "colour": "rgb", "max_unusable": 0.5, "shards": 4, **changes})


def made(config, place, numbers=None, of=None):
    """Prepares parts, by default one for each shard, and returns their folders."""
    folders = []
    for number in range(of or config.shards) if numbers is None else numbers:
        prepare_part(config, place / f"part-{number}", part=number, of=of or config.shards)
        folders.append(place / f"part-{number}")
    return folders


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.parametrize("shards", [1, 2, 7, 50])
@pytest.mark.parametrize("limit", [None, 3, 20, 35, 44])
def test_merged_parts_are_to_the_byte_what_one_task_writes(folder, tmp_path, shards, limit):
    config = config_of(folder, shards=shards, train_images=limit)
    whole = prepare(config, tmp_path / "whole")
    merged = merge_parts(config, made(config, tmp_path)[::-1], tmp_path / "merged")
    assert files_of(merged.folder) == files_of(whole.folder)
    assert merged.manifest["skipped"] != []
    usable = 45 - sum(index % 4 != 0 for index in BAD)
    assert merged.count("train") == min(limit or usable, usable)


@pytest.mark.parametrize(("shards", "tasks"), [(4, 3), (7, 2), (50, 6), (60, 59), (5, 1)])
def test_fewer_tasks_than_shards_write_the_same(folder, tmp_path, shards, tasks):
    config = config_of(folder, shards=shards, train_images=37)
    whole = prepare(config, tmp_path / "whole")
    folders = made(config, tmp_path, of=tasks)
    shards = [len(list(place.glob("train-*.tfrecord"))) for place in folders]
    assert sum(shards) == len(list(whole.folder.glob("train-*.tfrecord")))
    assert files_of(merge_parts(config, folders[::-1], tmp_path / "merged").folder) == files_of(whole.folder)


def test_parts_of_another_number_of_tasks_are_refused(folder, tmp_path):
    config = config_of(folder)
    mixed = made(config, tmp_path, [0]) + made(config, tmp_path / "other", [1, 2], of=3)
    refused(config, mixed, tmp_path, r"the parts of one preparation\. Received: parts of \[3, 4\]$")


def test_damaged_test_images_of_a_part_are_named(folder, tmp_path):
    config = config_of(folder)
    folders = made(config, tmp_path, of=2)
    shard = folders[1] / "test-00000-of-00001.tfrecord"
    content = bytearray(shard.read_bytes())
    content[20] ^= 1
    shard.write_bytes(content)
    refused(config, folders, tmp_path, r"the shard test-00000-of-00001\.tfrecord is not the one that its part wrote")


def test_two_processes_write_what_one_writes_from_every_kind_of_source(folder, tmp_path, monkeypatch):
    images = np.random.default_rng(1).integers(0, 256, (50, 9, 9), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(50) % 3)
    sources = [ImageFolder(path=str(folder)), Arrays(path=str(tmp_path / "data.npz"))]
    sources += [Archive(path=shutil.make_archive(tmp_path / "a", kind, folder)) for kind in ("zip", "gztar")]
    configs = [config_of(folder, source=source, train_images=36, shards=3) for source in sources]
    alone = [prepare(config, tmp_path / f"alone-{index}") for index, config in enumerate(configs)]
    started = []

    class WorkerPool(reading.WorkerPool):
        def __init__(self, count, *rest):
            started.append(count)
            super().__init__(count, *rest)

    monkeypatch.setattr(reading, "WorkerPool", WorkerPool)
    monkeypatch.setattr(reading, "cores", lambda: 2)
    monkeypatch.setattr(reading, "MIN_WORK_SECONDS", 0.0)
    monkeypatch.setattr(parts, "CHUNK_IMAGES", 5)
    for index, (config, one) in enumerate(zip(configs, alone, strict=True)):
        together = prepare(config, tmp_path / f"together-{index}")
        assert files_of(together.folder) == files_of(one.folder)
        assert started[index:] == [2]


@pytest.mark.parametrize(
    ("changes", "checksum"),
    [
        ({}, "77d85d1b983478482c8c1c3328d565cb6f401c4729831f2f4f8ad3946939a0a4"),
        ({"shards": 3}, "90a7a148f3c20d087ab2769674fc5b69b7bfc78b0135471d3932ac00f473475e"),
        ({"shards": 3, "train_images": 100}, "4dd8d28ce7dfb0dfcccdce1aff287ee1f24e9f60e34bb8b633730e272845019d"),
    ],
)
def test_prepared_digits_are_those_of_earlier_versions(tmp_path, changes, checksum):
    """In their original size, so that Pillow's version does not matter. Caches and runs depend on these checksums."""
    assert prepare(DataConfig(size=8, **changes), tmp_path / "dataset").checksum == checksum


def test_a_part_depends_on_nothing_but_its_own_images(tmp_path):
    folder = write_images(tmp_path / "images")
    config = config_of(folder, shards=3)
    before = made(config, tmp_path / "before")
    others = [item["name"] for part in (0, 2) for item in part_file(before[part])["slices"][0]["train"]["skipped"]]
    assert others != []
    for name in others:
        shutil.copy(folder / "train" / "a" / "02.png", folder / name)
    after = made(config, tmp_path / "after")
    shards = [f"train-{part:05d}-of-00003.tfrecord" for part in range(3)]
    same = [
        (one / name).read_bytes() == (two / name).read_bytes()
        for one, two, name in zip(before, after, shards, strict=True)
    ]
    assert same == [False, True, False]


def part_file(folder):
    return json.loads((folder / "part.json").read_text())


def test_a_part_is_written_atomically(folder, tmp_path):
    config = config_of(folder)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    with pytest.raises(OSError, match=r"^cannot write prepared images: .*Received: output="):
        prepare_part(config, tmp_path / "out" / "file" / "part", part=0, of=4)
    assert os.listdir(tmp_path / "out") == ["file"]
    part = prepare_part(config, tmp_path / "out" / "part", part=1, of=4)
    assert part.summary == {
        "part": 1,
        "train": part.slices[0]["train"].count,
        "test": part.slices[0]["test"].count,
        "skipped": 2,
    }
    assert sorted(os.listdir(tmp_path / "out" / "part")) == [
        "part.json",
        "test-00000-of-00001.fingerprints",
        "test-00000-of-00001.tfrecord",
        "train-00001-of-00004.fingerprints",
        "train-00001-of-00004.tfrecord",
    ]


def test_training_images_are_linked_into_the_dataset_and_the_parts_stay_as_they_were(folder, tmp_path):
    config = config_of(folder, train_images=20)
    folders = made(config, tmp_path)
    before = [files_of(place) for place in folders]
    merged = merge_parts(config, folders, tmp_path / "merged")
    assert [files_of(place) for place in folders] == before
    links = [(merged.folder / shard["file"]).stat().st_nlink for shard in merged.manifest["splits"]["train"]["shards"]]
    assert links == [2, 2, 2, 1]  # images were appended to the last one to replace others


def test_where_no_links_can_be_made_shards_are_copied(folder, tmp_path, monkeypatch):
    config = config_of(folder)
    folders = made(config, tmp_path)
    linked = merge_parts(config, folders, tmp_path / "linked")

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert files_of(merge_parts(config, folders, tmp_path / "copied").folder) == files_of(linked.folder)


def test_merging_opens_no_image_that_was_read_before(tmp_path):
    folder = write_images(tmp_path / "images")
    config = config_of(folder)
    whole = prepare(config, tmp_path / "whole")
    folders = made(config, tmp_path)
    shutil.rmtree(folder)
    assert files_of(merge_parts(config, folders, tmp_path / "merged").folder) == files_of(whole.folder)


def refused(config, folders, place, words):
    with pytest.raises(ValueError, match=words) as caught:
        merge_parts(config, folders, place / "merged")
    assert "\n" not in str(caught.value)
    assert "Received: " in str(caught.value)
    assert not (place / "merged").exists()


def test_no_parts_are_refused(folder, tmp_path):
    refused(config_of(folder), [], tmp_path, r"^expected at least one part\. Received: parts=\[\]$")


@pytest.mark.parametrize("numbers", [[0, 1, 3], [0, 1, 2], [0, 1, 1, 3], [0, 1, 2, 3, 3]], ids=str)
def test_missing_and_duplicate_parts_are_refused(folder, tmp_path, numbers):
    config = config_of(folder)
    made(config, tmp_path, sorted(set(numbers)))
    folders = []
    for index, number in enumerate(numbers):
        folders.append(shutil.copytree(tmp_path / f"part-{number}", tmp_path / f"copy-{index}"))
    refused(config, folders, tmp_path, re.escape(f"each part from 0 to 3 once. Received: parts={numbers}"))


def test_parts_of_other_settings_are_refused_by_the_setting(folder, tmp_path):
    config = config_of(folder, shards=2)
    folders = made(config, tmp_path)
    for name, value in (("size", 16), ("train_images", 30), ("flip", True)):
        other = config.model_copy(update={name: value})
        refused(other, folders, tmp_path, rf"parts made with data\.{name}={value}\. Received: .* in part 0$")
    mixed = [folders[0], made(config.model_copy(update={"min_side": 3}), tmp_path / "other")[1]]
    refused(config, mixed, tmp_path, r"parts made with data\.min_side=8\. Received: 3 in part 1$")


def test_parts_of_different_listings_are_refused(tmp_path):
    folder = write_images(tmp_path / "images")
    config = config_of(folder, shards=2, train_images=20)
    first = made(config, tmp_path, [0])
    shutil.copy(folder / "train" / "a" / "02.png", folder / "train" / "a" / "new.png")
    refused(config, first + made(config, tmp_path, [1]), tmp_path, r"parts of one listing; the images have changed")
    both = made(config, tmp_path)
    (folder / "train" / "a" / "new.png").unlink()
    refused(config, both, tmp_path, r"the images have changed since the parts were made")


@pytest.mark.parametrize(
    "damage", ["no file", "no json", "not whole", "other format", "no shard", "cut shard", "no fingerprints"]
)
def test_a_damaged_part_is_named(folder, tmp_path, damage):
    config = config_of(folder, shards=2)
    folders = made(config, tmp_path)
    file, shard = folders[1] / "part.json", folders[1] / "train-00001-of-00002.tfrecord"
    content = part_file(folders[1])
    match damage:
        case "no file":
            file.unlink()
        case "no json":
            file.write_text("{")
        case "not whole":
            file.write_text(json.dumps({key: content[key] for key in content if key != "origin"}))
        case "other format":
            file.write_text(json.dumps({**content, "format": "gan-pipelines/part@0"}))
        case "no shard":
            shard.unlink()
        case "no fingerprints":
            shard.with_suffix(".fingerprints").unlink()
        case "cut shard":
            os.truncate(shard, shard.stat().st_size - 1)
    words = {
        "no file": r"the file part\.json\. Received: folder='.*part-1'",
        "no json": r"not a JSON file: .*Received: path='.*part-1/part\.json'",
        "not whole": r"expected a complete part\.json\. Received: folder='.*part-1'",
        "no fingerprints": r"the shard train-00001-of-00002\.fingerprints is missing or cut off\. Received: folder=",
        "other format": r"a part of format gan-pipelines/part@5\. Received: format='gan-pipelines/part@0'",
    }
    missing = r"the shard train-00001-of-00002\.tfrecord is missing or cut off\. Received: folder='.*part-1'"
    refused(config, folders, tmp_path, words.get(damage, missing))


def test_fewer_shards_than_tasks_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"^expected data\.shards of at least 5, so that .*\. Received: shards=4$"):
        prepare_part(config_of(folder), tmp_path / "part", part=0, of=5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", [-1, 4])
def test_a_part_that_does_not_exist_is_refused(folder, tmp_path, part):
    with pytest.raises(ValueError, match=rf"^expected a part from 0 to 3\. Received: part={part}$"):
        prepare_part(config_of(folder), tmp_path / "part", part=part, of=4)


def test_too_many_unusable_images_of_all_parts_together_fail_the_merge(folder, tmp_path):
    config = config_of(folder, max_unusable=0.1)
    with pytest.raises(ValueError, match=r"^9 of 60 images cannot be used: ") as whole:
        prepare(config, tmp_path / "whole")
    message = str(whole.value).partition(", all=")[0]
    refused(config, made(config, tmp_path), tmp_path, f"^{re.escape(message)}, all=.*skipped.json'$")
