"""Any image becomes one uint8 array, or is rejected with a reason."""

import errno
import io
import os
import re
import socket
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from ganlib.data.conform import conform, open_image
from ganlib.data.loading import DEEP_CHANNELS, UnusableImageError
from ganlib.data.locations import File, Range
from ganlib.data.value_range import ValueRange

GREY = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
BITS16 = ValueRange(0, 65535, "integers")
HALF_CLEAR = np.where(np.arange(16) < 8, 0, 255).astype(np.uint8)[None, :].repeat(16, axis=0)


def take(image, **changes):
    """Conforms an image, or the bytes of an image file, to 16x16."""
    settings = {"size": (16, 16), "colour": "grey", "fit": "crop", "resize": "bicubic", "min_side": 8, **changes}
    made, remarks = conform(lambda: Image.open(io.BytesIO(image)) if isinstance(image, bytes) else image, **settings)
    return np.asarray(made, np.uint8).reshape(made.height, made.width, -1), remarks


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_16(deep):
    """A PNG file of 16 bits per channel, which Pillow does not write."""
    height, width, channels = deep.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    packed = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def ppm_16(deep):
    return b"P6 %d %d 65535\n" % deep.shape[1::-1] + deep.astype(">u2").tobytes()


def tiff_16(deep):
    """A TIFF file of 16 bits per channel, without compression."""
    height, width, channels = deep.shape
    data = deep.astype("<u2").tobytes()
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: 2, 273: 0, 277: channels, 278: height, 279: len(data)}
    end = 8 + 2 + 12 * len(tags) + 4
    tags[273] = end + 2 * channels
    entries = [struct.pack("<HHII", name, 4, 1, value) for name, value in tags.items() if name != 258]
    entries.insert(2, struct.pack("<HHII", 258, 3, channels, end))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4)
    return head + struct.pack(f"<{channels}H", *[16] * channels) + data


def luma(rgb):
    """ITU-R 601-2, as grey is defined: L = 0.299 R + 0.587 G + 0.114 B."""
    return rgb.astype(float) @ [0.299, 0.587, 0.114]


def on_white(colours, alpha):
    share = alpha[..., None] / 255 if colours.ndim == 3 else alpha / 255
    return colours * share + 255 * (1 - share)


def palette_image():
    """Six colours, of which each pixel names one."""
    palette = Image.frombytes("P", (16, 16), (GREY % 6).tobytes())
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 8, 7), (250, 240, 230), (128, 128, 128)]
    palette.putpalette([value for colour in colours for value in colour])
    return palette, np.array(colours, np.uint8)[GREY % 6]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_grey_pixels_of_the_right_size_stay_the_same(kind):
    pixels, remarks = take(encode(Image.fromarray(GREY), kind))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (16, 16, 1)
    np.testing.assert_array_equal(pixels[..., 0], GREY)
    assert remarks == []


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_colour_pixels_of_the_right_size_stay_the_same(kind):
    pixels, remarks = take(encode(Image.fromarray(RGB), kind), colour="rgb")
    np.testing.assert_array_equal(pixels, RGB)
    assert remarks == []


def test_black_and_white_becomes_0_and_255():
    bits = GREY > 100
    pixels, _ = take(encode(Image.fromarray(bits)))
    np.testing.assert_array_equal(pixels[..., 0], bits * 255)


def test_grey_repeats_over_the_three_channels():
    pixels, _ = take(Image.fromarray(GREY), colour="rgb")
    np.testing.assert_array_equal(pixels, GREY[..., None].repeat(3, axis=2))


def test_colour_that_is_lost_is_remarked():
    grey = np.full((16, 16, 3), 90, np.uint8)
    assert take(encode(Image.fromarray(grey), "PNG"), colour="grey")[1] == []
    grey[3, 3, 0] += 1
    assert take(encode(Image.fromarray(grey), "PNG"), colour="grey")[1] == ["colour: reduced to grey"]
    palette = Image.fromarray(grey).quantize(8)
    assert take(encode(palette, "PNG"), colour="grey")[1] == ["colour: reduced to grey"]
    assert take(encode(palette.convert("L").convert("P"), "PNG"), colour="grey")[1] == []


