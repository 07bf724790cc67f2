"""Random lines and boxes of the masks that papers use.

All lengths are those of an image of 256 by 256 pixels. They grow with the square root of an image's area, so that holes
take about the same share of any image.

- DeepFill v2: Yu et al. 2019, "Free-Form Image Inpainting with Gated Convolution" (https://arxiv.org/abs/1806.03589).
- LaMa: Suvorov et al. 2022, "Resolution-robust Large Mask Inpainting with Fourier Convolutions"
  (https://arxiv.org/abs/2109.07161).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    Shapes = tuple[tf.Tensor, tf.Tensor]

SIDE = 256  # pixels of the image for which lengths are given
MIN_RADIUS = 0.5  # pixels; a thinner line has gaps
ABSENT = -1.0  # all coordinates of a line or box that is not drawn


class Recipe(Protocol):
    """Turns random numbers into the lines and boxes of one image."""

    @property
    def numbers(self) -> int:
        """How many random numbers it takes."""

    def shapes(self, numbers: tf.Tensor, *, height: int, width: int) -> Shapes:
        """Returns lines [L, 5] and boxes [B, 4] as `raster.draw` takes them.

        Args:
            numbers: float32 [numbers], uniform in [0, 1).
            height: Height of the image.
            width: Width of the image.
        """


@dataclass(frozen=True)
class Boxes:
    """LaMa's boxes.

    Attributes:
        count: Fewest and most boxes.
        sides: Shortest and longest side.
        margin: Pixels between a box and the edge of the image.
    """

    count: tuple[int, int]
    sides: tuple[int, int]
    margin: int = 0

    @property
    def numbers(self) -> int:
        """One for the count, and two sizes and two places for each box."""
        return 1 + 4 * self.count[1]

    def shapes(self, numbers: tf.Tensor, *, height: int, width: int) -> Shapes:
        """Returns no lines, and the boxes."""
        count, boxes = _whole(numbers[0], *self.count), tf.reshape(numbers[1:], [4, self.count[1]])
        edges = []
        for side, size, place in zip((height, width), tf.unstack(boxes[:2]), tf.unstack(boxes[2:]), strict=True):
            margin = min(round(self.margin * _scale(height, width)), (side - 1) // 2)
            length = tf.round(_whole(size, *self.sides) * _scale(height, width))
            length = tf.clip_by_value(length, 1.0, side - 2.0 * margin)
            first = margin + tf.floor(place * (side - 2.0 * margin - length + 1.0))
            edges.append((first, first + length - 1.0))
        (top, bottom), (left, right) = edges
        present = tf.range(self.count[1], dtype=tf.float32)[:, None] < count
        return tf.zeros([0, 5]), tf.where(present, tf.stack([top, left, bottom, right], axis=1), ABSENT)


@dataclass(frozen=True)
class Chains:
    """LaMa's chains of one to five segments, each with a direction and a width of its own.

    Attributes:
        count: Fewest and most chains.
        widths: Smallest and largest width.
        lengths: Shortest and longest segment.
    """

    count: tuple[int, int]
    widths: tuple[int, int]
    lengths: tuple[int, int]

    SEGMENTS = 5
    ANGLES = (0.01, 1.01, 2.01, 3.01)  # radians from the vertical
    EXTRA_WIDTH = 1.0  # OpenCV, with which LaMa draws, makes lines that much wider than asked

    @property
    def numbers(self) -> int:
        """One for the count, three for each chain, and three for each segment."""
        return 1 + self.count[1] * (3 + 3 * self.SEGMENTS)

    def shapes(self, numbers: tf.Tensor, *, height: int, width: int) -> Shapes:
        """Returns the segments, and no boxes."""
        most, scale = self.count[1], _scale(height, width)
        x, y, segments = tf.unstack(tf.reshape(numbers[1 : 1 + 3 * most], [3, most]))
        angles, lengths, widths = tf.unstack(tf.reshape(numbers[1 + 3 * most :], [3, most, self.SEGMENTS]))
        angles = tf.cast(_whole(angles, 0, len(self.ANGLES) - 1), tf.int32)
        lengths = _whole(lengths, *self.lengths) * scale
        chain, segment = tf.range(most, dtype=tf.float32)[:, None], tf.range(self.SEGMENTS, dtype=tf.float32)
        mirrored = tf.where(chain % 2.0 == 0.0, -1.0, 1.0)  # every other chain turns the other way
        right = mirrored * lengths * tf.gather(tf.constant([math.sin(angle) for angle in self.ANGLES]), angles)
        down = lengths * tf.gather(tf.constant([math.cos(angle) for angle in self.ANGLES]), angles)
        present = (chain < _whole(numbers[0], *self.count)) & (segment < _whole(segments, 1, self.SEGMENTS)[:, None])
        lines = _lines(
            _walk(tf.floor(x * width), right, side=width),
            _walk(tf.floor(y * height), down, side=height),
            (_whole(widths, *self.widths) + self.EXTRA_WIDTH) * scale,
            present,
        )
        return lines, tf.zeros([0, 4])


@dataclass(frozen=True)
class Either:
    """Chains or boxes, never both.

    Attributes:
        chains: The chains.
        boxes: The boxes.
        box_share: Probability of the boxes.
    """

    chains: Chains
    boxes: Boxes
    box_share: float

    @property
    def numbers(self) -> int:
        """One for the choice, and those of both."""
        return 1 + self.chains.numbers + self.boxes.numbers

    def shapes(self, numbers: tf.Tensor, *, height: int, width: int) -> Shapes:
        """Returns the segments and the boxes, of which one kind is absent."""
        choice, for_chains, for_boxes = tf.split(numbers, [1, self.chains.numbers, self.boxes.numbers])
        as_boxes = choice[0] < self.box_share
        lines, _ = self.chains.shapes(for_chains, height=height, width=width)
        _, boxes = self.boxes.shapes(for_boxes, height=height, width=width)
        return tf.where(as_boxes, ABSENT, lines), tf.where(as_boxes, boxes, ABSENT)


@dataclass(frozen=True)
class Box:
    """One box of half the side at any place, as in DeepFill: afterwards each of its four edges moves inwards."""

    numbers = 4
    LENGTH, MOST_SHRUNK = SIDE // 2, 16

    def shapes(self, numbers: tf.Tensor, *, height: int, width: int) -> Shapes:
        """Returns no lines, and the box."""
        edges = []
        for side, place, shrunk in zip((height, width), tf.unstack(numbers[:2]), tf.unstack(numbers[2:]), strict=True):
            first = tf.floor(place * (side - side // 2))
            inwards = tf.floor(_whole(shrunk, 0, self.MOST_SHRUNK) * side / SIDE)
            edges.append((first + inwards, first + side // 2 - 1.0 - inwards))
        (top, bottom), (left, right) = edges
        return tf.zeros([0, 5]), tf.stack([top, left, bottom, right])[None]


@dataclass(frozen=True)
class Strokes:
    """DeepFill's strokes of a brush, which go to and fro, and its box."""

    MOST = 3
    VERTICES = (4, 11)
    WIDTHS = (12, 39)
    ANGLE, ANGLE_RANGE = 2.0 * math.pi / 5.0, 2.0 * math.pi / 15.0
    STEP, STEP_DEVIATION = math.hypot(SIDE, SIDE) / 8.0, math.hypot(SIDE, SIDE) // 16.0

    @property
    def numbers(self) -> int:
        """One for the count, six for each stroke, two for each vertex, and those of the box."""
        return 1 + self.MOST * (6 + 2 * self.VERTICES[1]) + Box.numbers

    def shapes(self, numbers: tf.Tensor, *, height: int, width: int) -> Shapes:
        """Returns the strokes' segments, and the box."""
        most, scale = self.VERTICES[1], _scale(height, width)
        count, strokes, vertices, box = tf.split(numbers, [1, 6 * self.MOST, 2 * self.MOST * most, Box.numbers])
        x, y, segments, less, more, widths = tf.unstack(tf.reshape(strokes, [6, self.MOST, 1]))
        turns, steps = tf.unstack(tf.reshape(vertices, [2, self.MOST, most]))
        angles = self.ANGLE + self.ANGLE_RANGE * (turns * more - (1.0 - turns) * less)
        steps = self.STEP + self.STEP_DEVIATION * tf.math.ndtri(steps)
        steps = tf.clip_by_value(steps, 0.0, 2.0 * self.STEP) * scale
        stroke, segment = tf.range(self.MOST, dtype=tf.float32)[:, None], tf.range(most, dtype=tf.float32)
        back = tf.where(segment % 2.0 == 0.0, -1.0, 1.0)
        present = (stroke < _whole(count, 1, self.MOST)) & (segment < _whole(segments, *self.VERTICES))
        lines = _lines(
            _walk(tf.floor(x[:, 0] * width), steps * tf.cos(angles), side=width),
            _walk(tf.floor(y[:, 0] * height), back * steps * tf.sin(angles), side=height),
            tf.broadcast_to(_whole(widths, *self.WIDTHS) * scale, [self.MOST, most]),
            present,
        )
        return lines, Box().shapes(box, height=height, width=width)[1]


