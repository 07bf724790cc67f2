"""Draws thick lines and boxes as masks.

Both are convex, so each covers one run of pixels in a row. A mask is the union of all runs: +1 where a run begins and
-1 behind its end, summed along the row. The work grows with lines times rows, not with lines times pixels.

Whatever rounds is an operation with one correct result, such as a square root, so a mask does not depend on its batch.
"""

from __future__ import annotations

from typing import NamedTuple

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

TINY = 1e-6  # of a pixel: a line that rises less is level


class _Runs(NamedTuple):
    """Runs of pixels, one for each shape and row. All have the same shape [..., H].

    Attributes:
        image: Number of the image, int64.
        first: Where the run begins, float32, between pixels or not, inside the image or not.
        last: Where it ends. A run that ends before it begins is empty.
    """

    image: tf.Tensor
    first: tf.Tensor
    last: tf.Tensor


def draw(lines: tf.Tensor, boxes: tf.Tensor, *, height: int, width: int) -> tf.Tensor:
    """Draws a mask for each image. The centres of pixels have whole coordinates.

    Args:
        lines: float32 [N, L, 5], lines with round ends: x and y of one end and of the other, and the radius. Lines
            without a positive radius are not drawn.
        boxes: float32 [N, B, 4], first row, first column, last row and last column. Boxes whose last row lies before
            the first one are not drawn.
        height: Height of the masks.
        width: Width of the masks.

    Returns:
        bool [N, height, width], true for each pixel whose centre is on a line or in a box.
    """
    count = tf.shape(lines, tf.int64)[0]
    length = width + 1  # of a row, with one place behind the last pixel
    rows = tf.range(height, dtype=tf.int64)
    begins, ends = [], []
    for image, first, last in (_line_runs(lines, height=height), _box_runs(boxes, height=height)):
        first_pixel, last_pixel = tf.maximum(tf.math.ceil(first), 0.0), tf.minimum(tf.floor(last), width - 1.0)
        drawn = first_pixel <= last_pixel
        row = tf.boolean_mask((image * height + rows) * length, drawn)
        begins.append(row + tf.cast(tf.boolean_mask(first_pixel, drawn), tf.int64))
        ends.append(row + tf.cast(tf.boolean_mask(last_pixel, drawn), tf.int64) + 1)
    places = tf.concat([*begins, *ends], axis=0)
    steps = tf.repeat(tf.constant([1, -1]), tf.size(places) // 2)
    changes = tf.scatter_nd(places[:, None], steps, [count * height * length])
    covers = tf.cumsum(tf.reshape(changes, [-1, height, length]), axis=2)
    return covers[:, :, :width] > 0


def _line_runs(lines: tf.Tensor, *, height: int) -> _Runs:
    """Returns the runs of the lines that are drawn, [lines, H].

    In row y, the disc around the point `t` of the line, from 0 to 1, ends at `x(t) + sqrt(r^2 - (y - y(t))^2)`. This is
    concave in t. So the largest value has t where its slope is zero, or is at the nearer end of the line.
    """
    drawn = tf.where(lines[..., 4] > 0.0)
    x, y, other_x, other_y, radius = tf.split(tf.gather_nd(lines, drawn), 5, axis=1)  # [lines, 1] each
    along_x, along_y = other_x - x, other_y - y
    rise = tf.where(tf.abs(along_y) < TINY, TINY, along_y)
    run = tf.sqrt(along_x * along_x + rise * rise)
    lean = radius * along_x / run * tf.sign(rise)
    below = tf.range(height, dtype=tf.float32) - y  # [lines, H]

    def edge(side: float) -> tuple[tf.Tensor, tf.Tensor]:
        t = tf.clip_by_value((below + side * lean) / rise, 0.0, 1.0)
        distance = below - t * along_y
        room = radius * radius - distance * distance
        return x + t * along_x + side * tf.sqrt(tf.maximum(room, 0.0)), room

    (first, room), (last, _) = edge(-1.0), edge(1.0)
    image = tf.broadcast_to(drawn[:, :1], tf.shape(room, tf.int64))
    return _Runs(image, tf.where(room >= 0.0, first, last + 1.0), last)


def _box_runs(boxes: tf.Tensor, *, height: int) -> _Runs:
    """Returns the runs of boxes, [N, B, H]."""
    top, left, bottom, right = (boxes[..., side, None] for side in range(4))  # [N, B, 1] each
    rows = tf.range(height, dtype=tf.float32)
    last = tf.where((rows >= top) & (rows <= bottom), right, left - 1.0)
    shape = tf.shape(last, tf.int64)
    return _Runs(tf.broadcast_to(tf.range(shape[0])[:, None, None], shape), tf.broadcast_to(left, tf.shape(last)), last)
