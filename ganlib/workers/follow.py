"""Follows a job to its end, and prints what happens: one line for each change, and the lines of the chief."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ganlib.steps import FAILURE, MISTAKE
from ganlib.training.strategy import LOST
from ganlib.workers.api import ApiServer
from ganlib.workers.jobs import Api, condition
from ganlib.workers.pods import PENDING, Ending, Pod, pods_of, warning_about

POLL_SECONDS = 5.0
FIRST_LINES = "1000"  # of a log that began long before


class NeverStarted(RuntimeError):  # noqa: N818  # the name says what happened
    """The workers did not start in time."""


@dataclass
class Log:
    """The lines of a pod's log that were not printed yet."""

    pod: str = ""
    since: str = ""  # second of the last line
    seen: set[str] = field(default_factory=set)  # the lines of that second

    def print_new(self, server: ApiServer, pod: Pod) -> None:
        """Prints the new lines of a worker."""
        if pod.name != self.pod:
            self.pod, self.since, self.seen = pod.name, "", set()
        if pod.phase == PENDING:
            return
        part = {"sinceTime": self.since} if self.since else {"tailLines": FIRST_LINES}
        lines = server.log(pod.name, timestamps="true", **part)
        for line in lines:
            if line not in self.seen:
                print(f"worker {pod.index}: {line.partition(' ')[2]}", flush=True)
        if lines:
            second = lines[-1][:19]  # 2026-01-31T12:00:00, which the fraction follows
            if len(second) == 19 and second[10] == "T":
                self.since = f"{second}Z"
                self.seen = {line for line in lines if line.startswith(second)}


class Follower:
    """Follows one job.

    Args:
        server: Where the job is.
        api: Its kind.
        name: Its name.
        count: Number of its workers.
        start_minutes: Minutes in which all workers must have started.
    """

    def __init__(self, server: ApiServer, api: Api, name: str, *, count: int, start_minutes: float) -> None:
        self._server, self._api, self._name, self._count = server, api, name, count
        self._seconds_left = start_minutes * 60
        self._started = False
        self._state = ""
        self._log = Log()
        self._endings: dict[int, Ending] = {}

    def run(self) -> Ending | None:
        """Returns how the job failed, or None if it succeeded.

        Raises:
            NeverStarted: Not all workers started in time.
            RuntimeError: Someone deleted the job.
        """
        while True:
            before = time.monotonic()
            job = self._server.get(self._api.path(self._server, self._name))
            if job is None or "deletionTimestamp" in job["metadata"]:
                raise RuntimeError(f"the {self._api.kind} {self._name} was deleted; a retried step starts another")
            pods = self._look_at_pods()
            if condition(job, self._api.succeeded):
                self._tell("succeeded")
                return None
            failed = condition(job, "Failed")
            if failed is not None or any(ending.code == MISTAKE for ending in self._endings.values()):
                self._tell("failed")
                time.sleep(POLL_SECONDS)  # a worker's last words may come later than the job's condition
                self._look_at_pods()
                return self._ending(failed or {})
            suspended = condition(job, "Suspended")
            started = len({pod.index for pod in pods if pod.phase != PENDING})
            self._tell("is suspended, perhaps in a queue" if suspended else self._describe(started, pods))
            self._started = self._started or started >= self._count
            time.sleep(POLL_SECONDS)
            if not self._started and not suspended:
                self._seconds_left -= time.monotonic() - before
                if self._seconds_left <= 0:
                    raise NeverStarted(self._why(pods))

    def _look_at_pods(self) -> list[Pod]:
        pods = pods_of(self._server, self._name)
        self._endings |= {pod.index: pod.ending for pod in pods if pod.ending is not None}
        chiefs = [pod for pod in pods if pod.index == 0]
        if chiefs:
            self._log.print_new(self._server, chiefs[-1])
        return pods

    def _describe(self, started: int, pods: list[Pod]) -> str:
        waits = next((pod.waits for pod in pods if pod.waits), "")
        return f"{started} of {self._count} workers have started{f' ({waits})' if waits else ''}"

    def _tell(self, state: str) -> None:
        if state != self._state:
            print(f"workers: {self._api.kind} {self._name}: {state}", flush=True)
        self._state = state

    def _why(self, pods: list[Pod]) -> str:
        waits = next((pod.waits for pod in pods if pod.waits), "") or warning_about(self._server, self._name)
        return waits or ("its pods give no reason" if pods else f"it has no pods; does {self._api.needs} run?")

    def _ending(self, failed: dict[str, str]) -> Ending:
        """Returns the ending that says most: a mistake, an own failure of a worker, or the job's condition."""
        endings = [self._endings[index] for index in sorted(self._endings)]
        # Those that are left when a worker is lost have nothing to tell.
        endings.sort(key=lambda ending: (ending.code != MISTAKE, ending.message.startswith(LOST)))
        if endings:
            return endings[0]
        text = ": ".join(filter(None, [failed.get("reason"), failed.get("message")]))
        return Ending(0, FAILURE, text or "the job failed without a reason")
