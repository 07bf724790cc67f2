"""What a verb or the command needs of its process: settings of Keras and warnings, output that takes every letter."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from ganlib import REPLACED

KERAS = {"backend": "tensorflow", "floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
OUTPUT_ERRORS = "backslashreplace"
# Keras imports these where it finds them, for what nothing here uses: more than a third of the time that an import of
# TensorFlow takes.
UNUSED_BY_KERAS = ("matplotlib", "pandas", "sklearn")
_reported: set[str] = set()


@contextlib.contextmanager
def standard_keras() -> Iterator[None]:
    """Has Keras work as this library is written for, whatever `keras.json` or a notebook has set.

    That is on TensorFlow, with channels last, in float32. What differed is said once a process.

    Raises:
        ValueError: Keras was imported with another backend before, or its settings cannot be used at all.
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
            f"first, in a fresh process. Received: backend={backend!r}"
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
    """Prints which of the user's settings count for nothing here, each once a process.

    Args:
        keras: Settings that Keras has; absent means that it is not imported, and will read its file.
    """
    found = {**_file_settings(), **(keras or {})}
    differing = {f"Keras' {name}={value}" for name, value in found.items() if KERAS.get(name) != value}
    differing |= {f"{name}={value}" for name, value in REPLACED.items()}
    if new := ", ".join(sorted(differing - _reported)):
        why = "gan-pipelines runs on TensorFlow, with channels last and whole float32"
        print(f"note: {new} is ignored: {why}", flush=True)
    _reported.update(differing)


def _file_settings() -> dict[str, Any]:
    """Returns what Keras takes from its file."""
    try:
        kept = json.loads(_keras_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # then it takes its own defaults
        return {}
    return {name: kept[name] for name in KERAS if name in kept}


def _keras_file() -> Path:
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "keras.json"


@contextlib.contextmanager
def escape_output() -> Iterator[None]:
    """Has standard output show a letter that its encoding lacks as an escape, where it would raise an error."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):  # a notebook's, which takes every letter
        yield
        return
    before = stream.errors
    stream.reconfigure(errors=OUTPUT_ERRORS)
    try:
        yield
    finally:
        stream.reconfigure(errors=before)


class _UnusedLibraryFinder(MetaPathFinder):
    """Hides libraries while Keras is being imported; afterwards they are found as ever."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        del path, target
        if fullname in UNUSED_BY_KERAS and getattr(_keras_spec(), "_initializing", False):
            raise ModuleNotFoundError(f"{fullname} is not imported with Keras here", name=fullname)


def _keras_spec() -> Any:
    return getattr(sys.modules.get("keras"), "__spec__", None)


def hide_unused_libraries() -> None:
    """Has Keras import no library in this process that only other programs use it with.

    For processes that run nothing but this project: a notebook's Keras takes tables of pandas, for one.
    """
    if not any(isinstance(finder, _UnusedLibraryFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _UnusedLibraryFinder())


def disable_warning_errors() -> None:
    """Has warnings end neither this process nor those that it starts, and says so where the user makes errors of them.

    Libraries warn of what only their own users can change.
    """
    made_errors = [option for option in sys.warnoptions if option.startswith("e")]  # Python takes `e` for `error`
    if made_errors:
        given = ",".join(made_errors)
        print(f"note: PYTHONWARNINGS={given} is ignored: no warning of a library ends a command", file=sys.stderr)
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)  # as usual
        os.environ.pop("PYTHONWARNINGS", None)


def always_escape_output() -> None:
    """Does what `escape_output` does, for the rest of the process."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=OUTPUT_ERRORS)
