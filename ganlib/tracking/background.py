"""Delivery while a run goes on, which no server can hold up."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path

from ganlib.tracking.address import DeliveryBlocked, check_address
from ganlib.tracking.delivery import Delivery
from ganlib.tracking.folder import error_summary, has_pending, read, redact

IDLE_SECONDS = 1.0
LINES_PER_SECOND = 1000  # a long history is compared less often, or it would take more than some 3 % of training's time
RETRY_SECONDS = 15.0
# The end waits as long as lines arrive. A server that accepts and never answers costs three requests that time out:
# that of the attempt under way, and one in each of the last two.
FINAL_SECONDS = 45.0
FINAL_ATTEMPTS = 2


class BackgroundDelivery(threading.Thread):
    """Delivers a folder's lines while the run goes on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="mlflow-delivery", daemon=True)
        self._folder = folder
        self._delivery = Delivery(folder)
        self._news, self._ending = threading.Event(), threading.Event()
        self._away = False
        self._obstacle = ""  # what people must change before MLflow takes anything
        self._count = 0

    def wake(self) -> None:
        """Tells that there are new lines."""
        self._news.set()

    def finish(self) -> None:
        """Waits for the rest to arrive, as long as lines do, and says what is left."""
        self._ending.set()
        self._news.set()
        while self.is_alive():
            before = self._delivery.calls
            self.join(FINAL_SECONDS)
            if self._delivery.calls == before:
                break
        if has_pending(self._folder):
            deliver = f"eliver it with: {deliver_command(self._folder)}"
            what = f"{self._obstacle}. Then d{deliver}" if self._obstacle else f"D{deliver}"
            print(f"tracking: not everything reached MLflow; it is kept on disk. {what}", flush=True)

    def run(self) -> None:
        """Delivers whenever there is news, and now and then while the server is away."""
        while True:
            self._news.wait()
            self._news.clear()
            ending = self._ending.is_set()
            for _ in range(FINAL_ATTEMPTS if ending else 1):
                self._attempt()
                if not self._away:
                    break
            if ending:
                return
            self._ending.wait(RETRY_SECONDS if self._away else IDLE_SECONDS + self._count / LINES_PER_SECOND)
            if self._away:
                self._news.set()

    def _attempt(self) -> None:
        try:
            lines = read(self._folder)
            self._count = len(lines)
            self._delivery.upload(lines)
        except DeliveryBlocked as error:
            if not self._obstacle:
                print(f"tracking: {error}. The run goes on and keeps its lines on disk", flush=True)
            self._away, self._obstacle = True, str(error)
            return
        except Exception as error:  # noqa: BLE001  # whatever a tracking server does, the run must outlive it
            if not self._away:
                cause = error_summary(error)
                print(f"tracking: MLflow is away, the run goes on and keeps its lines on disk: {cause}", flush=True)
            self._away = True
            return
        if self._away:
            print("tracking: MLflow is back, everything so far is delivered", flush=True)
        self._away, self._obstacle = False, ""


def deliver_command(folder: Path) -> str:
    """Returns what to type to deliver a folder later; a server's address is told unless it holds a password."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    try:
        check_address(uri)
    except DeliveryBlocked:
        option = " --uri ADDRESS"
    else:
        option = f" --uri {shlex.quote(uri)}" if uri == redact(uri) else ""
    return f"gan-pipelines deliver {shlex.quote(str(folder))}{option}"