def _scale(height: int, width: int) -> float:
    """Returns the factor on all lengths."""
    return math.sqrt(height * width) / SIDE


def _whole(numbers: tf.Tensor, low: int, high: int) -> tf.Tensor:
    """Turns numbers in [0, 1) into whole ones from `low` to `high`, as float32."""
    return low + tf.floor(numbers * (high - low + 1.0))


def _walk(start: tf.Tensor, steps: tf.Tensor, *, side: int) -> tf.Tensor:
    """Returns a coordinate of points that follow steps and stop at the edges, [chains, steps + 1].

    Args:
        start: [chains].
        steps: [chains, steps].
        side: The far edge.
    """
    places = [start]
    for step in tf.unstack(steps, axis=1):
        places.append(tf.clip_by_value(places[-1] + step, 0.0, float(side)))
    return tf.stack(places, axis=1)


def _lines(x: tf.Tensor, y: tf.Tensor, widths: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Returns the lines between the points of chains, [chains * steps, 5]."""
    radius = tf.maximum(widths / 2.0, MIN_RADIUS)
    lines = tf.stack([x[:, :-1], y[:, :-1], x[:, 1:], y[:, 1:], radius], axis=2)
    return tf.reshape(tf.where(present[:, :, None], lines, ABSENT), [-1, 5])
