"""Settings of the process for pipeline steps and the command line: Keras, warnings, output, and SIGTERM."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import FrameType
from typing import Any

from ganlib import REPLACED

KERAS = {"backend": "tensorflow", "floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
OUTPUT_ERRORS = "backslashreplace"
# Keras imports these if they are installed, for features that are not used here. That takes more than a third of the
# time to import TensorFlow.
UNUSED_BY_KERAS = ("matplotlib", "pandas", "sklearn")
_reported: set[str] = set()


@contextlib.contextmanager
def standard_keras() -> Iterator[None]:
    """Sets Keras to TensorFlow, channels last and float32, regardless of `keras.json` or a notebook's settings.

    Settings that are overridden are reported once per process, and restored at the end.

    Raises:
        ValueError: Keras was already imported with another backend, or its settings are invalid.
    """
    try:
        import keras
    except ValueError as error:
        raise ValueError(f"Keras cannot use its settings: {error}. Received: file={str(_keras_file())!r}") from error
    config = keras.config
    backend = config.backend()
    if backend != KERAS["backend"]:
        raise ValueError(
            f"expected Keras on TensorFlow, but it was imported with another backend before ganlib: import ganlib "
            f"first, in a new process. Received: backend={backend!r}"
        )
    policy = config.dtype_policy()
    before = {name: getattr(config, name)() for name in KERAS if name != "backend"}
    report_ignored_settings({**before, **({} if policy.name == before["floatx"] else {"dtype_policy": policy.name})})
    try:
        _set_keras({**KERAS, "dtype_policy": KERAS["floatx"]})
        yield
    finally:
        _set_keras({**before, "dtype_policy": policy})


def _set_keras(values: Mapping[str, Any]) -> None:
    import keras

    for name, value in values.items():
        if name != "backend":
            getattr(keras.config, f"set_{name}")(value)


def report_ignored_settings(keras: Mapping[str, Any] | None = None) -> None:
    """Prints which of the user's settings are ignored, each once per process.

    Args:
        keras: Current settings of Keras; None if it is not imported yet, and will read its file.
    """
    settings = {**_file_settings(), **(keras or {})}
    differing = {f"Keras' {name}={value}" for name, value in settings.items() if KERAS.get(name) != value}
    differing |= {f"{name}={value}" for name, value in REPLACED.items()}
    if new := ", ".join(sorted(differing - _reported)):
        why = "gan-pipelines runs on TensorFlow, with channels last and full float32"
        print(f"note: {new} is ignored: {why}", flush=True)
    _reported.update(differing)


def _file_settings() -> dict[str, Any]:
    """Returns the settings that Keras reads from its file."""
    try:
        settings = json.loads(_keras_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # then Keras uses its defaults
        return {}
    return {name: settings[name] for name in KERAS if name in settings}


def _keras_file() -> Path:
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "keras.json"


@contextlib.contextmanager
def escape_output() -> Iterator[None]:
    """Makes standard output escape characters that its encoding lacks, instead of raising an error."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):  # that of a notebook, which accepts every character
        yield
        return
    before = stream.errors
    stream.reconfigure(errors=OUTPUT_ERRORS)
    try:
        yield
    finally:
        stream.reconfigure(errors=before)


class _UnusedLibraryFinder(MetaPathFinder):
    """Hides some libraries while Keras is being imported. Afterwards they can be imported as usual."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        del path, target
        if fullname in UNUSED_BY_KERAS and getattr(_keras_spec(), "_initializing", False):
            raise ModuleNotFoundError(f"{fullname} is not imported with Keras here", name=fullname)


def _keras_spec() -> Any:
    return getattr(sys.modules.get("keras"), "__spec__", None)


def hide_unused_libraries() -> None:
    """Keeps Keras from importing libraries that this project does not use with it.

    Only for processes that run nothing but this project. In a notebook, Keras may need pandas for tables, for example.
    """
    if not any(isinstance(finder, _UnusedLibraryFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _UnusedLibraryFinder())


def disable_warning_errors() -> None:
    """Keeps warnings from becoming errors in this process and in those that it starts, and prints a note if they would.

    The warnings of libraries are about their own code, which the user cannot change.
    """
    made_errors = [option for option in sys.warnoptions if option.startswith("e")]  # Python takes `e` for `error`
    if made_errors:
        given = ",".join(made_errors)
        print(f"note: PYTHONWARNINGS={given} is ignored: warnings of libraries do not end commands", file=sys.stderr)
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)  # as usual
        os.environ.pop("PYTHONWARNINGS", None)


def always_escape_output() -> None:
    """Like `escape_output`, but for the rest of the process."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=OUTPUT_ERRORS)


@contextlib.contextmanager
def end_on_sigterm(*, cleanup: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Handles SIGTERM like Ctrl-C, so that a process cleans up and prints a last line.

    Args:
        cleanup: Called first, for example to end child processes: they receive a terminal's Ctrl-C, but not SIGTERM.

    Raises:
        KeyboardInterrupt: SIGTERM was received.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        cleanup()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
