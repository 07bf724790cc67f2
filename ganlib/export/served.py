"""An exported model as servers call it: takes what people send, and answers with images.

A copy stands beside every exported model, where MLflow loads it (models from code). So it imports nothing of ganlib.
"""

from __future__ import annotations

import base64
import io
import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import mlflow
import numpy as np
import tensorflow as tf
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE
from numpy.typing import NDArray
from PIL import Image, ImageOps

try:
    from mlserver.errors import MLServerError
except ImportError:  # the server is another one
    MLServerError = Exception

Columns = dict[str, NDArray[Any]]
MAX_IMAGES, MAX_PIXELS = 100, 2**22  # of a request; pixels of all images together


class ServingError(MlflowException, MLServerError):
    """Says in one line why a request was not answered. The code becomes the HTTP status; 400 for a wrong request."""

    def __init__(self, line: str, code: int = INVALID_PARAMETER_VALUE) -> None:
        super().__init__(line, code)
        self.line, self.status_code = line, self.get_http_status_code()

    def serialize_as_json(self) -> str:
        """Returns the answer of MLflow's server, which has put the whole request before the line."""
        self.message = self.line
        return super().serialize_as_json()


def _refuse(expected: str, received: str) -> NoReturn:
    raise ServingError(f"expected {expected}. Received: {received}") from None


