"""Tries an exported model in the server that will serve it: start, ask, compare, and send a wrong request."""

from __future__ import annotations

import base64
import importlib.metadata
import io
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import pixels
from ganlib.export.server import Server, ServerError
from ganlib.inference import Inputs
from ganlib.runtime import true_float32
from ganlib.tracking import error_summary

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf
    from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCHES = (1, 16)  # images of the requests that are timed
REPEATS, TIMED_SECONDS = 5, 10.0  # most requests of each batch, and seconds after which no further one is sent
SIDE = 32  # smallest side of an image that is sent, where the network leaves a choice
MASK_THRESHOLD = 127  # above it, a pixel is repaired
SHOWN = 200  # most characters of a server's message
WRONG = {"no_such_input": 1}
REFUSED = 400  # status of the answer to a wrong request


@dataclass(frozen=True)
class Trial:
    """What a server made of an exported model.

    Attributes:
        server: The server and its version.
        reason: Why the model failed, in one line; None if it passed.
        ready_seconds: Seconds from the start of the server until it was ready; None if it never was.
        difference: Largest difference to the images of this process, in steps of 0..255; None if none were given.
        milliseconds: Median duration of a request by its number of images. A number that the model refuses is absent.
    """

    server: str
    reason: str | None = None
    ready_seconds: float | None = None
    difference: int | None = None
    milliseconds: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the model can be served."""
        return self.reason is None

    def to_dict(self) -> dict[str, Any]:
        """Returns the trial for a JSON file."""
        return {"passed": self.passed, **asdict(self)}


@dataclass(frozen=True)
class Question:
    """A request with its answer.

    Attributes:
        inputs: The inputs by name.
        images: The images that the model gives for them, uint8 [N, H, W, C].
    """

    inputs: dict[str, Any]
    images: NDArray[np.uint8]


def try_server(folder: Path, *, tolerance: float = 1e-4, ready_within: float = 180.0) -> Trial:
    """Serves an exported model with `mlflow models serve`, asks it, and ends the server.

    The server runs on the CPU, without this process's credentials. It must give the images that TensorFlow gives here,
    and refuse a wrong request with status 400.

    Args:
        folder: The exported model.
        tolerance: Largest difference of images in -1..1. A difference of one step in 0..255 is always allowed.
        ready_within: Seconds until the server must be ready.

    Returns:
        The result. A model that fails is a result, too, with its reason.
    """
    version = f"mlflow {importlib.metadata.version('mlflow')}"
    found: dict[str, Any] = {}
    print("trial: starting mlflow models serve", flush=True)
    try:
        questions, batch = _open_questions(folder)
        with Server(folder) as server:
            found["ready_seconds"] = round(server.wait_until_ready(ready_within), 1)
            print(f"trial: the server was ready after {found['ready_seconds']} s", flush=True)
            found["difference"] = _compare(server, questions, max(1, round(tolerance * pixels.HALF_RANGE)))
            _send_wrong_request(server)
            found["milliseconds"] = {str(count): cost for count in BATCHES if (cost := _time(server, batch, count))}
    except ServerError as error:
        print(f"trial: failed: {error}", flush=True)
        return Trial(version, str(error), **found)
    costs = ", ".join(f"{cost:g} ms for {count} images" for count, cost in found["milliseconds"].items())
    print(f"trial: passed, largest difference {found['difference']} of 255; {costs}", flush=True)
    return Trial(version, **found)


def _open_questions(folder: Path) -> tuple[list[Question], Mapping[str, Any]]:
    """Returns what `_questions` does; a model that cannot answer them here is one that fails."""
    try:
        with true_float32():
            return _questions(folder)
    except (OSError, ValueError, LookupError, tf.errors.OpError) as error:
        raise ServerError(f"the exported model cannot be used: {error_summary(error)}") from error


def _questions(folder: Path) -> tuple[list[Question], Mapping[str, Any]]:
    """Returns requests with their answers, and the inputs of one image, which may be repeated."""
    model = tf.saved_model.load(str(folder / "saved_model"))
    inputs = Inputs.read(folder)
    functions = {
        name: function
        for name, function in model.signatures.items()
        if getattr(_specs(function).get("images"), "dtype", None) == tf.uint8
    }
    questions = [_about_images(name, function, inputs) for name, function in functions.items()]
    if questions:
        one = {name: values[:1] for name, values in questions[0].inputs.items() if name != "function"}
        questions += [_as_files(question) for question in questions]
        return questions, _as_files(Question(one, questions[0].images)).inputs
    if not {"generate", "serving_default"} <= model.signatures.keys():
        raise ServerError(f"expected functions that can be served. Received: {', '.join(model.signatures)}")
    generate = model.signatures["generate"]
    label = inputs.classes[0] if inputs.classes else 0  # by its name: the index may be the name of another class
    asked = {name: label if name == "label" else 1 for name in _specs(generate)}
    told = asked | {"count": 3} | ({"label": 0} if "label" in asked else {})
    images = generate(**_constants(generate, told))["images"].numpy()
    return [
        Question(asked | {"count": 3}, images),
        Question(asked | {"count": 3, "format": "png"}, images),
        _about_latents(model.signatures["serving_default"], label),
    ], asked


def _about_latents(function: Any, label: str | int) -> Question:
    specs = _specs(function)
    latent = np.sin(np.arange(2 * specs["latent"].shape[1], dtype=np.float32)).reshape(2, -1)
    told = {name: latent if name == "latent" else np.zeros(2, np.int64) for name in specs}
    images = function(**_constants(function, told))["images"]
    asked = {"latent": latent.tolist()} | ({"label": [label, label]} if "label" in specs else {})
    return Question(asked, pixels.to_uint8(images).numpy())


def _about_images(name: str, function: Any, inputs: Inputs) -> Question:
    specs = _specs(function)
    smallest = -(-max(SIDE, inputs.minimum) // inputs.multiple_of) * inputs.multiple_of
    sides = [
        side or other or smallest
        for side, other in zip(specs["images"].shape[1:3], inputs.fixed or (None, None), strict=True)
    ]
    asked = {key: _ramp((2, *sides, int(spec.shape[3])), slope=len(key)) for key, spec in specs.items()}
    images = function(**{key: tf.constant(value) for key, value in asked.items()})["images"].numpy()
    if "masks" in asked:
        images = np.where(asked["masks"] > MASK_THRESHOLD, images, asked["images"])
    return Question({key: value.tolist() for key, value in asked.items()} | {"function": name}, images)


def _as_files(question: Question) -> Question:
    """Returns the same question with PNG files in base64."""
    files = {
        name.removesuffix("s"): [_to_png(np.array(image, np.uint8)) for image in values]
        for name, values in question.inputs.items()
        if name != "function"
    }
    others = {name: value for name, value in question.inputs.items() if name == "function"}
    return Question(files | others, question.images)


def _compare(server: Server, questions: list[Question], allowed: int) -> int:
    """Returns the largest difference of the server's images to those of this process."""
    largest = 0
    for question in questions:
        status, answer = server.ask(question.inputs)
        names = ", ".join(question.inputs)
        if status != 200:
            raise ServerError(f"the server refused {names} with status {status}: {_told(answer)}")
        images = _images(answer)
        if images.shape != question.images.shape:
            raise ServerError(f"the server gives images of shape {images.shape}, expected {question.images.shape}")
        difference = int(np.abs(images.astype(int) - question.images).max())
        if difference > allowed:
            raise ServerError(
                f"the server gives other images than this process for {names}, expected a difference of at most "
                f"{allowed} of 255. Received: {difference}"
            )
        largest = max(largest, difference)
    return largest