def test_colour_becomes_grey_by_its_brightness():
    pixels, remarks = take(Image.fromarray(RGB))
    np.testing.assert_allclose(pixels[..., 0], luma(RGB), atol=1)
    assert remarks == ["colour: reduced to grey"]


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_a_palette_gives_the_colours_it_names(colour):
    image, colours = palette_image()
    data = encode(image)
    assert Image.open(io.BytesIO(data)).mode == "P"
    pixels, remarks = take(data, colour=colour)
    if colour == "rgb":
        np.testing.assert_array_equal(pixels, colours)
    else:
        np.testing.assert_allclose(pixels[..., 0], luma(colours), atol=1)
    assert remarks == ([] if colour == "rgb" else ["colour: reduced to grey"])


@pytest.mark.parametrize("transparency", [1, b"\xff\x00\xff\xff\xff\xff"], ids=["one colour", "a byte a colour"])
def test_a_transparent_palette_colour_becomes_white(transparency):
    image, colours = palette_image()
    data = encode(image, transparency=transparency)
    assert Image.open(io.BytesIO(data)).mode == "P"
    pixels, remarks = take(data, colour="rgb")
    expected = colours.copy()
    expected[GREY % 6 == 1] = 255
    np.testing.assert_array_equal(pixels, expected)
    assert remarks == ["transparent: put on a white background"]


