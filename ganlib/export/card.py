"""The model card: what the exported model is, how to use it, and what its scores are worth."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import keras
    import numpy as np
    from PIL import Image

from ganlib.evaluation.notes import CHOSEN_BY
from ganlib.export.onnx_card import onnx_section

if TYPE_CHECKING:
    from pathlib import Path

    from ganlib.evaluation import Evaluation
    from ganlib.export.config import ExportConfig
    from ganlib.export.onnx import OnnxFiles
    from ganlib.tasks import Signature
    from ganlib.trained import TrainedModel, Which

PICTURE = re.compile(r"!\[(?P<text>[^\]]*)\]\((?P<file>[\w.-]+)\)")
MAX_INLINE = 200_000  # bytes of a picture; in base64 they take a third more


def model_card(
    model: TrainedModel,
    evaluation: Evaluation,
    which: Which,
    networks: Mapping[str, keras.Model],
    functions: Mapping[str, Signature],
    *,
    config: ExportConfig,
    onnx: OnnxFiles,
) -> str:
    """Returns the model card as Markdown.

    Args:
        model: The trained model.
        evaluation: Its scores.
        which: The best or the last generators.
        networks: The networks that are shipped, by name.
        functions: The functions of the SavedModel, by name.
        config: Tolerance of the proof, and where the model is published, if anywhere.
        onnx: What became of the ONNX files.
    """
    facts = model.facts
    height, width, channels = facts["image_shape"]
    colour = "grey" if channels == 1 else "RGB"
    changes = any(score.baseline is not None for score in evaluation.scores)
    titles = ["measure", "generated", "real images (floor)", *(["doing nothing"] if changes else [])]
    rows = [
        [f"`{score.name}`", score.text, score.floor_text, *([score.baseline_text] if changes else [])]
        for score in evaluation.scores
    ]
    table = [titles, ["---"] * len(titles), *rows]
    protocol = [f"- {name}: `{value}`" for name, value in evaluation.protocol.items()]
    settings = [f"- {name}: `{value}`" for name, value in sorted(model.settings.items())]
    weights = [weight for network in networks.values() for weight in network.weights]
    parameters = int(sum(np.prod(weight.shape) for weight in weights))
    return CARD.format(
        name=facts["config"]["training"]["run_name"],
        shape=f"{height}x{width} {colour}",
        dataset=facts["dataset"],
        which=which,
        chosen=f" by the {CHOSEN_BY[facts['best_measure']]}" if which == "best" and "best_measure" in facts else "",
        step=model.step(which),
        last_step=facts["last_step"],
        parameters=parameters,
        published="" if config.target is None else f" Published at `{config.target}`.",
        example=_example(functions),
        classes=_classes(model),
        sizes=_sizes(model),
        functions="\n".join(f"- `{name}` takes {_inputs(function)}." for name, function in functions.items()),
        files=" and ".join(f"`{name}.keras`" for name in networks),
        tensorflow=facts["tensorflow"],
        tolerance=config.tolerance,
        onnx=onnx_section(networks, onnx, image_shape=model.image_shape),
        scores="\n".join(f"| {' | '.join(row)} |" for row in table),
        notes="".join(f"\n- {note}" for note in evaluation.notes) + "\n" * bool(evaluation.notes),
        protocol="\n".join(protocol),
        settings="\n".join(settings),
    )


def with_inline_pictures(card: str, folder: Path) -> str:
    """Returns a card whose pictures are part of it, for pages that resolve no relative address, as KFP's.

    That page shows the first 400,000 characters of a card, and before KFP 2.17 no inline pictures either. So large
    pictures are made smaller.

    Args:
        card: The card.
        folder: Where its pictures are.
    """

    def inline(match: re.Match[str]) -> str:
        with Image.open(folder / match["file"]) as picture:
            content = _shrink(picture.convert("RGB"))
        return f"![{match['text']}](data:image/png;base64,{base64.b64encode(content).decode()})"

    return PICTURE.sub(inline, card)


def _shrink(picture: Image.Image) -> bytes:
    """Returns a PNG file of the picture, which is halved until the file is small enough."""
    while True:
        file = io.BytesIO()
        picture.save(file, format="PNG", optimize=True)
        if file.tell() <= MAX_INLINE:
            return file.getvalue()
        picture = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.LANCZOS)


def _inputs(function: Signature) -> str:
    """Names a function's inputs with their types and shapes."""
    described = []
    for name, spec in function.inputs.items():
        letters = "NHWC" if spec.shape.rank == len("NHWC") else "N" * (spec.shape.rank or 0)
        sides = [letter if side is None else str(side) for letter, side in zip(letters, spec.shape, strict=True)]
        described.append(f"`{name}` {spec.dtype.name}" + (f" [{', '.join(sides)}]" if sides else ""))
    return ", ".join(described)


def _example(functions: Mapping[str, Signature]) -> str:
    """Returns a call in Python: of the function with an example, if there is one."""
    name, function = next(
        ((name, one) for name, one in functions.items() if one.example), next(iter(functions.items()))
    )
    values = []
    for key, spec in function.inputs.items():
        number = function.example.get(key)
        constant = f"tf.constant({16 if key == 'count' else number}, tf.{spec.dtype.name})"
        values.append(f"{key}={key if number is None or spec.shape.rank else constant}")
    return f'{name} = model.signatures["{name}"]\nimages = {name}({", ".join(values)})["images"]'


def _sizes(model: TrainedModel) -> str:
    """Says which sizes of images the functions take, if they make images from images."""
    sizes = model.facts.get("sizes")
    if sizes is None:
        return ""
    return (
        f"\nH and W are multiples of {sizes['multiple_of']} and at least {sizes['minimum']}. The command "
        "`gan-pipelines apply` takes pictures of any size, as `inputs.json` says.\n"
    )


def _classes(model: TrainedModel) -> str:
    """Says which classes can be asked for, if any."""
    if not model.task.takes_label:
        return ""
    named = ", ".join(f"{index} = `{name}`" for index, name in enumerate(model.classes))
    return (
        f"\n`label` chooses the class: {named}. `generate` takes one for all images, `serving_default` one for each. "
        "Any other label is refused with an error, by both and by the Keras file. XLA drops that check of a signature "
        "(`jit_compile=True`), and a label of no class then gives a picture of none.\n"
    )


CARD = """# {name}

A GAN for {shape} images, trained on the data set `{dataset}`.
Its weights are the averages (EMA) of step {step} of {last_step}, the {which} ones{chosen}, {parameters:,} parameters.\
{published}

![samples](samples.png)

## Use
```python
import tensorflow as tf

model = tf.saved_model.load("saved_model")
{example}
```
Functions of the SavedModel:

{functions}
{sizes}
They return `images` [N, H, W, C]. Those of `serving_default` and of each function of a network are float32 in -1..1;
the others are uint8.
{classes}
{files} holds the network for Keras. Made with TensorFlow {tensorflow}; nothing else is needed.
Images are equal to those of training within {tolerance:g} in true float32: a GPU takes TensorFloat-32 unless
`tf.config.experimental.enable_tensor_float_32_execution(False)` is called, and differs by more.

## ONNX
{onnx}

## Scores
{scores}
{notes}
They compare only with scores of the same protocol:

{protocol}

## Settings
{settings}
"""
