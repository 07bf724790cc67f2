"""What a worker of a job runs: `python -m ganlib.workers.worker PLACE`.

PLACE holds the dataset, the reference and the settings; the chief writes the trained model there. A TFJob sets
TF_CONFIG. The pods of a TrainJob know their number and the addresses of all, from which it follows.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ganlib import steps, storage
from ganlib.workers import api
from ganlib.workers.api import ApiServer, Object
from ganlib.workers.jobs import ADDRESSES, FOLLOWER, JOB_PATH
from ganlib.workers.settings import DATASET, REFERENCE, SECTIONS, TRAINED

TERMINATION_LOG = Path("/dev/termination-log")  # Kubernetes puts what is written there into the status of the pod
MAX_MESSAGE = 600  # characters, of which Kubernetes takes 4096 bytes with all that JSON escapes
WATCH_SECONDS = 60.0
GRACE_SECONDS = 600.0  # in which a retried step may take over


def main() -> None:
    """Trains as one of several workers. Its error is reported as that of a step is, and in the status of the pod."""
    place = sys.argv[1]
    _join()
    threading.Thread(target=_delete_when_abandoned, name="abandoned", daemon=True).start()
    with _report_to_kubernetes(), steps.step("train_gan"):
        _train(place)


def _join() -> None:
    """Sets TF_CONFIG in a pod of a TrainJob."""
    addresses = os.environ.get(ADDRESSES)
    if addresses:
        task = {"type": "worker", "index": int(os.environ["JOB_COMPLETION_INDEX"])}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": json.loads(addresses)}, "task": task})


def _train(place: str) -> None:
    from ganlib.models import AnyArchitecture
    from ganlib.objectives import AnyObjective
    from ganlib.schema import parse
    from ganlib.tasks import AnyTask
    from ganlib.training import TrainConfig, train_at

    sections = storage.read_json(storage.fetch(f"{place}/{SECTIONS}"))
    train_at(
        f"{place}/{DATASET}",
        f"{place}/{REFERENCE}",
        f"{place}/{TRAINED}",
        task=parse(AnyTask, sections["task"]),
        architecture=parse(AnyArchitecture, sections["model"]),
        objective=parse(AnyObjective, sections["objective"]),
        config=TrainConfig.model_validate(sections["training"]),
    )


@contextlib.contextmanager
def _report_to_kubernetes() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "failure.json"
        os.environ[steps.FAILURE_FILE] = str(report)
        try:
            yield
        finally:
            if report.exists() and TERMINATION_LOG.exists():
                failure = storage.read_json(report)
                text = json.dumps({**failure, "message": failure["message"][:MAX_MESSAGE]})
                TERMINATION_LOG.write_text(text, encoding="utf-8")


def _delete_when_abandoned() -> None:
    """Deletes the job of this worker some minutes after the step that followed it has ended.

    A canceled run ends its pods without a signal to the step, and their objects stay, and with them the job.
    """
    path = os.environ.get(JOB_PATH)
    if path is None or not (api.ACCOUNT / "token").exists():
        return
    server = ApiServer()
    alone = 0.0
    while True:
        time.sleep(WATCH_SECONDS)
        try:
            job = server.get(path)
            alone = 0.0 if _is_followed(server, job) else alone + WATCH_SECONDS
            # A retried step may take over at this moment, which changes the job.
            if alone >= GRACE_SECONDS and server.delete(path, seen=job):
                break
        except (OSError, ValueError) as error:
            print(f"worker: cannot see whether the step still follows: {error}", flush=True)
    print("worker: the step that followed this job has ended; the job is deleted", flush=True)


def _is_followed(server: ApiServer, job: Object | None) -> bool:
    if job is None or "deletionTimestamp" in job["metadata"]:
        return True  # Kubernetes ends this worker
    pod: Object | None = server.get(server.path("api/v1", "pods", job["metadata"]["annotations"][FOLLOWER]))
    return pod is not None and pod["status"]["phase"] not in ("Succeeded", "Failed")


if __name__ == "__main__":
    main()
