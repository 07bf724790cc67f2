"""Holes: a part of the image is unknown, and the restorer knows which."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Literal, Self

from etils import epy
from pydantic import Field, model_validator

from ganlib import storage
from ganlib.data import Images
from ganlib.schema import READ
from ganlib.tasks.damage import strokes
from ganlib.tasks.damage.base import Damage, Damaged

with epy.lazy_imports():
    import tensorflow as tf

    from ganlib.tasks.damage import own_masks, raster

if TYPE_CHECKING:
    from ganlib.models.base import ImageShape

Shape = Literal["training", "thin", "medium", "thick", "strokes", "box", "file"]

THICK = strokes.Chains(count=(1, 5), widths=(5, 104), lengths=(10, 209))
RECIPES: dict[Shape, strokes.Recipe] = {
    "training": strokes.Either(THICK, strokes.Boxes(count=(1, 4), sides=(30, 149), margin=10), box_share=1 / 2),
    "thin": strokes.Chains(count=(4, 50), widths=(5, 14), lengths=(10, 49)),
    "medium": strokes.Either(
        strokes.Chains(count=(4, 5), widths=(5, 54), lengths=(10, 109)),
        strokes.Boxes(count=(1, 5), sides=(10, 49)),
        box_share=0.3 / 1.3,
    ),
    "thick": strokes.Either(THICK, strokes.Boxes(count=(1, 3), sides=(30, 149), margin=10), box_share=0.3 / 1.3),
    "strokes": strokes.Strokes(),
    "box": strokes.Box(),
}
"""The masks by name, with lengths for 256 by 256 pixels."""
MAX_SHARES: dict[Shape, float] = {"thin": 0.5, "medium": 0.5, "thick": 0.5}
SPLIT = re.compile("#(train|test)$")  # of a place, as `Images.at` reads it
HOLE = 128  # the middle of the range, as `pixels.to_uint8` rounds it
TRIES = 100  # after which a hole is used although it is too large
MIN_SIDE = 8


class Mask(Damage):
    """Holes in the image, filled with grey. The other pixels are untouched."""

    kind: Literal["mask"] = "mask"
    shape: Shape = "training"
    """Holes: LaMa's `training`, `thin`, `medium` or `thick`, DeepFill's `strokes`, a `box`, or those of a `file`."""
    max_share: float | None = Field(default=None, ge=0.3, le=1.0)
    """Largest share of an image that is a hole. By default 0.5 for `thin`, `medium`, `thick`, as LaMa is
    tested. Larger holes are drawn again; of your own masks they are left out."""
    masks: str | None = Field(default=None, min_length=1, json_schema_extra=READ)
    """Masks of your own for `file`, white where the hole is: a folder, an archive or an npz file."""
    masks_fingerprint: str | None = None
    """Checksum of the list of your own masks. A run fills it in, so that changed masks are noticed."""

    @model_validator(mode="after")
    def _check_masks(self) -> Mask:
        if (self.shape == "file") != (self.masks is not None):
            expected = "masks with shape=file, and only then"
            raise ValueError(f"expected {expected}. Received: shape={self.shape}, masks={self.masks!r}")
        return self

    def pinned(self) -> Self:
        """Returns the settings with an absolute path and the checksum of the list of masks.

        Of masks on a server, which are not downloaded, it is what the server reports.

        Raises:
            ValueError: There are no masks.
            OSError: The server cannot be reached.
        """
        if self.masks is None:
            return self
        place = SPLIT.sub("", self.masks)
        checksum = storage.remote_version(place, folders=True) or Images.at(self.masks).checksum(with_times=True)
        return super().pinned().model_copy(update={"masks_fingerprint": checksum})

    def identity(self, image_shape: ImageShape) -> str:
        """Returns the settings, and of your own masks the checksum of their pixels instead of their place."""
        if self.masks is None:
            drawn = self.model_copy(update={"max_share": self.max_share or MAX_SHARES.get(self.shape)})
            return storage.canonical_json(drawn.to_parameter())
        height, width, _ = image_shape
        masks = own_masks.load(self.masks, height=height, width=width, max_share=self._limit)
        return storage.canonical_json({"kind": self.kind, "sha256": hashlib.sha256(masks.tobytes()).hexdigest()})

    def apply(self, images: tf.Tensor, keys: tf.Tensor) -> Damaged:
        """Cuts a hole into each image."""
        height, width = images.shape[1:3]
        if self.masks is not None:
            hole = own_masks.choose(self.masks, keys, height=height, width=width, max_share=self._limit)
        else:
            hole = self._holes(keys, height=height, width=width)
        hole = hole[..., None]
        return Damaged(tf.where(hole, tf.constant(HOLE, tf.uint8), images), tf.cast(hole, tf.float32))

    @property
    def has_mask(self) -> bool:
        """True."""
        return True

    def check(self, image_shape: ImageShape) -> None:
        """Refuses images of a few pixels, and masks that cannot be read."""
        height, width, _ = image_shape
        if min(height, width) < MIN_SIDE:
            expected = f"sides of at least {MIN_SIDE} pixels for damage=mask"
            raise ValueError(f"expected {expected}. Received: image_shape={image_shape}")
        if self.masks is not None:
            own_masks.load(self.masks, height=height, width=width, max_share=self._limit)

    @property
    def _limit(self) -> float:
        """Largest share of an image that is a hole."""
        return self.max_share or MAX_SHARES.get(self.shape, 1.0)

    def _holes(self, keys: tf.Tensor, *, height: int, width: int) -> tf.Tensor:
        """Returns random holes, bool [N, H, W]. Holes that are too large are drawn again, with other numbers."""
        limit = self._limit
        holes = _draw(RECIPES[self.shape], keys, 0, height=height, width=width)

        def again(number: tf.Tensor, holes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            rows = tf.where(_shares(holes) > limit)
            others = _draw(RECIPES[self.shape], tf.gather_nd(keys, rows), number, height=height, width=width)
            return number + 1, tf.tensor_scatter_nd_update(holes, rows, others)

        if limit < 1.0:
            _, holes = tf.while_loop(
                lambda number, holes: (number < TRIES) & tf.reduce_any(_shares(holes) > limit), again, (1, holes)
            )
        return holes


def _shares(holes: tf.Tensor) -> tf.Tensor:
    """Returns the share of each image that is a hole, float64 [N]."""
    return tf.reduce_mean(tf.cast(holes, tf.float64), axis=(1, 2))


def _draw(recipe: strokes.Recipe, keys: tf.Tensor, number: int | tf.Tensor, *, height: int, width: int) -> tf.Tensor:
    """Draws one mask for each key, bool [N, H, W]; another one for each number."""

    def shapes(key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        stream = tf.random.fold_in(key, tf.cast(number, tf.int64))
        return recipe.shapes(tf.random.stateless_uniform([recipe.numbers], stream), height=height, width=width)

    lines, boxes = tf.map_fn(shapes, keys, fn_output_signature=(tf.float32, tf.float32))
    return raster.draw(lines, boxes, height=height, width=width)