def _images(answer: Mapping[str, Any]) -> NDArray[Any]:
    """Returns the images of an answer."""
    try:
        return np.array([_from_png(one) if isinstance(one, str) else one for one in answer["predictions"]])
    except (LookupError, TypeError, ValueError, OSError) as error:
        raise ServerError(f"the server gives no images: {type(error).__name__}") from error


def _told(answer: Mapping[str, Any]) -> str:
    """Returns the reason in an answer; MLflow puts the request before it."""
    line = "".join(str(answer.get("message", "")).strip().splitlines()[-1:])
    return line.removeprefix("Error:").strip()[:SHOWN] or "no reason given"


def _send_wrong_request(server: Server) -> None:
    status, answer = server.ask(WRONG)
    if status != REFUSED or "stack_trace" in answer:
        shown = " and a traceback" * ("stack_trace" in answer)
        raise ServerError(f"the server answered a wrong request with status {status}{shown}, expected 400 and one line")


def _time(server: Server, batch: Mapping[str, Any], count: int) -> float | None:
    """Returns the median milliseconds of a request for some images, None if the model refuses so many."""
    several = {name: values * count if isinstance(values, list) else values for name, values in batch.items()}
    inputs = several | ({"count": count} if "count" in batch else {})
    durations: list[float] = []
    while len(durations) < 1 + REPEATS and sum(durations) < TIMED_SECONDS:
        start = time.perf_counter()
        status, answer = server.ask(inputs)
        if status == REFUSED:
            return None
        if status != 200:
            raise ServerError(f"the server failed for {count} images with status {status}: {_told(answer)}")
        durations.append(time.perf_counter() - start)
    return round(1000 * statistics.median(durations[1:] or durations), 1)  # the first one is slower


def _constants(function: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tf.constant(value, _specs(function)[name].dtype) for name, value in values.items()}


def _specs(function: Any) -> dict[str, Any]:
    specs: dict[str, Any] = function.structured_input_signature[1]
    return specs


def _ramp(shape: tuple[int, ...], *, slope: int) -> NDArray[np.uint8]:
    """Returns pixels of all values."""
    return (np.arange(int(np.prod(shape))) * slope % 256).reshape(shape).astype(np.uint8)


def _to_png(image: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _from_png(text: str) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        return np.asarray(picture, np.uint8).reshape(picture.height, picture.width, -1)
