"""The folder of a run: whose it is, which settings a later start may change, and how it outlives a machine."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ganlib import storage

FREE = {
    f"training.{name}"
    for name in (
        "checkpoint_minutes",
        "home",
        "keep_checkpoints",
        "max_minutes",
        "run_name",
        "strategy",
        "target_score",
    )
}
HEALTH = "training.health."
SETTINGS = "settings.json"
CHECKPOINTS = "checkpoints"
LOCK_SECONDS = 60.0  # a killed command may leave its training step alive until that prints its next line


class Home:
    """Where a run lives between two starts. Entered, it is held for this process alone.

    A home in a bucket is worked on in a folder of this machine: what the bucket has is fetched first, `begin` and
    `keep` take what is new there, and the last of it goes when the home is left. Workers beside the chief begin from
    the same checkpoints in folders of their own, and keep nothing.

    Args:
        location: Folder or `gs://` address; None means a folder beside `output`.
        output: Where the result will lie.
        chief: Whether this process saves for all workers.

    Attributes:
        folder: Where the run lies on this machine.
    """

    def __init__(self, location: str | None, output: Path, *, chief: bool) -> None:
        beside = output.with_name(f"{output.name}.home")
        remote = location is not None and storage.is_remote(location)
        self._kept = Path(location) if location and not remote else beside
        self._chief = chief
        self.folder = self._kept if chief else _scratch()
        self._mirror = storage.Mirror(location, self.folder) if location and remote else None
        self._held = contextlib.ExitStack()
        self._begun = False

    def __enter__(self) -> Self:
        """Waits until no other process holds the home, and fetches what is kept."""
        with contextlib.ExitStack() as held:
            if self._chief:
                held.enter_context(storage.lock_folder(self.folder, timeout=LOCK_SECONDS))
            if self._mirror is not None:
                self._mirror.pull()
            elif not self._chief and (self._kept / CHECKPOINTS).is_dir():
                (self.folder / CHECKPOINTS).mkdir()
                for path in (self._kept / CHECKPOINTS).glob("*.npz"):
                    shutil.copy(path, self.folder / CHECKPOINTS)
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Keeps how the run ended."""
        with self._held:
            if self._begun and not isinstance(error, storage.WriteConflict):
                self.keep()

    def begin(self) -> None:
        """Takes a home in a bucket, before anything is done that must not be done twice.

        Raises:
            ValueError: The bucket may not be written to.
            OSError: It cannot be, or another process has begun meanwhile.
        """
        self._begun = True
        if self._mirror is not None and self._chief:
            self._mirror.push()

    def keep(self) -> None:
        """Takes what is new to the bucket, if the home is in one; where that fails, training goes on all the same.

        Raises:
            storage.WriteConflict: Another process has gone on with this run.
        """
        try:
            self.begin()
        except storage.WriteConflict:
            raise
        except (OSError, ValueError) as error:
            print(f"train: what is new is not kept for now: {error}", flush=True)


def _scratch() -> Path:
    """Returns a folder that lasts as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="gan-worker-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def identifying(settings: dict[str, Any], *, steps_are_free: bool) -> dict[str, Any]:
    """Returns those settings, by dotted name, that make a run what it is.

    Args:
        settings: All of them.
        steps_are_free: Whether the number of steps may change: a falling learning rate depends on where it ends.
    """
    free = FREE | ({"training.steps"} if steps_are_free else set())
    return {name: value for name, value in settings.items() if name not in free and not name.startswith(HEALTH)}


def claim(home: Path, present: dict[str, Any]) -> None:
    """Makes a home this run's."""
    storage.write_json(home / SETTINGS, present)


def check_owner(home: Path, present: dict[str, Any]) -> None:
    """Refuses a home that holds another run.

    Args:
        home: Folder of the run.
        present: What identifies this one.

    Raises:
        ValueError: It is another run's; the message names what differs.
    """
    path = home / SETTINGS
    if not path.exists():
        return
    before = storage.read_json(path)
    if before.get("dataset") != present["dataset"]:
        raise ValueError(
            f"the images changed since this run began. Take another run name. Received: home={str(home)!r}"
        )
    for name in sorted(before.keys() | present.keys()):
        if before.get(name) != present.get(name):
            raise ValueError(
                f"{home} holds a run with other settings: {name} was {before.get(name)!r}. Take another run name, or "
                f"remove the folder. Received: {name}={present.get(name)!r}"
            )
