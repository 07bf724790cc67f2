"""A program that writes functions of a SavedModel as ONNX files. `onnx.py` runs it in a process of its own.

tf2onnx writes a long log, changes settings of TensorFlow, and takes memory that it keeps. Its exit code proves nothing:
it writes a file that no runtime can open, too. Imports TensorFlow, and nothing of this project.
"""

import json
import os
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # a GPU's memory is the exporting process's
sys.modules.update(dict.fromkeys(sys.argv[1:]))  # type: ignore[arg-type]  # so that Keras does not import them

import onnx  # noqa: E402  # what is above must come first
from onnx import helper  # noqa: E402
from tf2onnx import convert  # noqa: E402

OPSET = 18  # the newest one that tf2onnx writes
SIDES = "NHWC"


def write(saved_model: str, signature: str, file: str, *, classes: int, properties: dict[str, str]) -> None:
    """Writes one function.

    Args:
        saved_model: Folder of the SavedModel.
        signature: Name of the function.
        file: The ONNX file.
        classes: Number of classes that `label` chooses from, 0 where there is no such input.
        properties: Texts by name that the file carries.
    """
    options = ["--saved-model", saved_model, "--signature_def", signature, "--tag", "serve", "--opset", str(OPSET)]
    sys.argv[1:] = [*options, "--output", file]
    convert.main()
    model = onnx.load(file)
    for value in [*model.graph.input, *model.graph.output]:
        for side, letter in zip(value.type.tensor_type.shape.dim, SIDES, strict=False):
            if not side.HasField("dim_value"):
                side.dim_param = letter
    if classes:
        check_labels(model.graph, classes)
    helper.set_model_props(model, properties)
    onnx.save(model, file)


def check_labels(graph: onnx.GraphProto, classes: int) -> None:
    """Puts nodes before a network that fail if a label is of no class, or if there are not as many labels as latents.

    The checks of the SavedModel are lost in the conversion. Without these, the label -1 would give the last class, one
    that is too large a picture of no class, and a single label might serve for all latents.
    """
    [latent] = (value.name for value in graph.input if value.name != "label")
    redirect = {"label": "label_in_range", latent: "latent_with_label"}
    for node in graph.node:
        node.input[:] = [redirect.get(name, name) for name in node.input]
    constants = {
        "zero": 0,
        "classes": classes,
        "known_labels": list(range(classes)),
        "first": [0],
        "last": [-1],
        "second_axis": [1],
    }
    int64 = onnx.TensorProto.INT64
    for name, value in constants.items():
        values = value if isinstance(value, list) else [value]
        graph.initializer.append(helper.make_tensor(name, int64, [len(value)] if values is value else [], values))
    nodes = [
        # A negative index of `Gather` counts from the end; one beyond the end is refused.
        helper.make_node("Less", ["label", "zero"], ["label_is_negative"]),
        helper.make_node("Where", ["label_is_negative", "classes", "label"], ["label_index"]),
        helper.make_node(
            "Gather", ["known_labels", "label_index"], ["label_in_range"], name=f"expected_labels_in_0..{classes - 1}"
        ),
        helper.make_node("Cast", ["label_in_range"], ["label_as_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["label_as_float", "second_axis"], ["label_column"]),
        helper.make_node(
            "Concat", [latent, "label_column"], ["joined"], axis=1, name=f"expected_a_label_for_each_{latent}"
        ),
        helper.make_node("Slice", ["joined", "first", "last", "second_axis"], ["latent_with_label"]),
    ]
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)


def main() -> None:
    """Reads a line of JSON that says what to write, and prints one when all of it is written."""
    question = json.loads(sys.stdin.readline())
    for function in question["functions"]:
        write(question["saved_model"], **function)
    print(json.dumps({"opset": OPSET}))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001  # whatever it is becomes the program's last line
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