@pytest.mark.parametrize(
    ("mode", "values", "transparency"),
    [("L", GREY % 6, 2), ("RGB", RGB // 128 * 255, (255, 0, 0)), ("1", GREY > 99, 0)],
)
def test_a_colour_declared_transparent_becomes_white(mode, values, transparency):
    data = encode(Image.fromarray(values), transparency=transparency)
    assert Image.open(io.BytesIO(data)).mode == mode
    pixels, remarks = take(data, colour="rgb")
    clear = np.all(values == transparency, axis=-1) if mode == "RGB" else values == transparency
    assert clear.any()
    assert (pixels[clear] == 255).all()
    kept = values if mode == "RGB" else (values * (255 if mode == "1" else 1))[..., None].repeat(3, axis=2)
    np.testing.assert_array_equal(pixels[~clear], kept[~clear])
    assert remarks == ["transparent: put on a white background"]


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_grey_with_alpha_is_put_on_white(colour):
    pixels, remarks = take(encode(Image.fromarray(np.dstack([GREY, HALF_CLEAR]))), colour=colour)
    expected = np.where(HALF_CLEAR == 0, 255, GREY)
    for channel in range(pixels.shape[2]):
        np.testing.assert_array_equal(pixels[..., channel], expected)
    assert remarks == ["transparent: put on a white background"]


def test_colour_with_alpha_is_put_on_white_in_proportion():
    pixels, remarks = take(encode(Image.fromarray(np.dstack([RGB, GREY]))), colour="rgb")
    np.testing.assert_allclose(pixels, on_white(RGB, GREY), atol=1)
    assert remarks == ["transparent: put on a white background"]


def test_print_colours_are_converted_and_remarked():
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:8, :, 0] = 255  # cyan above, black ink below
    inks[8:, :, 3] = 255
    pixels, remarks = take(encode(Image.frombytes("CMYK", (16, 16), inks.tobytes()), "TIFF"), colour="rgb")
    assert (pixels[:8] == (0, 255, 255)).all()
    assert (pixels[8:] == 0).all()
    assert remarks == ["CMYK: converted to RGB"]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_to_8_bits(kind):
    deep = GREY.astype(np.uint16) * 257 + np.random.default_rng(2).integers(-100, 100, GREY.shape)
    deep = np.clip(deep, 0, 65535).astype(np.uint16)
    data = encode(Image.fromarray(deep), kind)
    assert Image.open(io.BytesIO(data)).mode.startswith("I")
    pixels, remarks = take(data, values=BITS16)
    np.testing.assert_array_equal(pixels[..., 0], GREY)
    assert remarks == ["values 0..65535: scaled to 0..255"]


def test_big_endian_16_bit_grey_is_no_different():
    image = Image.frombytes("I;16B", (16, 16), (GREY.astype(">u2") * 257).tobytes())
    pixels, _ = take(encode(image, "TIFF"), values=BITS16)
    np.testing.assert_array_equal(pixels[..., 0], GREY)


@pytest.mark.parametrize(
    ("deep", "values"),
    [
        (GREY.astype(np.int32), ValueRange(0, 255, "integers")),
        (GREY.astype(np.int32) * 100 - 5000, ValueRange(-5000, 20500, "integers")),
        (GREY / np.float32(255), ValueRange(0, 1, "floats")),
        (GREY.astype(np.float32) - 255, ValueRange(-255, 0)),
    ],
    ids=["bytes in 32 bits", "signed", "fractions", "any"],
)
def test_deep_grey_is_read_in_the_range_of_its_set(deep, values):
    pixels, remarks = take(encode(Image.fromarray(deep), "TIFF"), values=values)
    np.testing.assert_array_equal(pixels[..., 0], GREY)
    assert remarks == [f"values {values.text}: scaled to 0..255"]


def test_values_outside_the_range_are_clipped_and_remarked():
    pixels, remarks = take(
        encode(Image.fromarray(GREY.astype(np.int32)), "TIFF"), values=ValueRange(50, 101, "integers")
    )
    np.testing.assert_array_equal(pixels[..., 0], np.clip((GREY.astype(int) - 50) * 5, 0, 255))
    assert remarks == ["values 50..101: scaled to 0..255", "values outside 50..101: clipped"]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_a_configured_range_applies_to_8_bits_too(mode):
    image = Image.fromarray(GREY % 16).convert(mode)
    pixels, remarks = take(encode(image), values=ValueRange(0, 15), colour="grey")
    np.testing.assert_array_equal(pixels[..., 0], GREY % 16 * 17)
    assert remarks[0] == "values 0..15: scaled to 0..255"


def test_black_and_white_and_8_bits_of_a_deep_set_stay_as_they_are():
    bits = take(encode(Image.fromarray(GREY > 100)), values=ValueRange(0, 15))
    grey = take(encode(Image.fromarray(GREY)), values=ValueRange(0, 4095, "integers"))
    np.testing.assert_array_equal(bits[0][..., 0], (GREY > 100) * 255)
    np.testing.assert_array_equal(grey[0][..., 0], GREY)
    assert bits[1] == grey[1] == []


@pytest.mark.parametrize(
    ("image", "values", "reason"),
    [
        (Image.fromarray(GREY.astype(np.int32)), None, "values of more than 8 bits of unknown range; .*"),
        (Image.fromarray(GREY / np.float32(255)), BITS16, "floating-point values of unknown range; set data.val.*"),
        (
            Image.fromarray(np.full((16, 16), np.inf, np.float32)),
            ValueRange(0, 1),
            "values that are not finite numbers",
        ),
        (Image.new("LAB", (16, 16)), None, "colour mode LAB cannot be converted to L"),
    ],
    ids=["unknown", "other kind", "infinite", "lab"],
)
def test_pixels_without_a_known_range_are_refused(image, values, reason):
    with pytest.raises(UnusableImageError, match=f"^{reason}$"):
        take(encode(image, "TIFF"), values=values)


@pytest.mark.parametrize("kind", ["PNG grey", "PNG", "PNG alpha", "TIFF", "PPM"])
def test_channels_of_16_bits_that_pillow_reduces_are_remarked(kind):
    channels = {"PNG grey": 2, "PNG alpha": 4}.get(kind, 3)
    deep = np.random.default_rng(6).integers(0, 65536, (16, 16, channels), dtype=np.uint16)
    deep[..., 3:] = 65535
    data = {"TIFF": tiff_16, "PPM": ppm_16}.get(kind, png_16)(deep)
    pixels, remarks = take(data, colour="rgb")
    assert remarks[0] == DEEP_CHANNELS
    if channels > 2:
        np.testing.assert_allclose(pixels, deep[..., :3] / 257, atol=1)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame(kind):
    frames = [Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (0, 255, 120)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    pixels, remarks = take(data)
    assert (pixels == 0).all()
    assert "several frames or pages: only the first is used" in remarks


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (1, lambda stored: stored),
        (2, np.fliplr),
        (3, lambda stored: np.rot90(stored, 2)),
        (4, np.flipud),
        (5, np.transpose),
        (6, lambda stored: np.rot90(stored, -1)),
        (7, lambda stored: np.rot90(stored, 2).T),
        (8, np.rot90),
    ],
)
@pytest.mark.parametrize("deep", [False, True], ids=["8 bits", "16 bits"])
def test_the_orientation_that_a_camera_noted_is_applied(orientation, shown, deep):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(GREY.astype(np.uint16) * 257 if deep else GREY)
    pixels, _ = take(encode(stored, exif=exif), values=BITS16)
    np.testing.assert_array_equal(pixels[..., 0], shown(GREY))


