"""The folder of a run: whose it is, and which settings a later start may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganlib import storage

FREE = {f"training.{name}" for name in ("home", "keep_checkpoints", "max_minutes", "run_name", "target_score")}
HEALTH = "training.health."
SETTINGS = "settings.json"


def claim(home: Path, settings: dict[str, Any], *, steps_are_free: bool) -> None:
    """Refuses a home that holds another run, and makes an empty one this run's.

    Args:
        home: Folder of the run.
        settings: Everything that makes it this run, by dotted name.
        steps_are_free: Whether the number of steps may change: a falling learning rate depends on where it ends.

    Raises:
        ValueError: It is another run's; the message names what differs.
    """
    path = home / SETTINGS
    free = FREE | ({"training.steps"} if steps_are_free else set())
    present = {name: value for name, value in settings.items() if name not in free and not name.startswith(HEALTH)}
    if not path.exists():
        storage.write_json(path, present)
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
