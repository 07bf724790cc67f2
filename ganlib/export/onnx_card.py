"""The section of the model card about ONNX files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from etils import epy

from ganlib.tasks import LABEL

with epy.lazy_imports():
    import onnxruntime

if TYPE_CHECKING:
    import keras

    from ganlib.export.onnx import OnnxFiles


def onnx_section(networks: Mapping[str, keras.Model], files: OnnxFiles, *, image_shape: tuple[int, int, int]) -> str:
    """Returns how to use the ONNX files, as Markdown; or why there are none.

    Args:
        networks: The networks that are shipped, by name.
        files: What became of their ONNX files.
        image_shape: Height, width and channels of the images.
    """
    if files.difference is None:
        return f"There are no ONNX files: {files.reason}"
    name, network = next(iter(networks.items()))
    given = {tensor.name: tensor.shape[-1:] for tensor in network.inputs}
    lines = [line for tensor in INPUTS if tensor in given for line in INPUTS[tensor]]
    height, width, channels = image_shape
    return SECTION.format(
        files=" and ".join(f"`{one}.onnx`" for one in networks),
        name=name,
        inputs="\n".join(lines).format(*given.get(LATENT, ()), height=height, width=width, channels=channels),
        asked=", ".join(f'"{tensor}": {tensor}' for tensor in INPUTS if tensor in given),
        difference=files.difference,
        runtime=onnxruntime.__version__,  # a package of another name may bring it, such as onnxruntime-gpu
        seeds=SEEDS if LATENT in given else "",
        labels=LABELS if LABEL in given else "",
    )


LATENT = "latent"
INPUTS = {
    LATENT: ["latent = np.random.default_rng(1).standard_normal((16, {}), np.float32)"],
    LABEL: ["label = np.zeros(16, np.int64)  # a class for each"],
    "image": [
        "pictures = np.zeros((1, {height}, {width}, {channels}), np.uint8)  # yours, [N, H, W, C]",
        "image = pictures.astype(np.float32) / 127.5 - 1",
    ],
    "mask": ["mask = np.zeros((1, {height}, {width}, 1), np.float32)  # 1 where a picture is to be repaired"],
}
"""The lines of Python that make each input of a network."""

SECTION = """{files} needs onnxruntime alone, no TensorFlow. Inputs and outputs are those of the network: floats, \
images in -1..1.
```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{name}.onnx", providers=["CPUExecutionProvider"])
{inputs}
[images] = session.run(["images"], {{{asked}}})
images = np.rint((images + 1) * 127.5).clip(0, 255).astype(np.uint8)  # [N, H, W, C]
```
onnxruntime {runtime} gives the images of training within {difference:.1e}, on a CPU; on other devices it was not
tried.{seeds}
{labels}Numbers that are not finite are not refused, as they are by the SavedModel."""

SEEDS = """
Latents are drawn outside of the file, so that a seed gives other images here than in `generate`."""

LABELS = """A label of no class is refused with an error, and so is one label for several latents. """
