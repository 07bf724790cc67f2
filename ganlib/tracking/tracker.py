"""The class that records a run in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ganlib import storage
from ganlib.credentials import hide_secrets
from ganlib.tracking.background import BackgroundDelivery
from ganlib.tracking.folder import (
    EVENT_TAG,
    HISTORY,
    IDENTITY,
    JOURNAL,
    Line,
    RunGroup,
    line_key,
    new_identity,
    redact,
)


class Tracker:
    """Records a run in a folder, and delivers it to MLflow in the background.

    MLflow is used if `MLFLOW_TRACKING_URI` is set. The run of a new folder is `MLFLOW_RUN_ID`, which KFP's own plugin
    sets. Otherwise a run is created in the experiment `MLFLOW_EXPERIMENT_NAME`. A folder never changes its run.

    Args:
        folder: Folder of the lines. Existing lines stay, and are delivered if they were not.
        run_name: Name of the MLflow run, if it must be created.
        belongs_to: A tracked folder whose MLflow run also receives this folder's lines.
        group: The MLflow run that this one is nested in, if any.
        leads: Whether this is the run of the group itself.
        deliver: Whether to upload the lines to MLflow; of several workers, only one does.
    """

    def __init__(
        self,
        folder: Path,
        *,
        run_name: str = "gan",
        belongs_to: Path | None = None,
        group: RunGroup | None = None,
        leads: bool = False,
        deliver: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        if not (folder / IDENTITY).exists():
            if belongs_to is not None:
                identity = storage.read_json(belongs_to / IDENTITY)
            else:
                identity = new_identity(run_name, group=group, leads=leads)
            own = {"began": time.time(), "delivered": "", "belongs": belongs_to is not None}
            storage.write_json(folder / IDENTITY, {**identity, **own})
        self._written = {line_key(line) for line in storage.read_lines(folder / JOURNAL)}
        self._background: BackgroundDelivery | None = None
        self._deliver = deliver

    def __enter__(self) -> Self:
        """Starts the background delivery, if a server is set."""
        if self._deliver and os.environ.get("MLFLOW_TRACKING_URI"):
            self._background = BackgroundDelivery(self.folder)
            self._background.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Records a failure of the run and delivers the remaining lines."""
        try:
            if error is not None:
                self.status("FAILED", reason=redact(hide_secrets(f"{type(error).__name__}: {error}"))[:500])
        finally:
            if self._background is not None:
                self._background.finish()

    def rewind(self, step: int) -> None:
        """Removes all lines after a step, and the final status, because the run resumes from that step."""
        history, journal = (storage.read_lines(self.folder / name) for name in (HISTORY, JOURNAL))
        remaining = [line for line in journal if line.get("step", 0) <= step and line["do"] != "status"]
        storage.write_lines(self.folder / HISTORY, [row for row in history if row["step"] <= step])
        storage.write_lines(self.folder / JOURNAL, remaining)
        self._written = {line_key(line) for line in remaining}
        if any(line["do"] == "status" for line in journal):
            self.status("RUNNING")

    def params(self, values: Mapping[str, Any]) -> None:
        """Records settings by dotted name, with their values as text."""
        self._write({"do": "params", "values": {name: str(value) for name, value in values.items()}})

    def tags(self, values: Mapping[str, str]) -> None:
        """Records tags."""
        self._write({"do": "tags", "values": dict(values)})

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Records one row of the history."""
        storage.append_line(self.folder / HISTORY, {"step": step, "time": round(time.time(), 3), **values})
        self._wake()

    def event(self, step: int, *, problem: str, reaction: str, text: str) -> None:
        """Records an event as a line of the history, and as a tag, which the next event of its kind replaces."""
        event = {"event": problem, "reaction": reaction, "text": text}
        storage.append_line(self.folder / HISTORY, {"step": step, "time": round(time.time(), 3), **event})
        self._write(
            {"do": "tags", "values": {f"{EVENT_TAG}{problem}": f"step {step}, {reaction}: {text}"}, "step": step}
        )

    def image(self, file: Path, *, key: str, step: int) -> None:
        """Records a picture in the folder under a key and a step."""
        self._write({"do": "image", "file": str(file.relative_to(self.folder)), "key": key, "step": step})

    def artifact(self, file: Path, *, place: str = "") -> None:
        """Records a file in the folder as an artifact of the run, in the artifact folder `place`."""
        self._write({"do": "artifact", "file": str(file.relative_to(self.folder)), "place": place})

    def dataset(self, *, name: str, digest: str, source: str, profile: Mapping[str, Any]) -> None:
        """Records the data that the run was trained on."""
        self._write({"do": "dataset", "name": name, "digest": digest[:32], "source": source, "profile": dict(profile)})

    def model(self, *, digest: str, step: int, params: Mapping[str, str], scores: Sequence[str] = ()) -> None:
        """Records the whole folder as the run's model.

        Args:
            digest: Identifies the model.
            step: Step of the training that it is from.
            params: Settings of the model, which MLflow's page shows.
            scores: Names of the run's metrics at this step that are scores of the model.
        """
        line = {"digest": digest, "step": step, "params": dict(params), "scores": list(scores)}
        self._write({"do": "model", "file": ".", **line})

    def status(self, status: str, *, reason: str = "") -> None:
        """Records the final status of the run, `FINISHED`, `FAILED` or `KILLED`, or that it runs again, `RUNNING`."""
        self._write({"do": "status", "status": status, "reason": reason, "time": time.time()})

    def _write(self, line: Line) -> None:
        if line_key(line) not in self._written:
            self._written.add(line_key(line))
            storage.append_line(self.folder / JOURNAL, line)
        self._wake()

    def _wake(self) -> None:
        if self._background is not None:
            self._background.wake()
