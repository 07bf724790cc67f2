"""The directory of a run: which run it holds, which settings a restart may change, and its copy in a bucket."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ganlib import storage, tracking
from ganlib.trained import without_places
from ganlib.training.checkpoints import has_checkpoints

FREE = {
    f"training.{name}"
    for name in (
        "checkpoint_minutes",
        "compile",  # what it resolves to identifies a run
        "home",
        "keep_checkpoints",
        "max_minutes",
        "run_name",
        "strategy",
        "target_score",
    )
}
HEALTH = "training.health."
CHANGED = {"dataset": "images", "masks": "masks", "test masks": "masks"}
SETTINGS = "settings.json"
CHECKPOINTS = "checkpoints"
LOCK_SECONDS = 60.0  # a killed command may leave its training step alive until that prints its next line


class OtherRunError(ValueError):
    """A run directory holds another run than the one that is to begin or go on."""


class RunDirectory:
    """Where a run is stored between two starts. As a context, it is locked for this process.

    For a run directory in a bucket a local folder stands in: entering downloads what the bucket has, `begin` and
    `upload` upload what is new, and leaving uploads the rest. Workers other than the chief start from copies of
    the same checkpoints in folders of their own, and upload nothing.

    Args:
        location: Folder or address in a bucket; None means a folder beside `output`.
        output: Where the result will be written.
        chief: Whether this process saves for all workers.

    Attributes:
        folder: The local folder.
    """

    def __init__(self, location: str | None, output: Path, *, chief: bool) -> None:
        remote = location is not None and storage.is_remote(location)
        self._local = local_folder(location, output)
        self._chief = chief
        self.folder = self._local if chief else _scratch()
        self._mirror = storage.Mirror(location, self.folder) if location and remote else None
        self._lock = contextlib.ExitStack()
        self._begun = False

    def __enter__(self) -> Self:
        """Waits until no other process has the lock, and downloads what the bucket has."""
        with contextlib.ExitStack() as lock:
            if self._chief:
                lock.enter_context(storage.lock_folder(self.folder, timeout=LOCK_SECONDS))
            if self._mirror is not None:
                self._mirror.pull()
            elif not self._chief and (self._local / CHECKPOINTS).is_dir():
                (self.folder / CHECKPOINTS).mkdir()
                for path in (self._local / CHECKPOINTS).glob("*.npz"):
                    shutil.copy(path, self.folder / CHECKPOINTS)
            self._lock = lock.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Uploads how the run ended."""
        with self._lock:
            if self._begun and not isinstance(error, storage.WriteConflict):
                self.upload(last=True)

    def begin(self) -> None:
        """Takes over a run directory in a bucket, before anything that must not happen twice.

        Raises:
            ValueError: This user may not write to the bucket.
            OSError: The bucket cannot be written, or another process has taken over meanwhile.
        """
        self._begun = True
        if self._mirror is not None and self._chief:
            self._mirror.push()

    def upload(self, *, last: bool = False) -> None:
        """Uploads what is new, if the run directory is in a bucket; training continues where that fails.

        Args:
            last: Whether this is the last upload of the process.

        Raises:
            storage.WriteConflict: Another process has resumed this run.
        """
        try:
            self.begin()
        except storage.WriteConflict:
            raise
        except (OSError, ValueError) as error:
            if last:
                print(f"note: the home lacks what is new since the last upload: {error}", flush=True)
            else:
                print(f"train: checkpoints are not uploaded for now: {error}", flush=True)


def local_folder(location: str | None, output: Path) -> Path:
    """Returns the local folder of a run directory, which stands in for one in a bucket.

    Args:
        location: Folder or address in a bucket, if one was given.
        output: Where the result will be written.
    """
    if location and not storage.is_remote(location):
        return Path(location)
    return output.with_name(f"{output.name}.home")


def _scratch() -> Path:
    """Returns a folder that is removed when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="gan-worker-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def identifying_settings(settings: dict[str, Any], *, steps_are_free: bool) -> dict[str, Any]:
    """Returns the settings, by dotted name, that a restart may not change.

    Args:
        settings: All settings.
        steps_are_free: Whether the number of steps may change. It may not where the rate falls towards the end.
    """
    free = FREE | ({"training.steps"} if steps_are_free else set())
    return {
        name: value
        for name, value in without_places(settings).items()
        if name not in free and not name.startswith(HEALTH)
    }


def write_settings(home: Path, present: dict[str, Any]) -> None:
    """Records which run a run directory holds."""
    storage.write_json(home / SETTINGS, present)


def check_owner(home: Path, present: dict[str, Any]) -> None:
    """Refuses a run directory that holds another run. Without a checkpoint, the other run is forgotten instead.

    Args:
        home: The run directory.
        present: What identifies this run.

    Raises:
        OtherRunError: It holds checkpoints of another run; the message names what differs.
    """
    path = home / SETTINGS
    before = storage.read_json(path) if path.exists() else present
    differing = [name for name in sorted(before.keys() | present.keys()) if before.get(name) != present.get(name)]
    if not differing:
        return
    if not has_checkpoints(home / CHECKPOINTS):
        print("train: the run before had other settings and left no checkpoint; this one replaces it", flush=True)
        tracking.forget(home)
        return
    for name, what in CHANGED.items():
        if name in differing:
            raise OtherRunError(
                f"the {what} changed since this run began. Take another run name. Received: home={str(home)!r}"
            )
    name = differing[0]
    raise OtherRunError(
        f"{home} holds a run with other settings: {name} was {before.get(name)!r}. Take another run name, or "
        f"remove the folder. Received: {name}={present.get(name)!r}"
    )
