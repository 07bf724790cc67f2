"""The functions of an exported model, opened without the code that trained it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import pixels, storage
from ganlib.inference.inputs import Inputs

with epy.lazy_imports():
    import numpy as np
    import tensorflow as tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAVED_MODEL, MARK = "saved_model", "saved_model.pb"
FROM_IMAGES = ("translate", "restore")  # the usual names of functions from images to images
FROM_LATENTS = "serving_default"
IMAGES, MASKS, LATENT, LABEL = "images", "masks", "latent", "label"


class FunctionError(RuntimeError):
    """A function of an exported model failed. The message is one line."""


class RefusedError(FunctionError, ValueError):
    """A function refused what it was given, for example a label of no class."""


class ExportedFunctions:
    """The functions of an exported model. Use `ExportedFunctions.open(location)`.

    Attributes:
        location: Where the model is, for messages.
        inputs: What the functions take.
    """

    def __init__(self, location: str, model: Any, inputs: Inputs) -> None:
        self.location, self.inputs = location, inputs
        self._model = model  # its functions do not keep the weights alive

    @classmethod
    def open(cls, location: str) -> ExportedFunctions:
        """Loads an exported model.

        Args:
            location: What `export` wrote, the folder `saved_model` in it, or the folder of a run; also an
                address in a bucket.

        Raises:
            ValueError: There is no exported model, or it is damaged.
            OSError: A bucket cannot be read.
        """
        path = storage.fetch(location)
        places = [path / SAVED_MODEL, path, path / "model" / SAVED_MODEL]
        saved = next((place for place in places if (place / MARK).is_file()), None)
        if saved is None:
            raise ValueError(
                f"expected an exported model, a folder with {SAVED_MODEL}/{MARK}. Received: model={location!r}"
            )
        inputs = Inputs.read(saved.parent)
        try:
            model = tf.saved_model.load(str(saved))
        except (OSError, ValueError, LookupError, TypeError, tf.errors.OpError) as error:
            raise ValueError(
                f"expected a whole exported model. Received: model={location!r} ({_cause(error)})"
            ) from error
        return cls(location, model, inputs)

    @property
    def image_functions(self) -> list[str]:
        """Names of the functions from images to images, as far as they have usual names."""
        return sorted(name for name in self._model.signatures if name.startswith(FROM_IMAGES))

    def from_images(self, name: str | None = None) -> ImageFunction:
        """Returns a function from images to images.

        Args:
            name: Its name. Default: `translate` or `restore`.

        Raises:
            ValueError: There is no such function, or it takes something else.
        """
        names = list(self._model.signatures)
        chosen = next((usual for usual in FROM_IMAGES if usual in names), "") if name is None else name
        if chosen not in names:
            which = " or ".join(FROM_IMAGES) if name is None else repr(name)
            raise ValueError(
                f"expected an exported model with the function {which}. Received: model={self.location!r}, with "
                f"{', '.join(sorted(names))}"
            )
        return ImageFunction(self, chosen, self._model.signatures[chosen])

    def from_latents(self) -> LatentFunction:
        """Returns the function from latents to images.

        Raises:
            ValueError: The model makes images from something else.
        """
        function = self._model.signatures.get(FROM_LATENTS)
        if function is None or not _is_from_latents(function):
            raise ValueError(
                f"expected an exported model that makes images from latents. Received: model={self.location!r}, whose "
                f"functions are {', '.join(sorted(self._model.signatures))}"
            )
        return LatentFunction(self, function)


class ImageFunction:
    """A function from images to images.

    Args:
        model: The exported model.
        name: Name of the function.
        function: The function itself.

    Attributes:
        name: Its name.
        channels: Channels of the images that it takes, 1 or 3.
        channels_out: Channels of its results.
        takes_masks: Whether it also takes masks of what is to be repaired.
        sides: Height and width that an image must have; None where there is a choice.
        inputs: What else it demands of the sides.

    Raises:
        ValueError: It takes or returns something else than images.
    """

    def __init__(self, model: ExportedFunctions, name: str, function: Any) -> None:
        self.name, self.inputs = name, model.inputs
        self._model, self._function = model, function
        specs, result = _specs(function), function.structured_outputs.get(IMAGES)
        images = specs.get(IMAGES)
        self.takes_masks = MASKS in specs
        if (
            images is None
            or result is None
            or not (_is_image(images) and _is_image(result))
            or specs.keys() - {IMAGES, MASKS}
            or (self.takes_masks and (specs[MASKS].dtype != tf.uint8 or images.shape[3] != result.shape[3]))
        ):
            raise ValueError(
                f"expected a function from images to images, uint8 with 1 or 3 channels. Received: function={name}, "
                f"from {_described(specs)} to {_described(function.structured_outputs)}"
            )
        self.channels, self.channels_out = int(images.shape[3]), int(result.shape[3])
        height, width = model.inputs.fixed or (None, None)
        self.sides: tuple[int | None, int | None] = (images.shape[1] or height, images.shape[2] or width)

    def __call__(self, images: NDArray[np.uint8], masks: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Makes images from images.

        Args:
            images: uint8 [N, H, W, C].
            masks: uint8 [N, H, W, 1], 255 where an image is to be repaired; for functions that take masks.

        Returns:
            uint8 [N, H, W, C'].

        Raises:
            RefusedError: The function refused it, for example because of the sides of the images.
            FunctionError: The function failed, or returned images of another size.
        """
        arguments = {IMAGES: images} | ({} if masks is None else {MASKS: masks})
        made = _call(self._function, arguments)
        if made.shape[:3] != images.shape[:3]:
            raise FunctionError(f"{self.name} returned images of {made.shape[1:3]}, expected {images.shape[1:3]}")
        return made


