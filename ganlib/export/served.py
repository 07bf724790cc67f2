"""An exported model as servers call it: takes what people send, and answers with images.

A copy stands beside every exported model, where MLflow loads it (models from code). So it imports nothing of ganlib.
"""

from __future__ import annotations

import importlib.util
import json
import math
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import numpy as np
import tensorflow as tf
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE
from numpy.typing import NDArray

try:
    from mlserver.errors import MLServerError
except ImportError:  # the server is another one
    MLServerError = Exception

Columns = dict[str, NDArray[Any]]
MAX_IMAGES = 100  # of a request


def _load_beside(name: str) -> ModuleType:
    """Loads a file beside this one. By a search path, a second model would get that of the first one."""
    spec = importlib.util.spec_from_file_location(f"{__name__}_{name}", Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(f"expected {name}.py beside {__file__}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pictures = _load_beside("served_pictures")


class ServingError(MlflowException, MLServerError):
    """Says in one line why a request was not answered. The code becomes the HTTP status; 400 for a wrong request."""

    def __init__(self, line: str, code: int = INVALID_PARAMETER_VALUE) -> None:
        super().__init__(line, code)
        self.line, self.status_code = line, self.get_http_status_code()

    def serialize_as_json(self) -> str:
        """Returns the answer of MLflow's server, which has put the whole request before the line."""
        self.message = self.line
        return super().serialize_as_json()


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
            images, profiles = (
                self._change(columns, with_profiles=form == "png") if self._changing else (self._generate(columns), [])
            )
            if form == "tensor" and len(sizes := {image.shape for image in images}) > 1:
                pictures.refuse("images of one size with format=tensor", f"{len(sizes)} sizes")
            if form == "png":
                profiles = profiles or [None] * len(images)
                return [pictures.to_png(image, profile) for image, profile in zip(images, profiles, strict=True)]
            return np.stack(images)
        except pictures.RequestError as error:
            raise ServingError(str(error)) from None
        except tf.errors.InvalidArgumentError as error:
            lines = str(error.message).partition("\n\t [[")[0].splitlines()  # without the place in the graph
            reason = next((line.strip() for line in reversed(lines) if line.strip()), "no reason given")
            raise ServingError(f"the model refused it: {reason[:300]}") from None
        except (MemoryError, tf.errors.ResourceExhaustedError):
            raise ServingError("too little memory; send fewer images", TEMPORARILY_UNAVAILABLE) from None
        except Exception as error:  # noqa: BLE001  # a server must not show a traceback, whatever went wrong
            traceback.print_exc()
            raise ServingError(f"the model failed: {type(error).__name__}", INTERNAL_ERROR) from None

    def _generate(self, columns: Columns) -> list[Any]:
        """Returns images of seeds or of latents."""
        specs = self._specs["serving_default"]
        height, width, _ = self._functions["serving_default"].structured_outputs["images"].shape[1:]
        label = ["label"] if "label" in specs else []
        _check_names(columns, [(["seed", *label], ["count"]), (["latent", *label], [])], "[format]")
        rows, limit = _align(columns), max(1, min(MAX_IMAGES, pictures.MAX_PIXELS // (height * width)))
        labels = {name: self._labels(columns[name]) for name in label}
        counts = _whole("count", columns.get("count", np.ones(rows, np.int64)), 1, limit).tolist()
        if sum(counts) > limit:
            pictures.refuse(f"at most {limit} images in a request", str(sum(counts)))
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
        """Returns the index of each class, which is asked for by its name or, if no class has that name, its index."""
        names = {name: index for index, name in enumerate(self._limits.get("classes", []))}
        known = pictures.show_names([f"{index} = {name}" for name, index in names.items()])
        indices = []
        for value in column.tolist():
            text = str(_text(value))
            index = names.get(text, int(text) if text.isdecimal() and len(text) < 10 else -1)
            is_label = isinstance(value, str | bytes | int | np.integer) and not isinstance(value, bool)
            if not is_label or not 0 <= index < (len(names) or 2**31):  # a class may have the name None, nan or True
                pictures.refuse(f"the name or the index of a class ({known})", f"label={pictures.show(value)}")
            indices.append(index)
        return np.array(indices, np.int64)

    def _change(self, columns: Columns, *, with_profiles: bool) -> tuple[list[Any], list[Any]]:
        """Returns what a function makes of images, and the colour profile of each image if they are asked for."""
        name = _single(columns, "function", self._changing, self._changing[0])
        specs = self._specs[name]
        masked, channels = "masks" in specs, int(specs["images"].shape[3])
        further = "[format]" + ", [function]" * (len(self._changing) > 1)
        _check_names(columns, [(["image", *["mask"] * masked], []), (["images", *["masks"] * masked], [])], further)
        if (rows := _align(columns)) > MAX_IMAGES:
            pictures.refuse(f"at most {MAX_IMAGES} images in a request", str(rows))
        end = "" if "image" in columns else "s"
        given = pictures.read(f"image{end}", columns[f"image{end}"], channels)
        given_masks = pictures.read(f"mask{end}", columns[f"mask{end}"], 1) if masked else []
        images, masks = [one.pixels() for one in given], [one.pixels() for one in given_masks]
        pictures.check_sizes(images, masks, specs["images"].shape[1:3], self._limits)
        for mask in masks:
            pictures.check_mask(f"mask{end}", mask)
        made = self._call_by_size(name, images, masks)
        return made, [one.profile(made[0].shape[2]) for one in given] if with_profiles else []

    def _call_by_size(self, name: str, images: list[Any], masks: list[Any]) -> list[Any]:
        results: dict[int, Any] = {}
        for size in dict.fromkeys(image.shape for image in images):  # a batch of each size
            places = [place for place, image in enumerate(images) if image.shape == size]
            batch = np.stack([images[place] for place in places])
            given = {"masks": np.stack([masks[place] for place in places])} if masks else {}
            made = self._call(name, images=batch, **given)
            if masks:
                made = np.where(given["masks"] > pictures.WHITE, made, batch)  # all other pixels stay as they are
            results.update(zip(places, made, strict=True))
        return [results[place] for place in range(len(images))]

    def _call(self, name: str, **arguments: Any) -> NDArray[Any]:
        tensors = {key: tf.constant(value, self._specs[name][key].dtype) for key, value in arguments.items()}
        return np.asarray(self._functions[name](**tensors)["images"])


def _columns(request: Any) -> Columns:
    """Returns the inputs by name, as arrays."""
    columns: Columns = {}
    for name, values in _table(request):
        if (key := str(name)) in columns:
            pictures.refuse("one input of each name", f"several of {pictures.show_names([key])}")
        column = columns[key] = _column(key, values)
        if column.ndim == 2 and column.shape[1] == 1 and key != "latent":
            columns[key] = column[:, 0]  # so some clients send single values
    return columns


def _column(name: str, values: Any) -> NDArray[Any]:
    name = pictures.show_names([name])
    kinds = _kinds(values) - {list, tuple}
    if len(kinds) > 1 and kinds & {bool, np.bool_}:  # NumPy would make numbers or texts of them
        pictures.refuse(f"{name} without true and false among numbers or texts", f"{name}={pictures.show(values)}")
    try:  # NumPy would make a text of what is beside a text, and all texts as long as the longest
        return np.asarray(values, object if any(issubclass(kind, str | bytes) for kind in kinds) else None)
    except (ValueError, OverflowError) as error:
        return pictures.refuse(f"values of one shape for {name}", " ".join(str(error).split()))


def _kinds(values: Any) -> set[type]:
    """Returns the types of what is in a list, at any depth; none for anything else."""
    kinds = set(map(type, values)) if isinstance(values, list | tuple) else set()
    return kinds.union(*map(_kinds, values)) if kinds & {list, tuple} else kinds


def _table(request: Any) -> Iterable[tuple[Any, Any]]:
    """Returns names and values of the inputs. A name may be there more than once."""
    if hasattr(request, "columns"):  # a table of pandas
        return [(name, request.iloc[:, place].tolist()) for place, name in enumerate(request.columns)]
    if hasattr(request, "inputs"):  # tensors of protocol v2, such as MLServer leaves if it is not told to decode them
        return [(one.name, _tensor(one)) for one in request.inputs]
    if isinstance(request, list) and request and all(isinstance(row, Mapping) for row in request):
        return [
            (name, [row.get(name) for row in request])
            for name in dict.fromkeys(name for row in request for name in row)
        ]
    if not isinstance(request, Mapping):
        pictures.refuse("inputs by name", type(request).__name__)
    return request.items()


def _tensor(tensor: Any) -> Any:
    values = _column(tensor.name, getattr(tensor.data, "root", tensor.data))
    name, sides = pictures.show_names([tensor.name]), list(tensor.shape)
    if len(sides) > 4 or min(sides, default=0) < 0 or values.size != math.prod(sides):
        shown = f"{values.size} values, and the shape {pictures.show(sides)}"
        pictures.refuse(f"as many values of {name} as its shape of up to 4 sides says", shown)
    return values.reshape(sides)


def _check_names(columns: Columns, ways: list[tuple[list[str], list[str]]], optional: str) -> None:
    """Refuses missing and unknown inputs. A way has the inputs that it needs, and those that it also takes."""
    if any(set(needed) <= columns.keys() <= {*needed, *further} for needed, further in ways):
        return
    expected = " or ".join(", ".join([*needed, *(f"[{name}]" for name in further)]) for needed, further in ways)
    pictures.refuse(f"the inputs {expected}, with {optional}", pictures.show_names(sorted(columns)) or "no input")


def _single(columns: Columns, name: str, known: list[str], default: str) -> str:
    """Removes an input that has one value for the whole request, and returns the value."""
    if name not in columns:
        return default
    given = {str(_text(value)) for value in columns.pop(name).ravel().tolist()}
    if len(given) != 1 or not given <= set(known):
        received = ", ".join(sorted(f"{name}={pictures.show(value)}" for value in given)) or f"an empty {name}"
        pictures.refuse(f"one {name} for all rows, {' or '.join(known)}", received)
    return given.pop()


def _align(columns: Columns) -> int:
    """Repeats single values for all rows. Returns the number of rows."""
    rows = {name: len(column) for name, column in columns.items() if column.ndim}
    if len(set(rows.values())) > 1:
        pictures.refuse("as many values of each input", ", ".join(f"{count} of {name}" for name, count in rows.items()))
    count = next(iter(rows.values()), 1)
    if not count:
        pictures.refuse("at least one row", "none")
    columns.update({name: np.repeat(column, count) for name, column in columns.items() if not column.ndim})
    return count


def _whole(name: str, column: NDArray[Any], low: int, high: int) -> NDArray[np.int64]:
    wrong = [value for value in column.ravel().tolist() if type(value) is not int or not low <= value <= high]
    if wrong or column.ndim != 1:
        received = pictures.show(wrong[0]) if wrong else f"values of shape {list(column.shape)}"
        pictures.refuse(f"whole numbers from {low} to {high} as {name}", f"{name}={received}")
    return column.astype(np.int64)


def _latents(column: NDArray[Any], width: int) -> NDArray[np.float32]:
    if column.dtype.kind not in "iuf" or column.ndim != 2 or column.shape[1] != width:
        kind = column.dtype if column.dtype.kind in "biuf" else "other values"
        pictures.refuse(f"latent as numbers [N, {width}]", f"{kind} {list(column.shape)}")
    if not (np.abs(column) <= np.finfo(np.float32).max).all():  # nor is NaN
        pictures.refuse("finite numbers as latent", "NaN, or numbers beyond float32")
    return column.astype(np.float32)


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


class MlflowModel(ServedModel, mlflow.pyfunc.PythonModel):
    """The same for MLflow, which would wrap and warn about a `predict` of this class's own."""


mlflow.models.set_model(MlflowModel())