def test_an_oblong_photo_is_turned_before_its_centre_is_cut_out():
    stored = np.zeros((16, 48), np.uint8)
    stored[:, 16:32] = GREY
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels, _ = take(encode(Image.fromarray(stored), exif=exif))
    np.testing.assert_array_equal(pixels[..., 0], np.rot90(GREY, -1))


@pytest.mark.parametrize("shape", [(16, 31), (29, 16)])
def test_the_centre_square_is_cut_out(shape):
    image = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    top, left = (shape[0] - 16) // 2, (shape[1] - 16) // 2
    pixels, _ = take(Image.fromarray(image))
    np.testing.assert_array_equal(pixels[..., 0], image[top : top + 16, left : left + 16])


@pytest.mark.parametrize("shape", [(16, 9), (9, 16)])
def test_the_short_side_is_padded_with_black(shape):
    image = np.random.default_rng(3).integers(1, 256, shape, dtype=np.uint8)
    top, left = (16 - shape[0]) // 2, (16 - shape[1]) // 2
    pixels, _ = take(Image.fromarray(image), fit="pad")
    expected = np.zeros((16, 16), np.uint8)
    expected[top : top + shape[0], left : left + shape[1]] = image
    np.testing.assert_array_equal(pixels[..., 0], expected)


@pytest.mark.parametrize("size", [(12, 20), (20, 12), (9, 17)])
@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (31, 40), (40, 31), (9, 170), (170, 9), (1, 1)])
def test_an_oblong_result_shows_the_centre_in_its_own_proportions(size, shape):
    image = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    pixels, _ = take(Image.fromarray(image), size=size, min_side=1, resize="nearest")
    # The largest centred rectangle of the result's proportions, found from the exact ratio.
    ratio = Fraction(size[1], size[0])
    width, height = min(shape[1], max(1, round(shape[0] * ratio))), min(shape[0], max(1, round(shape[1] / ratio)))
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    centre = Image.fromarray(image[top : top + height, left : left + width])
    expected = np.asarray(centre.resize((size[1], size[0]), Image.Resampling.NEAREST))
    np.testing.assert_array_equal(pixels[..., 0], expected)


@pytest.mark.parametrize(
    ("shape", "size", "inner"),
    [((20, 20), (10, 30), (10, 10)), ((20, 40), (30, 10), (5, 10)), ((7, 21), (10, 30), (10, 30))],
)
def test_an_oblong_sheet_holds_the_whole_image_on_black(shape, size, inner):
    pixels, _ = take(Image.fromarray(np.full(shape, 200, np.uint8)), size=size, fit="pad", min_side=1)
    rows, columns = np.nonzero(pixels[..., 0])
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    assert pixels.shape == (*size, 1)
    assert (rows.min(), rows.max() + 1) == (top, top + inner[0])
    assert (columns.min(), columns.max() + 1) == (left, left + inner[1])


def test_a_padded_image_is_scaled_to_its_long_side():
    pixels, _ = take(Image.fromarray(np.full((20, 40, 3), 200, np.uint8)), fit="pad", colour="rgb")
    assert (pixels[4:12] == 200).all()
    assert (pixels[:4] == 0).all()
    assert (pixels[12:] == 0).all()


def test_a_long_thin_image_is_padded_without_filling_the_memory():
    # Padded at its own scale, this image would take 4 GB.
    pixels, _ = take(Image.new("L", (64_000, 8), 255), fit="pad")
    assert (pixels[..., 0] == 255).any(axis=1).sum() == 1
    assert (pixels == 255).sum() == 16


