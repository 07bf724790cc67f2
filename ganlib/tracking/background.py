"""Delivery to MLflow in the background of a run, which never waits for the server."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path

from ganlib.tracking.address import DeliveryBlocked, check_address
from ganlib.tracking.delivery import Delivery
from ganlib.tracking.folder import error_summary, has_pending, read, redact

IDLE_SECONDS = 1.0
LINES_PER_SECOND = 1000  # a long history is compared less often, so that this takes at most about 3 % of the run time
RETRY_SECONDS = 15.0
# At the end, the run waits as long as the upload makes progress. A server that accepts connections and never answers
# costs three timeouts: one in the running attempt, and one in each of the last two.
FINAL_SECONDS = 45.0
FINAL_ATTEMPTS = 2


class BackgroundDelivery(threading.Thread):
    """A thread that delivers a folder's lines during the run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="mlflow-delivery", daemon=True)
        self._folder = folder
        self._delivery = Delivery(folder)
        self._new_lines, self._ending = threading.Event(), threading.Event()
        self._failing = False
        self._blocked = ""  # what the user must change before MLflow accepts anything
        self._count = 0

    def wake(self) -> None:
        """Signals that there are new lines."""
        self._new_lines.set()

    def finish(self) -> None:
        """Waits for the remaining lines as long as the upload makes progress, and reports if some are left."""
        self._ending.set()
        self._new_lines.set()
        while self.is_alive():
            before = self._delivery.calls
            self.join(FINAL_SECONDS)
            if self._delivery.calls == before:
                break
        if has_pending(self._folder):
            deliver = f"eliver it with: {sync_command(self._folder)}"
            advice = f"{self._blocked}. Then d{deliver}" if self._blocked else f"D{deliver}"
            print(f"tracking: not everything reached MLflow; it is saved on disk. {advice}", flush=True)

    def run(self) -> None:
        """Delivers whenever there are new lines, and from time to time while the server cannot be reached."""
        while True:
            self._new_lines.wait()
            self._new_lines.clear()
            ending = self._ending.is_set()
            for _ in range(FINAL_ATTEMPTS if ending else 1):
                self._attempt()
                if not self._failing:
                    break
            if ending:
                return
            self._ending.wait(RETRY_SECONDS if self._failing else IDLE_SECONDS + self._count / LINES_PER_SECOND)
            if self._failing:
                self._new_lines.set()

    def _attempt(self) -> None:
        try:
            lines = read(self._folder)
            self._count = len(lines)
            self._delivery.upload(lines)
        except DeliveryBlocked as error:
            if not self._blocked:
                print(f"tracking: {error}. The run continues and saves its lines on disk", flush=True)
            self._failing, self._blocked = True, str(error)
            return
        except Exception as error:  # noqa: BLE001  # no failure of a tracking server may end the run
            if not self._failing:
                cause = error_summary(error)
                print(
                    f"tracking: cannot reach MLflow; the run continues and saves its lines on disk: {cause}", flush=True
                )
            self._failing = True
            return
        if self._failing:
            print("tracking: MLflow can be reached again, all lines so far are delivered", flush=True)
        self._failing, self._blocked = False, ""


def sync_command(folder: Path) -> str:
    """Returns the command to deliver a folder later, with the server's address unless it contains a password."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    try:
        check_address(uri)
    except DeliveryBlocked:
        option = " --uri ADDRESS"
    else:
        option = f" --uri {shlex.quote(uri)}" if uri == redact(uri) else ""
    return f"gan-pipelines sync {shlex.quote(str(folder))}{option}"
