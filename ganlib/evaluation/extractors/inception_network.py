"""The Inception network of 2015 that defines FID (Szegedy et al. 2016, arXiv:1512.00567): a table and a Keras model.

It differs from the InceptionV3 of Keras and torchvision: average pooling does not count the padding, the last block
uses maximum pooling, and there are 1008 classes.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from etils import epy

with epy.lazy_imports():
    import keras

SIDE = 299
FEATURES = 2048
CLASSES = 1008
MIDDLE = 128.0  # the network's input is (image - MIDDLE) / MIDDLE

Padding = Literal["valid", "same"]


class Conv(NamedTuple):
    """A convolution with its batch norm and ReLU.

    Attributes:
        scope: Name within the block in the original graph.
        port: Name within the block in the PyTorch port.
        source: Scope of the row whose output is the input; empty for the block's input.
        filters: Output channels.
        height: Height of the kernel.
        width: Width of the kernel.
        stride: Stride in both directions.
        padding: Padding, as in Keras.
    """

    scope: str
    port: str
    source: str
    filters: int
    height: int
    width: int
    stride: int = 1
    padding: Padding = "same"

    def layer(self, name: str) -> Any:
        """Returns the Keras layer. Its batch norm must be folded into kernel and bias."""
        size = (self.height, self.width)
        return keras.layers.Conv2D(
            self.filters, size, self.stride, self.padding, activation="relu", name=name, dtype="float32"
        )


class Pool(NamedTuple):
    """Average or maximum pooling over 3x3 pixels that does not count the padding; attributes as in `Conv`."""

    scope: str
    source: str
    pooling: Literal["average", "maximum"]
    stride: int = 1
    padding: Padding = "same"

    def layer(self, name: str) -> Any:
        """Returns the Keras layer."""
        layer = keras.layers.AveragePooling2D if self.pooling == "average" else keras.layers.MaxPooling2D
        return layer(3, self.stride, self.padding, name=name, dtype="float32")


Rows = tuple[Conv | Pool, ...]

STEM: Rows = (
    Conv("conv", "Conv2d_1a_3x3", "", 32, 3, 3, 2, "valid"),
    Conv("conv_1", "Conv2d_2a_3x3", "conv", 32, 3, 3, 1, "valid"),
    Conv("conv_2", "Conv2d_2b_3x3", "conv_1", 64, 3, 3),
    Pool("pool", "conv_2", "maximum", 2, "valid"),
    Conv("conv_3", "Conv2d_3b_1x1", "pool", 80, 1, 1),
    Conv("conv_4", "Conv2d_4a_3x3", "conv_3", 192, 3, 3, 1, "valid"),
    Pool("pool_1", "conv_4", "maximum", 2, "valid"),
)


def _block_35(pool_filters: int) -> Rows:
    return (
        Conv("conv", "branch1x1", "", 64, 1, 1),
        Conv("tower/conv", "branch5x5_1", "", 48, 1, 1),
        Conv("tower/conv_1", "branch5x5_2", "tower/conv", 64, 5, 5),
        Conv("tower_1/conv", "branch3x3dbl_1", "", 64, 1, 1),
        Conv("tower_1/conv_1", "branch3x3dbl_2", "tower_1/conv", 96, 3, 3),
        Conv("tower_1/conv_2", "branch3x3dbl_3", "tower_1/conv_1", 96, 3, 3),
        Pool("tower_2/pool", "", "average"),
        Conv("tower_2/conv", "branch_pool", "tower_2/pool", pool_filters, 1, 1),
    )


def _block_17(filters: int) -> Rows:
    return (
        Conv("conv", "branch1x1", "", 192, 1, 1),
        Conv("tower/conv", "branch7x7_1", "", filters, 1, 1),
        Conv("tower/conv_1", "branch7x7_2", "tower/conv", filters, 1, 7),
        Conv("tower/conv_2", "branch7x7_3", "tower/conv_1", 192, 7, 1),
        Conv("tower_1/conv", "branch7x7dbl_1", "", filters, 1, 1),
        Conv("tower_1/conv_1", "branch7x7dbl_2", "tower_1/conv", filters, 7, 1),
        Conv("tower_1/conv_2", "branch7x7dbl_3", "tower_1/conv_1", filters, 1, 7),
        Conv("tower_1/conv_3", "branch7x7dbl_4", "tower_1/conv_2", filters, 7, 1),
        Conv("tower_1/conv_4", "branch7x7dbl_5", "tower_1/conv_3", 192, 1, 7),
        Pool("tower_2/pool", "", "average"),
        Conv("tower_2/conv", "branch_pool", "tower_2/pool", 192, 1, 1),
    )


def _block_8(pooling: Literal["average", "maximum"]) -> Rows:
    return (
        Conv("conv", "branch1x1", "", 320, 1, 1),
        Conv("tower/conv", "branch3x3_1", "", 384, 1, 1),
        Conv("tower/mixed/conv", "branch3x3_2a", "tower/conv", 384, 1, 3),
        Conv("tower/mixed/conv_1", "branch3x3_2b", "tower/conv", 384, 3, 1),
        Conv("tower_1/conv", "branch3x3dbl_1", "", 448, 1, 1),
        Conv("tower_1/conv_1", "branch3x3dbl_2", "tower_1/conv", 384, 3, 3),
        Conv("tower_1/mixed/conv", "branch3x3dbl_3a", "tower_1/conv_1", 384, 1, 3),
        Conv("tower_1/mixed/conv_1", "branch3x3dbl_3b", "tower_1/conv_1", 384, 3, 1),
        Pool("tower_2/pool", "", pooling),
        Conv("tower_2/conv", "branch_pool", "tower_2/pool", 192, 1, 1),
    )


FROM_35_TO_17: Rows = (
    Conv("conv", "branch3x3", "", 384, 3, 3, 2, "valid"),
    Conv("tower/conv", "branch3x3dbl_1", "", 64, 1, 1),
    Conv("tower/conv_1", "branch3x3dbl_2", "tower/conv", 96, 3, 3),
    Conv("tower/conv_2", "branch3x3dbl_3", "tower/conv_1", 96, 3, 3, 2, "valid"),
    Pool("pool", "", "maximum", 2, "valid"),
)
FROM_17_TO_8: Rows = (
    Conv("tower/conv", "branch3x3_1", "", 192, 1, 1),
    Conv("tower/conv_1", "branch3x3_2", "tower/conv", 320, 3, 3, 2, "valid"),
    Conv("tower_1/conv", "branch7x7x3_1", "", 192, 1, 1),
    Conv("tower_1/conv_1", "branch7x7x3_2", "tower_1/conv", 192, 1, 7),
    Conv("tower_1/conv_2", "branch7x7x3_3", "tower_1/conv_1", 192, 7, 1),
    Conv("tower_1/conv_3", "branch7x7x3_4", "tower_1/conv_2", 192, 3, 3, 2, "valid"),
    Pool("pool", "", "maximum", 2, "valid"),
)
BLOCKS: tuple[tuple[str, str, Rows], ...] = (
    ("mixed", "Mixed_5b", _block_35(32)),
    ("mixed_1", "Mixed_5c", _block_35(64)),
    ("mixed_2", "Mixed_5d", _block_35(64)),
    ("mixed_3", "Mixed_6a", FROM_35_TO_17),
    ("mixed_4", "Mixed_6b", _block_17(128)),
    ("mixed_5", "Mixed_6c", _block_17(160)),
    ("mixed_6", "Mixed_6d", _block_17(160)),
    ("mixed_7", "Mixed_6e", _block_17(192)),
    ("mixed_8", "Mixed_7a", FROM_17_TO_8),
    ("mixed_9", "Mixed_7b", _block_8("average")),
    ("mixed_10", "Mixed_7c", _block_8("maximum")),
)

PORTS = {row.scope: row.port for row in STEM if isinstance(row, Conv)} | {
    f"{block}/{row.scope}": f"{port}.{row.port}"
    for block, port, rows in BLOCKS
    for row in rows
    if isinstance(row, Conv)
}
"""Names of the 94 convolutions in the PyTorch port, by name in the original graph."""


def build() -> keras.Model:
    """Builds the network with random weights.

    Layers are named as in the original graph, see `layer_name`. The logits have no bias, as the inception score uses
    them (Salimans et al. 2016, arXiv:1606.03498).

    Returns:
        Model from images float32 [N, 299, 299, 3] in 0..255 to (features float32 [N, 2048], logits float32 [N, 1008]).
    """
    images = keras.Input((SIDE, SIDE, 3), dtype="float32", name="images")
    x = keras.layers.Rescaling(1 / MIDDLE, offset=-1.0, name="centred", dtype="float32")(images)
    x = _apply("", STEM, x)
    for block, _, rows in BLOCKS:
        x = _apply(block, rows, x)
    features = keras.layers.GlobalAveragePooling2D(name="pool_3", dtype="float32")(x)
    logits = keras.layers.Dense(CLASSES, use_bias=False, name="softmax", dtype="float32")(features)
    return keras.Model(images, [features, logits], name="inception")


def layer_name(scope: str) -> str:
    """Returns the name of a Keras layer, which must not contain slashes."""
    return scope.replace("/", "-")


def kernel_shapes() -> dict[str, tuple[int, int, int, int]]:
    """Returns the kernel shape (height, width, channels in, channels out) of each convolution, by name in the graph."""
    shapes, depth = {}, 3
    for block, _, rows in (("", "", STEM), *BLOCKS):
        channels = {"": depth}
        for row in rows:
            channels[row.scope] = channels[row.source]
            if isinstance(row, Conv):
                channels[row.scope] = row.filters
                shapes[_scope(block, row.scope)] = (row.height, row.width, channels[row.source], row.filters)
        depth = sum(channels[scope] for scope in _outputs(rows))
    return shapes


def _scope(block: str, scope: str) -> str:
    return f"{block}/{scope}" if block else scope


def _outputs(rows: Rows) -> list[str]:
    """Returns the scopes of the rows whose output is not the input of another row."""
    sources = {row.source for row in rows}
    return [row.scope for row in rows if row.scope not in sources]


def _apply(block: str, rows: Rows, start: Any) -> Any:
    """Applies the rows of a block to a tensor and concatenates their outputs."""
    tensors = {"": start}
    for row in rows:
        tensors[row.scope] = row.layer(layer_name(_scope(block, row.scope)))(tensors[row.source])
    outputs = [tensors[scope] for scope in _outputs(rows)]
    return keras.layers.Concatenate(name=block, dtype="float32")(outputs) if len(outputs) > 1 else outputs[0]
