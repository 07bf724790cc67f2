"""Uploads a folder's lines to MLflow, except those that the server already has."""

from __future__ import annotations

import re
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage
from ganlib.tracking.address import DeliveryBlocked
from ganlib.tracking.client import connect
from ganlib.tracking.folder import (
    IDENTITY,
    JOURNAL,
    Line,
    digest_lines,
    error_summary,
    line_key,
    read,
    server_key,
)
from ganlib.tracking.models import log_model
from ganlib.tracking.runs import check_run, find_or_create_run, remove_event_tags

with epy.lazy_imports():
    import mlflow
    from mlflow import entities

if TYPE_CHECKING:
    from mlflow import MlflowClient

FAILURE_TAG = "failure"
NON_METRICS = ("step", "time", "event", "reaction", "text")  # the other keys in a line of the history
POINTS_PER_CALL = 1000
PARAMS_PER_CALL = 100
THUMBNAIL = (256, 256)
LOCK_SECONDS = 15.0
REFUSED = "INVALID_PARAMETER_VALUE"  # MLflow's error for lines of a deleted run
# The file names that MLflow's user interface expects for an image; the thumbnail is uploaded second.
PICTURE = re.compile(r"images/((?P<key>.+)\+step\+(?P<step>\d+)\+timestamp\+.+?)(?P<thumbnail>\+compressed)?\.\w+")


def deliver(folder: Path) -> int:
    """Uploads all lines of a tracked folder that MLflow does not have yet.

    Returns:
        The number of lines in the folder.

    Raises:
        DeliveryBlocked: The run was deleted in MLflow, or the server's address is invalid.
        RuntimeError: The server cannot be reached, or refuses a line.
    """
    lines = read(folder)
    try:
        Delivery(folder).upload(lines)
    except DeliveryBlocked:
        raise
    except Exception as error:  # noqa: BLE001  # the text of any error may contain a password
        raise RuntimeError(error_summary(error)) from None
    return len(lines)


