"""The exported model behind the page, and what the page has to know of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ganlib.inference import ExportedFunctions
from ganlib.inference.functions import ImageFunction, LatentFunction


@dataclass(frozen=True)
class DemoModel:
    """An exported model. Use `DemoModel.open(location)`.

    Attributes:
        title: What the page calls it.
        latents: Its function from latents to images, if it generates.
        functions: Its functions from images to images, by name; the usual one is the first.
    """

    title: str
    latents: LatentFunction | None
    functions: dict[str, ImageFunction]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, location: str, *, title: str) -> DemoModel:
        """Loads a model.

        Args:
            location: As `ExportedFunctions.open` takes it.
            title: What the page calls it.

        Raises:
            ValueError: There is no exported model, or none that makes images from latents or from images.
            OSError: A bucket cannot be read.
        """
        exported = ExportedFunctions.open(location)
        names = exported.image_functions
        if not names:
            return cls(title, exported.from_latents(), {})
        usual = exported.from_images()
        others = [exported.from_images(name) for name in names if name != usual.name]
        return cls(title, None, {function.name: function for function in (usual, *others)})

    @contextmanager
    def alone(self, stop: threading.Event | None = None) -> Iterator[None]:
        """Lets one request use the network at a time, since each takes all cores and much memory.

        Args:
            stop: Set when nobody waits for the result any more.

        Raises:
            InterruptedError: Nobody waits any more.
        """
        while not self._lock.acquire(timeout=0.5):
            if stop is not None and stop.is_set():
                raise InterruptedError
        try:
            yield
        finally:
            self._lock.release()

    def function(self, name: str) -> ImageFunction:
        """Returns a function from images to images.

        Raises:
            ValueError: There is none of this name.
        """
        if name not in self.functions:
            raise ValueError(f"expected one of {', '.join(self.functions) or 'no function'}. Received: function={name}")
        return self.functions[name]

    @property
    def generator(self) -> LatentFunction:
        """The function from latents to images.

        Raises:
            ValueError: The model makes images from something else.
        """
        if self.latents is None:
            raise ValueError(f"expected a model that generates. Received: model={self.title}")
        return self.latents

    @property
    def facts(self) -> dict[str, Any]:
        """What the page shows, as JSON."""
        generation = None
        if self.latents is not None:
            height, width, _ = self.latents.image_shape
            generation = {
                "takes_label": self.latents.takes_label,
                "classes": self.latents.classes,
                "height": height,
                "width": width,
            }
        functions = [
            {"name": name, "takes_masks": one.takes_masks, "channels": one.channels, "sides": one.sides}
            for name, one in self.functions.items()
        ]
        return {"title": self.title, "generation": generation, "functions": functions}