class ServedModel:
    """The functions of an exported model, for requests.

    A request is a table: inputs by name, each with a value for every row, or one value for all rows. A row with a
    `seed` gives `count` images, and any other row one.
    """

    def load_context(self, context: Any) -> None:
        """Loads the exported model."""
        paths = context.artifacts
        self._limits: dict[str, Any] = json.loads(Path(paths["inputs"]).read_text(encoding="utf-8"))
        self._model = tf.saved_model.load(paths["saved_model"])  # its functions do not keep the weights alive
        self._functions: dict[str, Any] = dict(self._model.signatures)
        self._specs = {name: function.structured_input_signature[1] for name, function in self._functions.items()}
        changing = [name for name, specs in self._specs.items() if getattr(specs.get("images"), "dtype", 0) == tf.uint8]
        # From images to images; the first one is called unless another one is asked for.
        self._changing = sorted(changing, key=lambda name: (name not in ("translate", "restore"), name))
        if not self._changing and not {"serving_default", "generate"} <= self._functions.keys():
            raise ValueError(f"expected functions of images or latents. Received: {', '.join(self._functions)}")

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """Answers a request.

        Args:
            context: Not used.
            model_input: A mapping of inputs, a list of rows, a table of pandas, or a request to MLServer.
            params: Not used.

        Returns:
            uint8 [N, H, W, C], or a list of PNG files in base64.

        Raises:
            ServingError: The request is wrong, or the model failed.
        """
        del context, params
        try:
            columns = _columns(model_input)
            form = _single(columns, "format", ["tensor", "png"], "png" if "image" in columns else "tensor")
            images = self._change(columns) if self._changing else self._generate(columns)
            if form == "tensor" and len(sizes := {image.shape for image in images}) > 1:
                _refuse("images of one size with format=tensor", f"{len(sizes)} sizes")
        except ServingError:
            raise
        except tf.errors.InvalidArgumentError as error:
            reason = str(error.message).partition("\n\t [[")[0].splitlines()[-1]  # without the place in the graph
            raise ServingError(f"the model refused it: {reason}") from None
        except (MemoryError, tf.errors.ResourceExhaustedError):
            raise ServingError("too little memory; send fewer images", TEMPORARILY_UNAVAILABLE) from None
        except Exception as error:  # noqa: BLE001  # a server must not show a traceback, whatever went wrong
            traceback.print_exc()
            raise ServingError(f"the model failed: {type(error).__name__}", INTERNAL_ERROR) from None
        return [_png(image) for image in images] if form == "png" else np.stack(images)

    def _generate(self, columns: Columns) -> list[Any]:
        """Returns images of seeds or of latents."""
        specs = self._specs["serving_default"]
        height, width, _ = self._functions["serving_default"].structured_outputs["images"].shape[1:]
        label = ["label"] if "label" in specs else []
        _check_names(columns, [(["seed", *label], ["count"]), (["latent", *label], [])], "[format]")
        rows, limit = _align(columns), max(1, min(MAX_IMAGES, MAX_PIXELS // (height * width)))
        labels = {name: self._labels(columns[name]) for name in label}
        counts = _whole("count", columns.get("count", np.ones(rows, np.int64)), 1, limit).tolist()
        if sum(counts) > limit:
            _refuse(f"at most {limit} images in a request", str(sum(counts)))
        if "latent" in columns:
            made = self._call("serving_default", latent=_latents(columns["latent"], specs["latent"].shape[1]), **labels)
            scaled = np.rint((made.astype(np.float32) + 1.0) * np.float32(127.5))  # half to even, as in training
            return list(np.clip(scaled, 0, 255).astype(np.uint8))
        seeds = _whole("seed", columns["seed"], 0, 2**63 - 1)
        images: list[Any] = []
        for row in range(rows):
            given = {name: indices[row] for name, indices in labels.items()}
            images += list(self._call("generate", seed=seeds[row], count=counts[row], **given))
        return images

    def _labels(self, column: NDArray[Any]) -> NDArray[np.int64]:
        """Returns the index of each class, which is asked for by its name or its index."""
        names = {name: index for index, name in enumerate(self._limits.get("classes", []))}
        known = ", ".join(f"{index} = {name}" for name, index in names.items())
        texts = [str(_text(value)) for value in column.tolist()]
        indices = [names.get(text, int(text) if text.isdecimal() and len(text) < 10 else -1) for text in texts]
        for value, index in zip(column.tolist(), indices, strict=True):
            if not 0 <= index < (len(names) or 2**31):
                _refuse(f"the name or the index of a class ({known})", f"label={_show(value)}")
        return np.array(indices, np.int64)

    def _change(self, columns: Columns) -> list[Any]:
        """Returns what a function makes of images."""
        name = _single(columns, "function", self._changing, self._changing[0])
        specs = self._specs[name]
        masked, channels = "masks" in specs, int(specs["images"].shape[3])
        further = "[format]" + ", [function]" * (len(self._changing) > 1)
        _check_names(columns, [(["image", *["mask"] * masked], []), (["images", *["masks"] * masked], [])], further)
        if (rows := _align(columns)) > MAX_IMAGES:
            _refuse(f"at most {MAX_IMAGES} images in a request", str(rows))
        read, end = (_decode, "") if "image" in columns else (_pixels, "s")
        images = [read(f"image{end}", value, channels) for value in columns[f"image{end}"]]
        masks = [read(f"mask{end}", value, 1) for value in columns[f"mask{end}"]] if masked else []
        self._check_sizes(images, masks, specs["images"].shape[1:3])
        results: dict[int, Any] = {}
        for size in dict.fromkeys(image.shape for image in images):  # a batch of each size
            places = [place for place, image in enumerate(images) if image.shape == size]
            batch = np.stack([images[place] for place in places])
            given = {"masks": np.stack([masks[place] for place in places])} if masked else {}
            made = self._call(name, images=batch, **given)
            if masked:
                made = np.where(given["masks"] > 127, made, batch)  # all other pixels stay as they are
            results.update(zip(places, made, strict=True))
        return [results[place] for place in range(rows)]

    def _check_sizes(self, images: list[Any], masks: list[Any], sides: Any) -> None:
        multiple, minimum = self._limits.get("multiple_of", 1), self._limits.get("minimum", 1)
        fixed = [side or other for side, other in zip(sides, self._limits.get("fixed") or (None, None), strict=True)]
        rule = f"sides that are multiples of {multiple} and at least {minimum}"
        sizes = f"images of {fixed[1]}x{fixed[0]} pixels" if all(fixed) else rule
        for row, image in enumerate(images):
            size = f"image {row} of {image.shape[1]}x{image.shape[0]}"
            for side, only in zip(image.shape[:2], fixed, strict=True):
                if side % multiple or side < minimum or (only and side != only):
                    _refuse(sizes, size)
            if masks and masks[row].shape[:2] != image.shape[:2]:
                _refuse("a mask of the size of its image", "{}, mask of {}x{}".format(size, *masks[row].shape[1::-1]))
        if (pixels := sum(image.shape[0] * image.shape[1] for image in images)) > MAX_PIXELS:
            _refuse(f"at most {MAX_PIXELS} pixels in a request", str(pixels))

    def _call(self, name: str, **arguments: Any) -> NDArray[Any]:
        tensors = {key: tf.constant(value, self._specs[name][key].dtype) for key, value in arguments.items()}
        return np.asarray(self._functions[name](**tensors)["images"])


def _columns(request: Any) -> Columns:
    """Returns the inputs by name, as arrays."""
    try:
        columns = {str(name): np.asarray(values) for name, values in _table(request).items()}
    except ValueError as error:
        _refuse("values of one shape for each input", str(error))
    for name, column in columns.items():
        if column.ndim == 2 and column.shape[1] == 1 and name != "latent":
            columns[name] = column[:, 0]  # so some clients send single values
    return columns


def _table(request: Any) -> Mapping[Any, Any]:
    if hasattr(request, "columns"):  # a table of pandas
        if not request.columns.is_unique:
            _refuse("one column of each name", ", ".join(map(str, request.columns)))
        return {name: request[name].tolist() for name in request.columns}
    if hasattr(request, "inputs"):  # a request to MLServer that does not say how its inputs are decoded
        return {one.name: np.asarray(getattr(one.data, "root", one.data)).reshape(one.shape) for one in request.inputs}
    if isinstance(request, list) and request and all(isinstance(row, Mapping) for row in request):
        return {name: [row.get(name) for row in request] for row in request for name in row}
    if not isinstance(request, Mapping):
        _refuse("inputs by name", type(request).__name__)
    return request


def _check_names(columns: Columns, ways: list[tuple[list[str], list[str]]], optional: str) -> None:
    """Refuses missing and unknown inputs. A way has the inputs that it needs, and those that it also takes."""
    if any(set(needed) <= columns.keys() <= {*needed, *further} for needed, further in ways):
        return
    expected = " or ".join(", ".join([*needed, *(f"[{name}]" for name in further)]) for needed, further in ways)
    _refuse(f"the inputs {expected}, with {optional}", ", ".join(sorted(columns)) or "no input")


def _single(columns: Columns, name: str, known: list[str], default: str) -> str:
    """Removes an input that has one value for the whole request, and returns the value."""
    if name not in columns:
        return default
    given = {str(_text(value)) for value in columns.pop(name).ravel().tolist()}
    if len(given) != 1 or not given <= set(known):
        received = ", ".join(sorted(f"{name}={_show(value)}" for value in given)) or f"an empty {name}"
        _refuse(f"one {name} for all rows, {' or '.join(known)}", received)
    return given.pop()


def _align(columns: Columns) -> int:
    """Repeats single values for all rows. Returns the number of rows."""
    rows = {name: len(column) for name, column in columns.items() if column.ndim}
    if len(set(rows.values())) > 1:
        _refuse("as many values of each input", ", ".join(f"{count} of {name}" for name, count in rows.items()))
    count = next(iter(rows.values()), 1)
    if not count:
        _refuse("at least one row", "none")
    columns.update({name: np.repeat(column, count) for name, column in columns.items() if not column.ndim})
    return count


def _whole(name: str, column: NDArray[Any], low: int, high: int) -> NDArray[np.int64]:
    wrong = [value for value in column.ravel().tolist() if type(value) is not int or not low <= value <= high]
    if wrong or column.ndim != 1:
        received = _show(wrong[0]) if wrong else f"values of shape {list(column.shape)}"
        _refuse(f"whole numbers from {low} to {high} as {name}", f"{name}={received}")
    return column.astype(np.int64)


def _latents(column: NDArray[Any], width: int) -> NDArray[np.float32]:
    if column.dtype.kind not in "iuf" or column.ndim != 2 or column.shape[1] != width:
        _refuse(f"latent as numbers [N, {width}]", f"{column.dtype} {list(column.shape)}")
    if not (np.abs(column) <= np.finfo(np.float32).max).all():  # nor is NaN
        _refuse("finite numbers as latent", "NaN, or numbers beyond float32")
    return column.astype(np.float32)


def _pixels(name: str, value: Any, channels: int) -> Any:
    """Returns the pixels of an array, uint8 [H, W, C]."""
    image = np.asarray(value)
    if image.dtype.kind not in "iu" or image.ndim != 3 or image.shape[2] != channels or not image.size:
        _refuse(f"{name} as uint8 [N, H, W, {channels}]", f"{image.dtype} {list(image.shape)} in a row")
    if not 0 <= int(image.min()) <= int(image.max()) <= 255:
        _refuse(f"{name} in 0..255", f"values in {image.min()}..{image.max()}")
    return image.astype(np.uint8)


def _decode(name: str, value: Any, channels: int) -> Any:
    """Returns the pixels of a PNG or JPEG file, uint8 [H, W, C]. Transparent parts are put on white."""
    expected, received = f"{name} as a PNG or JPEG file in base64", f"{name}={_show(value)}"
    try:
        content = value if value[:3] in (b"\x89PN", b"\xff\xd8\xff") else base64.b64decode(value)
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                _refuse(f"at most {MAX_PIXELS} pixels in a request", f"{name} of {picture.width}x{picture.height}")
            if picture.mode.startswith(("I", "F")):
                _refuse(f"{expected}, with 8 bits a channel", f"{name} of mode {picture.mode}")
            layer = ImageOps.exif_transpose(picture).convert("RGBA")
            white = Image.new("RGBA", layer.size, "white")
            plain = Image.alpha_composite(white, layer).convert("L" if channels == 1 else "RGB")
    except (TypeError, ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        _refuse(expected, f"{received}, which cannot be decoded")
    return np.asarray(plain, np.uint8).reshape(plain.height, plain.width, channels)


def _png(image: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _show(value: Any) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text[:60] + "..." * (len(text) > 60)


class MlflowModel(ServedModel, mlflow.pyfunc.PythonModel):
    """The same for MLflow, which would wrap and warn about a `predict` of this class's own."""


mlflow.models.set_model(MlflowModel())