class LatentFunction:
    """A function from latents to images.

    Args:
        model: The exported model.
        function: The function itself.

    Attributes:
        latent_dim: Width of a latent vector.
        takes_label: Whether it takes a class for each image.
        classes: Names of the classes; empty if it takes none, or if the export does not name them.
        image_shape: Height, width and channels of the images.
    """

    def __init__(self, model: ExportedFunctions, function: Any) -> None:
        self._model, self._function = model, function
        specs = _specs(function)
        self.latent_dim = int(specs[LATENT].shape[1])
        self.takes_label = LABEL in specs
        self.classes = model.inputs.classes if self.takes_label else ()
        self.image_shape: tuple[int, int, int] = tuple(function.structured_outputs[IMAGES].shape[1:])

    def __call__(self, latents: NDArray[np.float32], labels: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """Makes images from latents.

        Args:
            latents: float32 [N, latent_dim].
            labels: int64 [N], for functions that take a class.

        Returns:
            uint8 [N, H, W, C].

        Raises:
            RefusedError: The function refused it, for example because there is no such class.
            FunctionError: The function failed.
        """
        arguments = {LATENT: latents} | ({} if labels is None else {LABEL: labels})
        images: NDArray[np.uint8] = pixels.to_uint8(_call(self._function, arguments)).numpy()
        return images


def _call(function: Any, arguments: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    specs = _specs(function)
    try:
        result = function(**{name: tf.constant(value, specs[name].dtype) for name, value in arguments.items()})
        images: NDArray[Any] = result[IMAGES].numpy()
    except tf.errors.ResourceExhaustedError as error:
        raise FunctionError("too little memory for the network; use smaller tiles") from error
    except tf.errors.InvalidArgumentError as error:
        raise RefusedError(f"the exported model refused it: {_cause(error)}") from error
    except tf.errors.OpError as error:
        raise FunctionError(f"the exported model failed: {_cause(error)}") from error
    return images


def _specs(function: Any) -> dict[str, tf.TensorSpec]:
    specs: dict[str, tf.TensorSpec] = function.structured_input_signature[1]
    return specs


def _is_from_latents(function: Any) -> bool:
    specs, images = _specs(function), function.structured_outputs.get(IMAGES)
    latent = specs.get(LATENT)
    if latent is None or images is None or specs.keys() - {LATENT, LABEL}:
        return False
    return latent.shape.rank == 2 and latent.shape[1] and images.shape.rank == 4 and all(images.shape[1:])


def _is_image(spec: tf.TensorSpec) -> bool:
    return spec.dtype == tf.uint8 and spec.shape.rank == 4 and spec.shape[3] in (1, 3)


def _described(specs: Mapping[str, tf.TensorSpec]) -> str:
    return ", ".join(f"{name} {spec.dtype.name} {spec.shape}" for name, spec in specs.items())


def _cause(error: Exception) -> str:
    """Returns the line that says why. TensorFlow puts places in the graph before it and after it."""
    text = str(getattr(error, "message", error))
    is_of_graph = isinstance(error, tf.errors.OpError)
    lines = [line.strip() for line in (text.partition("\n\t [[")[0] if is_of_graph else text).splitlines()]
    named = [line for line in lines if line] or [type(error).__name__]
    return named[-1 if is_of_graph else 0]
