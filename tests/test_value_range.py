"""One range of values for a whole set of images: found or configured, the same for each image, and reported."""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from PIL import Image, TiffImagePlugin
from pydantic import ValidationError

from ganlib import streams
from ganlib.data import Arrays, DataConfig, ImageFolder, merge_parts, prepare, prepare_part, value_survey
from ganlib.data.base import Entry, Listing
from ganlib.data.conform import ImageStats, conform
from ganlib.data.loading import values_of
from ganlib.data.locations import Pixels
from ganlib.data.value_range import ValueRange, declared_limits

DTYPES = (np.int8, np.uint16, np.int16, np.int32, np.uint32, np.int64, np.float32, np.float64)
BALL = np.hypot(*np.mgrid[-11.5:12, -11.5:12]) / 20  # 0..0.82, float64 [24, 24]


def listing_of(images):
    entries = [Entry(f"{index:05d}", "train", None, 1) for index in range(len(images))]
    return Listing(entries, (), lambda index: Pixels(images[index]))


def folder_of(place: Path, images, suffix="tif", **options):
    place.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(place / f"{index:03d}.{suffix}", **options)
    return ImageFolder(path=str(place))


def balls(dtype, top, *, low=0, count=12):
    """Returns pictures of different brightness; the brightest has the value `top`."""
    return [(low + (top - low) * BALL / BALL.max() * (index + 1) / count).astype(dtype) for index in range(count)]


def prepared(source, place, **changes):
    return prepare(DataConfig(source=source, size=24, **changes), place)


@given(st.sampled_from(DTYPES), st.data())
def test_a_mapping_keeps_the_order_and_reaches_both_ends(dtype, data):
    limits = {"min_value": -(2**40), "max_value": 2**40} if np.dtype(dtype).kind == "f" else None
    values = data.draw(arrays_of.arrays(dtype, st.integers(2, 40), elements=limits))
    low, high = float(values.min()), float(values.max())
    if low == high:
        high = low + 1 + abs(low)
    pixels, outside = ValueRange(low, high).scale(values)
    order = np.argsort(values, kind="stable")
    assert (np.diff(pixels[order].astype(int)) >= 0).all()
    assert pixels[values == low].tolist() == [0] * int((values == low).sum())
    assert pixels[values == high].tolist() == [255] * int((values == high).sum())
    assert not outside


@given(st.integers(1, 16), st.integers(-70_000, 70_000), st.sampled_from([np.int32, np.int64, np.float64]))
def test_no_more_levels_are_lost_than_256_make_necessary(bits, low, dtype):
    values = np.arange(2**bits).astype(dtype) + dtype(low)
    pixels, _ = ValueRange(low, low + 2**bits - 1).scale(values)
    assert len(np.unique(pixels)) == min(256, 2**bits)


@given(st.integers(8, 16), st.data())
def test_the_range_applies_to_each_image_whatever_their_order(bits, data):
    whole = np.linspace(0, 2**bits - 1, 16).round().astype(np.uint16).reshape(4, 4)
    others = data.draw(st.lists(arrays_of.arrays(np.uint16, (4, 4), elements={"max_value": 2**bits - 1}), max_size=5))
    images = data.draw(st.permutations([whole, *others]))
    result = value_survey.survey(listing_of(images)).values
    assert result == ValueRange(0, 2 ** (bits if bits % 2 == 0 else bits + 1) - 1, "integers")
    for image in images:
        picture, _ = conform(
            lambda image=image: image,
            size=(4, 4),
            colour="grey",
            fit="crop",
            resize="nearest",
            min_side=1,
            values=result,
        )
        np.testing.assert_array_equal(np.asarray(picture), np.rint(image * (255 / result.high)))


