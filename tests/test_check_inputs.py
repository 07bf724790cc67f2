"""The step that looks for changed images and masks before the others, whose results may be in KFP's cache."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from ganlib.config import RunConfig
from ganlib.data import Archive, Arrays, DataConfig, Digits, ImageFolder, PairedImages, with_fingerprint
from ganlib.schema import parse
from ganlib.tasks import AnyTask


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_PIPELINES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(value):
    data = io.BytesIO()
    Image.new("L", (9, 9), value).save(data, "png")
    return data.getvalue()


def archive(count):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for index in range(count):
            file.writestr(zipfile.ZipInfo(f"{index:02d}.png"), picture(index))
    return data.getvalue()


def fingerprint(source):
    return with_fingerprint(DataConfig(source=source, size=8)).fingerprint


@pytest.mark.parametrize("kind", ["folder", "side_by_side"])
def test_a_folder_of_a_bucket_is_listed_and_described(objects, capsys, kind):
    for index in range(6):
        objects.blob(f"images/{index}.png").upload_from_string(picture(index))
    place = "gs://bucket/images"
    source = ImageFolder(path=place) if kind == "folder" else PairedImages(path=place)
    before = fingerprint(source)
    assert "train 4, test 2" in capsys.readouterr().out
    assert fingerprint(source) == before
    objects.blob("images/new.png").upload_from_string(picture(9))
    assert fingerprint(source) != before


def test_an_archive_on_a_server_is_not_downloaded(objects, cache, traffic):
    objects.blob("images.zip").upload_from_string(archive(6))
    source = Archive(path="gs://bucket/images.zip")
    before = fingerprint(source)
    assert not list(cache.rglob("*.zip"))
    objects.blob("images.zip").upload_from_string(archive(6))  # the same bytes at another time are no change
    assert fingerprint(source) == before
    objects.blob("images.zip").upload_from_string(archive(7))
    assert fingerprint(source) != before
    assert not list(cache.rglob("*.zip"))


def test_labels_count_as_well_as_images(objects):
    for name in ("images", "labels"):
        objects.blob(name).upload_from_string(b"1")
    source = Arrays(path="gs://bucket/images", labels="gs://bucket/labels")
    before = fingerprint(source)
    objects.blob("labels").upload_from_string(b"2")
    assert fingerprint(source) != before


def test_a_fingerprint_of_ones_own_stays(tmp_path):
    config = DataConfig(source=ImageFolder(path=str(tmp_path / "nowhere")), fingerprint="mine")
    assert with_fingerprint(config) == config


def test_the_embedded_digits_never_change():
    assert fingerprint(Digits()) == fingerprint(Digits())


@pytest.mark.parametrize("source", [Archive(path="gs://bucket/no.zip"), ImageFolder(path="gs://bucket/none")])
def test_images_that_are_not_there_are_a_mistake(objects, source):
    with pytest.raises(ValueError, match=r"no such .*Received: path='gs://bucket/"):
        fingerprint(source)


def test_changed_masks_in_a_bucket_are_noticed(objects):
    damage = {"kind": "mask", "shape": "file", "masks": "gs://bucket/masks"}
    task = RunConfig.model_validate({"task": {"kind": "restoration", "damage": damage}, "model": "unet"}).task
    assert task.damage.masks_fingerprint is None

    def pinned():
        return parse(AnyTask, task.to_parameter()).pinned().damage.masks_fingerprint

    hole = io.BytesIO()
    Image.fromarray(np.eye(9, dtype=np.uint8) * 255).save(hole, "png")
    for index in range(5):
        objects.blob(f"masks/{index}.png").upload_from_string(hole.getvalue())
    before = pinned()
    assert before == pinned()
    objects.blob("masks/new.png").upload_from_string(hole.getvalue())
    assert pinned() not in (None, before)