class Delivery:
    """Remembers which lines of a folder the server has, and uploads the rest."""

    def __init__(self, folder: Path) -> None:
        self.calls = 0  # number of requests that the server has answered
        self._folder = folder
        self._attached: MlflowClient | None = None
        self._run: Any = None  # mlflow.entities.Run, once attached
        self._points: dict[tuple[str, int], float] = {}
        self._pictures: dict[tuple[str, int], str] = {}
        self._done: set[str] = set()
        self._belongs = False

    @property
    def _client(self) -> MlflowClient:
        if self._attached is None:
            self._attached = self._attach()
        return self._attached

    @property
    def _run_id(self) -> str:
        return str(self._run.info.run_id)

    def upload(self, lines: list[Line]) -> None:
        """Logs the lines that the server does not have, in order."""
        # The thread of a run and `gan-pipelines sync` may upload at the same time.
        with storage.lock_folder(self._folder / ".delivery", timeout=LOCK_SECONDS):
            try:
                self._upload_metrics([line for line in lines if "do" not in line])
                for line in lines:
                    if "do" in line and line_key(line) not in self._done:
                        self._upload_line(line)
                        self._done.add(line_key(line))
                        self.calls += 1
            except Exception as error:
                client, self._attached = self._attached, None  # the next attempt asks again what the server has
                if client is not None and getattr(error, "error_code", "") == REFUSED:
                    check_run(client, client.get_run(self._run_id))  # perhaps it was deleted meanwhile
                raise
            before = storage.read_json(self._folder / IDENTITY)
            identity = {**before, "delivered": digest_lines(lines), "server": server_key(), "run_id": self._run_id}
            if identity != before:
                storage.write_json(self._folder / IDENTITY, identity)

    def _attach(self) -> MlflowClient:
        client = connect()
        identity = storage.read_json(self._folder / IDENTITY)
        self._belongs = bool(identity.get("belongs"))
        self._run = run = find_or_create_run(client, identity)
        self._points = {
            (name, point.step): point.value
            for name in run.data.metrics
            for point in client.get_metric_history(self._run_id, name)
        }
        matches = [PICTURE.fullmatch(item.path) for item in client.list_artifacts(self._run_id, "images")]
        named = {(match["key"], int(match["step"])): match for match in matches if match}
        self._pictures = {name: match[1] for name, match in named.items()}
        complete = {(match["key"], int(match["step"])) for match in matches if match and match["thumbnail"]}
        journal = storage.read_lines(self._folder / JOURNAL)
        if not self._belongs:
            remove_event_tags(client, run, journal)
        self._done = {line_key(line) for line in journal if line["do"] == "image" and _picture(line) in complete}
        self.calls += 1
        return client

    def _upload_metrics(self, rows: list[Line]) -> None:
        client = self._client
        points = [
            entities.Metric(name, float(value), int(row["time"] * 1000), row["step"])
            for row in rows
            for name, value in row.items()
            if name not in NON_METRICS and self._is_new(name, row["step"], float(value))
        ]
        for start in range(0, len(points), POINTS_PER_CALL):
            chunk = points[start : start + POINTS_PER_CALL]
            client.log_batch(self._run_id, metrics=chunk, synchronous=True)
            self._points.update({(point.key, point.step): point.value for point in chunk})
            self.calls += 1

    def _is_new(self, name: str, step: int, value: float) -> bool:
        """Returns whether the server does not have a point.

        A training step that is repeated after a resume is the same point, although its speed may differ. In a folder
        that belongs to the run of another, a point with another value is new: the model was evaluated in another way.
        """
        known = self._points.get((name, step))
        return known is None or (self._belongs and known != value)

    def _upload_line(self, line: Line) -> None:
        if "file" in line and not (self._folder / line["file"]).exists():
            print(f"tracking: {self._folder / line['file']} no longer exists and cannot be delivered", flush=True)
            return
        match line["do"]:
            case "params":
                self._log_params({name: value[:6000] for name, value in line["values"].items()})
            case "tags":
                self._log_tags(line["values"])
            case "image":
                self._log_image(line)
            case "artifact":
                self._client.log_artifact(self._run_id, str(self._folder / line["file"]), line["place"] or None)
            case "dataset":
                self._log_dataset(line)
            case "model":
                self._log_model(line)
            case "status":
                self._log_status(line)

    def _log_params(self, values: dict[str, str]) -> None:
        """Logs settings. MLflow does not allow changes, so a setting that a resumed run changed is logged as a tag."""
        known = self._client.get_run(self._run_id).data.params
        params = [entities.Param(name, value) for name, value in values.items() if name not in known]
        for start in range(0, len(params), PARAMS_PER_CALL):
            self._client.log_batch(self._run_id, params=params[start : start + PARAMS_PER_CALL], synchronous=True)
        self._log_tags({f"changed.{name}": value for name, value in values.items() if known.get(name, value) != value})

    def _log_tags(self, values: dict[str, str]) -> None:
        tags = [entities.RunTag(name, value) for name, value in values.items()]
        self._client.log_batch(self._run_id, tags=tags, synchronous=True)

    def _log_image(self, line: Line) -> None:
        """Logs a picture like `log_image`, but always under the same name, so that repeating it adds no duplicate."""
        from PIL import Image

        key, step = _picture(line)
        path = self._folder / line["file"]
        new_name = (
            f"{key}+step+{step}+timestamp+{int(path.stat().st_mtime * 1000)}+{uuid.uuid5(uuid.NAMESPACE_OID, key)}"
        )
        name = self._pictures.setdefault((key, step), new_name)
        with tempfile.TemporaryDirectory() as place, Image.open(path) as file:
            picture = file.convert("RGB")
            picture.save(Path(place, f"{name}.png"))
            picture.thumbnail(THUMBNAIL)
            picture.save(Path(place, f"{name}+compressed.webp"))
            for part in (f"{name}.png", f"{name}+compressed.webp"):
                self._client.log_artifact(self._run_id, str(Path(place, part)), "images")
        self._log_tags({"mlflow.loggedImages": "True"})

    def _log_dataset(self, line: Line) -> None:
        profile = storage.canonical_json(line["profile"])
        source = storage.canonical_json({"uri": line["source"]})
        dataset = entities.Dataset(line["name"], line["digest"], "local", source, profile=profile)
        tags = [entities.InputTag("mlflow.data.context", "training")]
        inputs = [entities.DatasetInput(dataset, tags)]
        try:
            self._client.log_inputs(self._run_id, inputs)
        except mlflow.MlflowException as error:
            # MLflow reports a violated constraint like this. Another run may have inserted the same data set between
            # its query and its insertion, and a second call then finds it.
            if error.error_code != "BAD_REQUEST":
                raise
            self._client.log_inputs(self._run_id, inputs)

    def _log_model(self, line: Line) -> None:
        folder, known = (
            self._folder / line["file"],
            {name: line[name] for name in ("digest", "step", "params", "scores")},
        )
        log_model(self._client, self._run, folder, **known)

    def _log_status(self, line: Line) -> None:
        client = self._client
        if line["reason"]:
            self._log_tags({FAILURE_TAG: line["reason"]})
        elif FAILURE_TAG in client.get_run(self._run_id).data.tags:
            client.delete_tag(self._run_id, FAILURE_TAG)
        if line["status"] == "RUNNING":
            client.update_run(self._run_id, status="RUNNING")
        else:
            client.set_terminated(self._run_id, line["status"], end_time=int(line["time"] * 1000))


def _picture(line: Line) -> tuple[str, int]:
    """Returns the key and step of a picture in the form used in its file names."""
    return line["key"].replace("/", "~"), line["step"]