@pytest.mark.parametrize("resize", ["bicubic", "bilinear", "lanczos", "nearest"])
@pytest.mark.parametrize("side", [8, 24, 100], ids=["enlarged", "reduced", "much reduced"])
def test_resizing_is_pillows(resize, side):
    image = Image.fromarray(np.random.default_rng(4).integers(0, 256, (side, side, 3), dtype=np.uint8))
    pixels, _ = take(image, resize=resize, colour="rgb")
    np.testing.assert_array_equal(pixels, np.asarray(image.resize((16, 16), Image.Resampling[resize.upper()])))


@pytest.mark.parametrize("resize", ["bicubic", "bilinear", "lanczos"])
def test_reducing_is_antialiased(resize):
    board = (np.indices((128, 128)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pixels, _ = take(Image.fromarray(board), resize=resize)
    assert np.abs(pixels.astype(int) - 127).max() <= 6  # without antialiasing each would be 0 or 255
    nearest, _ = take(Image.fromarray(board), resize="nearest")
    assert set(np.unique(nearest)) <= {0, 255}


@pytest.mark.parametrize(
    ("size", "min_side", "reason"),
    [((1, 1), 8, "too small: 1x1, expected sides of 8 or more"), ((7, 99), 8, "too small: 7x99, .* 8 or more")],
)
def test_a_small_image_is_refused_with_its_size(size, min_side, reason):
    with pytest.raises(UnusableImageError, match=f"^{reason}$"):
        take(encode(Image.new("RGB", size)), min_side=min_side)


def test_one_pixel_is_enough_where_it_is_allowed():
    pixels, _ = take(encode(Image.new("RGB", (1, 1), (10, 20, 30))), min_side=1, colour="rgb")
    assert pixels.shape == (16, 16, 3)
    assert (pixels == (10, 20, 30)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_truncated_file_is_refused_with_a_reason_of_one_line(kind):
    noise = Image.fromarray(np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encode(noise, kind)
    with pytest.raises(UnusableImageError, match=r"^(unreadable: .+|too small: .+)$") as caught:
        take(data[: len(data) // 2])
    assert "\n" not in str(caught.value)
    assert "0x" not in str(caught.value)  # no address of an object, which would differ from run to run


def test_a_truncated_jpeg_says_so():
    data = encode(Image.fromarray(np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")
    with pytest.raises(UnusableImageError, match="truncated"):
        take(data[: len(data) // 2])


@pytest.mark.parametrize("data", [b"", b"just a text\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_a_file_that_is_not_an_image_is_refused(data):
    with pytest.raises(UnusableImageError, match=r"^unreadable: not an image$"):
        take(data)


def test_an_image_with_more_pixels_than_is_safe_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnusableImageError, match=r"^too many pixels to be opened safely$"):
        take(encode(Image.fromarray(GREY)))


def test_a_file_that_vanished_is_refused(tmp_path):
    with pytest.raises(UnusableImageError, match=r"^unreadable: .*No such file"):
        conform(
            lambda: Image.open(tmp_path / "gone.png"),
            size=16, colour="grey", fit="crop", resize="bicubic", min_side=8,
        )  # fmt: skip


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM])
def test_a_machine_that_fails_to_read_says_nothing_of_the_image(number):
    def read():
        raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught:
        open_image(read, colour="grey")
    assert caught.value.errno == number


def test_too_little_memory_says_nothing_of_the_image():
    def read():
        raise MemoryError

    with pytest.raises(MemoryError):
        open_image(read, colour="grey")


@pytest.mark.parametrize("kind", ["gone", "circle", "socket", "long", "damaged"])
def test_what_the_system_says_of_the_file_itself_is_a_reason(tmp_path, kind):
    path = tmp_path / "image.png"
    if kind == "circle":
        path.symlink_to(path)
    with socket.socket(socket.AF_UNIX) as server, (tmp_path / "archive").open("w+b") as archive:
        if kind == "socket":
            server.bind(os.path.relpath(path))  # an absolute one may be too long
        place = File(str(path.with_name("x" * 300)) if kind == "long" else str(path))
        with pytest.raises(UnusableImageError, match=r"^unreadable: "):
            open_image((Range(archive.fileno(), -1, 5) if kind == "damaged" else place).open, colour="grey")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_file_that_may_not_be_read_is_refused(number):
    def read():
        raise OSError(number, os.strerror(number))

    with pytest.raises(UnusableImageError, match=rf"^unreadable: .*{os.strerror(number)}$"):
        open_image(read, colour="grey")
