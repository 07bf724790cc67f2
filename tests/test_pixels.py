"""Conversions of pixel ranges, and pictures made of images."""

import base64

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ganlib import pixels

EVERY_VALUE = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_pixel_value_survives_the_way_to_the_networks_and_back(dtype):
    there = tf.cast(pixels.to_model_range(EVERY_VALUE), dtype)
    np.testing.assert_array_equal(pixels.to_uint8(there).numpy(), EVERY_VALUE)


def test_the_networks_see_floats_from_minus_one_to_one():
    there = pixels.to_model_range(EVERY_VALUE)
    assert there.dtype == tf.float32
    assert float(tf.reduce_min(there)) == -1.0
    assert float(tf.reduce_max(there)) == 1.0


def test_values_outside_the_range_are_clipped_and_never_wrap_around():
    values = tf.constant([-3.0, -1.001, 1.001, 3.0])
    assert pixels.to_uint8(values).numpy().tolist() == [0, 0, 255, 255]


def test_rounding_goes_to_the_nearest_and_from_the_middle_to_the_even():
    # 0.0 is exactly 127.5; 1/255 more or less is 128.0 and 127.0.
    values = tf.constant([0.0, 1 / 255, -1 / 255, 0.7 / 127.5])
    assert pixels.to_uint8(values).numpy().tolist() == [128, 128, 127, 128]


def test_half_precision_is_widened_before_it_is_scaled():
    values = tf.constant([-1.0, 0.5, 1.0], tf.bfloat16)
    assert pixels.to_uint8(values).numpy().tolist() == [0, 191, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_lays_images_out_row_by_row_with_white_between(channels):
    images = np.stack([np.full((4, 6, channels), value, np.uint8) for value in (10, 20, 30, 40, 50)])
    sheet = np.array(pixels.grid(images, columns=3)).reshape(10, 22, channels)
    for index, value in enumerate((10, 20, 30, 40, 50)):
        top, left = 6 * (index // 3), 8 * (index % 3)
        assert (sheet[top : top + 4, left : left + 6] == value).all()
        sheet[top : top + 4, left : left + 6] = 255
    assert (sheet == 255).all()


def test_a_grid_is_enlarged_by_whole_pixels():
    images = np.array([[[[0], [100]], [[200], [50]]]], np.uint8)
    picture = pixels.grid(images, columns=1, scale=3)
    assert picture.size == (6, 6)
    np.testing.assert_array_equal(np.asarray(picture), np.kron(images[0, ..., 0], np.ones((3, 3), np.uint8)))


@pytest.mark.parametrize(("size", "scale"), [(8, 7), (28, 2), (56, 1), (64, 1), (1024, 1)])
def test_small_images_are_enlarged_and_large_ones_are_left_alone(size, scale):
    assert pixels.enlargement(size) == scale


def test_a_saved_picture_reads_back_the_same_and_leaves_nothing_beside_it(tmp_path):
    picture = Image.fromarray(EVERY_VALUE[0, ..., 0])
    pixels.save_picture(picture, tmp_path / "deep" / "picture.png")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["picture.png"]
    with Image.open(tmp_path / "deep" / "picture.png") as saved:
        assert saved.format == "PNG"
        np.testing.assert_array_equal(np.asarray(saved), EVERY_VALUE[0, ..., 0])


def test_a_page_holds_the_whole_picture_and_an_escaped_caption(tmp_path):
    file = tmp_path / "picture.png"
    pixels.save_picture(Image.new("L", (3, 3)), file)
    page = pixels.as_html(file, caption='cats & "dogs" <script>')
    assert page.count("cats &amp; &quot;dogs&quot; &lt;script&gt;") == 2
    assert "<script>" not in page
    embedded = page.partition("base64,")[2].partition('"')[0]
    assert base64.b64decode(embedded) == file.read_bytes()