@given(st.sampled_from(["integers", "floats"]), st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_a_usual_range_contains_the_values_that_it_was_found_for(kind, one, other):
    low, high = sorted([np.floor(one), np.ceil(other)] if kind == "integers" else [one, other])
    result = ValueRange.usual(low, high, kind)
    if result is None:
        assert kind == "floats"
        return
    slack = 0.1 if abs(result.high) == 1 else 0
    assert result.low - slack <= low <= high <= result.high + slack


@pytest.mark.parametrize(
    ("low", "high", "kind", "expected"),
    [
        (0, 250, "integers", "0..255"),
        (3, 900, "integers", "0..1023"),
        (0, 3100, "integers", "0..4095"),
        (0, 9_870, "integers", "0..16383"),
        (0, 60_000, "integers", "0..65535"),
        (0, 100_000, "integers", "0..131071"),
        (-1000, 1800, "integers", "-1024..3071"),
        (-2000, 1500, "integers", "-2048..2047"),
        (-20_000, 30_000, "integers", "-32768..32767"),
        (0.0, 0.7, "floats", "0..1"),
        (-0.02, 1.02, "floats", "0..1"),
        (-0.9, 0.9, "floats", "-1..1"),
        (0.0, 254.6, "floats", "0..255"),
        (0.0, 3_999.5, "floats", "0..4095"),
        (0.4, 9.8, "floats", None),
    ],
)
def test_the_usual_ranges_are_those_that_occur_in_practice(low, high, kind, expected):
    result = ValueRange.usual(low, high, kind)
    assert (result and result.text) == expected


@pytest.mark.parametrize(
    ("dtype", "top", "suffix", "values"),
    [
        (np.uint16, 1000, "png", "0..1023"),
        (np.uint16, 4095, "png", "0..4095"),
        (np.uint16, 60_000, "tif", "0..65535"),
        (np.int32, 255, "tif", "0..255"),
        (np.int32, 4095, "tif", "0..4095"),
        (np.float32, 1.0, "tif", "0..1"),
        (np.float32, 255.0, "tif", "0..255"),
    ],
)
def test_deep_grey_keeps_its_levels_and_the_range_is_printed(tmp_path, capsys, dtype, top, suffix, values):
    dataset = prepared(folder_of(tmp_path / "images", balls(dtype, top), suffix), tmp_path / "dataset")
    images = np.concatenate([dataset.load(split)[0] for split in ("train", "test")])
    full = dataset.values.high
    expected = {
        np.rint(np.asarray(ball, float) * (255 / full)).astype(np.uint8).tobytes() for ball in balls(dtype, top)
    }
    assert {image.tobytes() for image in images} == expected
    out = capsys.readouterr().out
    assert f"values {values} of images with more than 8 bits become 0..255\n" in out
    assert f"note: 0..255 stands for {values} of the " in out
    assert dataset.notes[0].startswith(f"0..255 stands for {values} of the ")


def test_signed_values_of_a_scanner_have_their_own_range(tmp_path):
    images = balls(np.int32, 2500, low=-1000)
    dataset = prepared(folder_of(tmp_path / "images", images), tmp_path / "dataset")
    assert dataset.values == ValueRange(-1024, 3071, "integers")


def test_a_part_has_the_range_of_all_though_its_own_images_are_dark(tmp_path):
    source = folder_of(tmp_path / "images", balls(np.uint16, 4095, count=30), "png")
    config = DataConfig(source=source, size=24, shards=5)
    whole = prepare(config, tmp_path / "whole")
    folders = [tmp_path / f"part-{part}" for part in range(5)]
    made = [prepare_part(config, folder, part=part, of=5) for part, folder in enumerate(folders)]
    assert {part.origin.values for part in made} == {ValueRange(0, 4095, "integers")}
    merged = merge_parts(config, folders, tmp_path / "merged")
    assert {path.name: path.read_bytes() for path in merged.folder.iterdir()} == {
        path.name: path.read_bytes() for path in whole.folder.iterdir()
    }


def test_parts_of_two_ranges_are_refused(tmp_path):
    source = folder_of(tmp_path / "images", balls(np.uint16, 1000))
    config = DataConfig(source=source, size=24, shards=2)
    for part, top in enumerate((1000, 4095)):
        Image.fromarray(balls(np.uint16, top)[-1]).save(
            tmp_path / "images" / "003.tif"
        )  # the same size in bytes as before
        prepare_part(config, tmp_path / f"part-{part}", part=part, of=2)
    message = r"^expected parts with the same range of values; .* Received: 0\.\.4095 in part 1, 0\.\.1023 in 0$"
    with pytest.raises(ValueError, match=message):
        merge_parts(config, [tmp_path / "part-0", tmp_path / "part-1"], tmp_path / "merged")


def test_values_outside_of_a_range_that_was_found_are_clipped_counted_and_noted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(value_survey, "SAMPLE_SIZE", 20)
    images = balls(np.uint16, 1000, count=60)
    sampled = sorted(np.random.default_rng(streams.key("survey")).choice(60, 20, replace=False).tolist())
    bright = [index for index in range(60) if index not in sampled][:3]
    for index in bright:
        images[index] = images[index] + np.uint16(3000)
    source = folder_of(tmp_path / "images", images, "png")
    dataset = prepared(source, tmp_path / "dataset")
    assert dataset.manifest["remarks"]["values outside 0..1023: clipped"] == 3
    assert "note: 3 images: values outside 0..1023: clipped.\n" in capsys.readouterr().out
    given_one = prepared(source, tmp_path / "given", value_range=(0, 4095))
    assert "values outside" not in str(given_one.manifest["remarks"])


@pytest.mark.parametrize(
    ("dtype", "top", "hot", "message"),
    [
        (np.uint16, 4095, 65535, "; all but 1 have 0..4095, which data.value_range=[0, 4095] would spread"),
        (np.float32, 1, 37, "; all but 1 have 0..1, which data.value_range=[0, 1] would spread"),
        (np.int32, 3000, -32768, "; all but 1 have 0..4095, which data.value_range=[0, 4095] would spread"),
        (np.uint16, 4095, 4000, ""),
    ],
)
def test_one_outlier_among_the_images_is_reported(tmp_path, capsys, dtype, top, hot, message):
    images = balls(dtype, top)
    images[3][0, 0] = hot
    prepared(folder_of(tmp_path / "images", images), tmp_path / "dataset")
    [line] = [line for line in capsys.readouterr().out.splitlines() if " become 0..255" in line]
    assert line.endswith(f" become 0..255{message}")


def test_an_outlier_that_leaves_a_set_without_a_usual_range_is_reported(tmp_path):
    images = balls(np.float32, 1)
    images[3][0, 0] = 1e30
    result = value_survey.survey(folder_of(tmp_path / "images", images).listing())
    assert result.text.endswith(
        "..1e+30 of 12 images fit no usual range: set data.value_range; all but 1 have 0..1, which "
        "data.value_range=[0, 1] would spread"
    )
    mixed = folder_of(tmp_path / "mixed", [*images, *balls(np.uint8, 255)])
    assert value_survey.survey(mixed.listing()).text.endswith("set data.value_range; all but 1 have 0..1")


def test_values_that_are_not_numbers_are_reported_before_any_range(tmp_path):
    images = balls(np.float32, 1)
    for image in images:
        image[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"12 of 12 images cannot be used: .*values that are not finite numbers"):
        prepared(folder_of(tmp_path / "images", images), tmp_path / "dataset")


def test_images_of_8_bits_among_deep_ones_stay_as_they_are(tmp_path, capsys):
    images = [*balls(np.uint16, 4095), *balls(np.uint8, 255)]
    dataset = prepared(folder_of(tmp_path / "images", images, "png"), tmp_path / "dataset")
    pictures = {image.tobytes() for split in ("train", "test") for image in dataset.load(split)[0]}
    assert {image.tobytes() for image in balls(np.uint8, 255)} <= pictures
    assert (
        "values 0..4095 of 12 of 24 images with more than 8 bits become 0..255; those of 8" in capsys.readouterr().out
    )


def test_the_smaller_kind_among_integers_and_fractions_is_skipped_and_a_given_range_takes_both(tmp_path):
    images = [*balls(np.uint16, 4095), balls(np.float32, 4095)[-1]]
    source = folder_of(tmp_path / "images", images)
    dataset = prepared(source, tmp_path / "dataset", max_unusable=0.1)
    [aside] = dataset.manifest["skipped"]
    assert aside["reason"] == "floating-point values of unknown range; set data.value_range"
    assert prepared(source, tmp_path / "given", value_range=(0, 4095)).manifest["skipped"] == []


def test_values_of_no_usual_range_are_refused_with_what_to_set(tmp_path, capsys):
    source = folder_of(tmp_path / "images", balls(np.float32, 9.8))
    with pytest.raises(ValueError, match=r"12 of 12 images cannot be used: .*set data\.value_range"):
        prepared(source, tmp_path / "dataset")
    output = capsys.readouterr().out
    assert re.search(r"values \S+\.\.9\.\d+ of 12 images fit no usual range: set data\.value_range", output)
    assert prepared(source, tmp_path / "given", value_range=(0, 10)).values.text == "0..10"


@pytest.mark.parametrize("ends", [(5, 5), (9, 1), (0,), "all", (0, float("nan"))])
def test_an_invalid_range_is_refused(ends):
    with pytest.raises(ValidationError, match="value_range"):
        DataConfig(value_range=ends)


def test_a_range_goes_through_a_pipeline_parameter_unharmed():
    config = DataConfig(value_range=(-1024, 3071))
    assert DataConfig.model_validate(config.to_parameter()) == config
    assert "value_range" not in DataConfig().to_parameter()


@pytest.mark.parametrize(
    ("top", "message"),
    [
        (15, "The values use 6% of their range, 0..15; data.value_range=[0, 15] would spread them."),
        (60, "The values use 24% of their range, 0..60; data.value_range=[0, 60] would spread them."),
        (0, "The values use 0% of their range, 0..0."),
        (64, None),
        (255, None),
    ],
)
def test_images_that_use_a_small_share_of_their_range_have_a_note(tmp_path, top, message):
    source = folder_of(tmp_path / "images", balls(np.uint8, top), "png")
    notes = prepared(source, tmp_path / "dataset").notes
    assert [note for note in notes if "of their range" in note] == ([message] if message else [])


def test_the_range_that_a_note_names_is_that_of_the_originals(tmp_path):
    source = folder_of(tmp_path / "images", balls(np.uint16, 700), "png")
    message = prepared(source, tmp_path / "dataset", value_range=(0, 65535)).notes
    assert "The values use 1% of their range, 0..900; data.value_range=[0, 900] would spread them." in message


def test_statistics_of_chunks_add_up():
    stats = ImageStats()
    stats.add_values(Image.new("RGB", (2, 2), (3, 9, 4)))
    other = ImageStats()
    other.add_values(Image.new("L", (2, 2), 30))
    stats.merge(other)
    assert (stats.low, stats.high) == (3, 30)


def opened_as(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def with_significant_bits(bits):
    data = io.BytesIO()
    Image.fromarray(np.full((8, 8), 900, np.uint16)).save(data, "PNG")
    content = data.getvalue()
    chunk = b"sBIT" + bytes([bits])
    chunk = struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return Image.open(io.BytesIO(content[:33] + chunk + content[33:]))


def test_what_files_declare_counts():
    grey = Image.fromarray(np.full((8, 8), 900, np.uint16))
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[281] = 16383
    assert declared_limits(opened_as(grey, "PNG")) == []
    assert declared_limits(with_significant_bits(12)) == [4095]
    assert declared_limits(opened_as(grey, "TIFF", tiffinfo=tags)) == [16383]
    plain = Image.open(io.BytesIO(b"P2 2 2 4095 0 900 3 4"))
    assert declared_limits(plain) == [4095]


def test_a_pgm_file_gives_the_numbers_that_it_contains(tmp_path):
    for index in range(8):
        values = np.full((24, 24), 100 * index, ">u2")
        (tmp_path / f"{index}.pgm").write_bytes(b"P5 24 24 4095\n" + values.tobytes())
    dataset = prepared(ImageFolder(path=str(tmp_path)), tmp_path / "dataset")
    shades = sorted({int(image[0, 0, 0]) for split in ("train", "test") for image in dataset.load(split)[0]})
    assert dataset.values.text == "0..4095"
    assert shades == [round(100 * index * 255 / 4095) for index in range(8)]


@pytest.mark.parametrize(
    ("images", "values"),
    [
        (np.stack(balls(np.float32, 1.0)), "0..1"),
        (np.stack(balls(np.float64, 1.0, low=-1.0)), "-1..1"),
        (np.stack(balls(np.uint16, 4000)), "0..4095"),
        (np.stack(balls(np.int64, 255)), "0..255"),
        (np.stack(balls(np.float16, 1.0))[..., None].repeat(3, axis=3), "0..1"),
    ],
    ids=["0..1", "-1..1", "12 bits", "long integers", "colour"],
)
def test_arrays_of_any_numbers_follow_the_same_rule(tmp_path, images, values):
    np.savez(tmp_path / "data.npz", images=images)
    colour = "rgb" if images.ndim == 4 else "grey"
    dataset = prepared(Arrays(path=str(tmp_path / "data.npz")), tmp_path / "dataset", colour=colour)
    assert dataset.values.text == values
    expected, _ = dataset.values.scale(images)
    result = {image.tobytes() for split in ("train", "test") for image in dataset.load(split)[0]}
    assert result == {image.tobytes() for image in expected}


@pytest.mark.parametrize(("sample_format", "ends"), [(1, (1, 2**32 - 1)), (2, (-(2**31) + 5, 7))])
def test_a_tiff_file_of_32_bits_has_a_sign_only_where_it_says_so(sample_format, ends):
    numbers = np.array([[1, 2**31 + 5, 7]] if sample_format == 2 else [[1, 2**31 + 5, 2**32 - 1]], np.uint32)
    tags = {256: 3, 257: 1, 258: 32, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 12, 339: sample_format}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<I", 20) + numbers.tobytes() + struct.pack("<H", len(tags)) + table + bytes(4)
    assert values_of(lambda: Image.open(io.BytesIO(data))) == ("integers", *ends)


def test_idx_files_of_other_numbers_are_read(tmp_path):
    images = np.stack(balls(np.int16, 4095))
    head = bytes([0, 0, 0x0B, 3]) + struct.pack(">3I", *images.shape)
    (tmp_path / "images").write_bytes(head + images.astype(">i2").tobytes())
    assert prepared(Arrays(path=str(tmp_path / "images")), tmp_path / "dataset").values.text == "0..4095"


def test_images_of_8_bits_are_not_decoded_to_find_the_range(tmp_path):
    class Shut(Pixels):
        def open(self):
            image = Image.new("L", (8, 8))
            image.load = image.getdata = lambda: pytest.fail("decoded")
            return image

    listing = listing_of([None] * 3)
    shut = Listing(listing.entries, (), lambda _: Shut(None))
    assert value_survey.survey(shut) == (None, 0, 3, None, 0, (0.0, 0.0), None)


def test_no_more_images_are_sampled_than_stated():
    opened = []
    images = [np.full((2, 2), 300, np.uint16)] * 2000

    def locate(index):
        opened.append(index)
        return Pixels(images[index])

    listing = Listing(listing_of(images).entries, (), locate)
    one, two = value_survey.survey(listing), value_survey.survey(listing)
    assert one == two
    assert one.sampled == value_survey.SAMPLE_SIZE == len(set(opened)) == len(opened) / 2
