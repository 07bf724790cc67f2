"""The model card: what the exported generator is, how to use it, and what its scores are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

with epy.lazy_imports():
    import keras
    import numpy as np

if TYPE_CHECKING:
    from ganlib.evaluation import Evaluation
    from ganlib.export.config import ExportConfig
    from ganlib.trained import TrainedModel, Which


def model_card(
    model: TrainedModel, evaluation: Evaluation, which: Which, network: keras.Model, *, config: ExportConfig
) -> str:
    """Returns the model card as Markdown.

    Args:
        model: The trained model.
        evaluation: Its scores.
        which: Which of the kept generators is shipped.
        network: That generator.
        config: Tolerance of the proof, and where the model is published, if anywhere.
    """
    facts = model.facts
    height, width, channels = facts["image_shape"]
    colour = "grey" if channels == 1 else "RGB"
    rows = [f"| `{s.name}` | {s.text} | {s.floor_text} |" for s in evaluation.scores]
    protocol = [f"- {name}: `{value}`" for name, value in evaluation.protocol.items()]
    settings = [f"- {name}: `{value}`" for name, value in sorted(model.settings.items())]
    parameters = int(sum(np.prod(weight.shape) for weight in network.weights))
    return CARD.format(
        name=facts["config"]["training"]["run_name"],
        shape=f"{height}x{width} {colour}",
        dataset=facts["dataset"],
        which=which,
        step=model.step(which),
        last_step=facts["last_step"],
        parameters=parameters,
        published="" if config.target is None else f" Published at `{config.target}`.",
        inputs=_described(network),
        classes=_classes(model),
        asked=", label=tf.constant(0, tf.int64)" if model.task.takes_label else "",
        tensorflow=facts["tensorflow"],
        tolerance=config.tolerance,
        scores="\n".join(rows),
        notes="".join(f"\n- {note}" for note in evaluation.notes) + "\n" * bool(evaluation.notes),
        protocol="\n".join(protocol),
        settings="\n".join(settings),
    )


def _described(network: keras.Model) -> str:
    """Names the network's inputs with their types and shapes."""
    shapes = {tensor.name: ", ".join(["N", *map(str, tensor.shape[1:])]) for tensor in network.inputs}
    return " and ".join(f"`{tensor.name}`, {tensor.dtype} [{shapes[tensor.name]}]," for tensor in network.inputs)


def _classes(model: TrainedModel) -> str:
    """Says which classes can be asked for, if any."""
    if not model.task.takes_label:
        return ""
    named = ", ".join(f"{index} = `{name}`" for index, name in enumerate(model.classes))
    return (
        f"`label` chooses the class: {named}. A class for each image is asked for by the other signature. Any other "
        "label is refused with an error, by both signatures and by the Keras file. XLA drops that check of a signature "
        "(`jit_compile=True`), and a label of no class then gives a picture of none.\n"
    )


CARD = """# {name}

A generator of {shape} images, trained adversarially on the data set `{dataset}`.
It is the averaged (EMA) generator of step {step} of {last_step} (the {which} one), {parameters:,} parameters.\
{published}

![samples](samples.png)

## Use
```python
import tensorflow as tf

model = tf.saved_model.load("saved_model")
generate = model.signatures["generate"]
images = generate(seed=tf.constant(1, tf.int64), count=tf.constant(16){asked})["images"]  # uint8 [16, H, W, C]
```
{classes}`serving_default` maps {inputs} to `images`, float32 [N, H, W, C] in -1..1.
`generator.keras` is the same network for Keras. Made with TensorFlow {tensorflow}; nothing else is needed.
Images are equal to those of training within {tolerance:g} in true float32: a GPU takes TensorFloat-32 unless
`tf.config.experimental.enable_tensor_float_32_execution(False)` is called, and differs by more.

## Scores
| measure | generated | real images (floor) |
|---|---|---|
{scores}
{notes}
They compare only with scores of the same protocol:

{protocol}

## Settings
{settings}
"""
