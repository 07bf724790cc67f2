"""What is handed to a KFP server, and how the run is followed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import kfp_server_api as api

from pipelines.kubeflow.server import Server, Unavailable

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
PATIENCE = 600.0  # seconds in which a server that is away while a run is followed must be back
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """What shall be run.

    Attributes:
        name: Name of the run, which people read.
        pipeline: Body of the request's `pipeline_spec`.
        arguments: The pipeline's parameters.
        pipeline_root: Where KFP keeps artifacts; None means the server's own choice.
        service_account: Kubernetes service account of the pods; None means the server's own choice.
    """

    name: str
    pipeline: dict[str, Any]
    arguments: dict[str, Any]
    pipeline_root: str | None = None
    service_account: str | None = None

    def run(self, experiment: str) -> api.V2beta1Run:
        """Returns the request for one run."""
        return api.V2beta1Run(**self._body(experiment))

    def recurring_run(self, experiment: str, cron: str) -> api.V2beta1RecurringRun:
        """Returns the request for runs at the times of a cron line; one that was missed is not made up for."""
        return api.V2beta1RecurringRun(
            **self._body(experiment),
            trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=cron)),
            mode=api.RecurringRunMode.ENABLE,
            max_concurrency="1",
            no_catchup=True,
        )

    def _body(self, experiment: str) -> dict[str, Any]:
        """What both requests say."""
        return {
            "display_name": self.name,
            "experiment_id": experiment,
            "pipeline_spec": self.pipeline,
            "runtime_config": api.V2beta1RuntimeConfig(parameters=self.arguments, pipeline_root=self.pipeline_root),
            "service_account": self.service_account,
        }


def follow(
    server: Server, identifier: str, *, steps: tuple[str, ...], poll: float, tell: Callable[[str, str], None]
) -> api.V2beta1Run:
    """Waits for the end of a run.

    Args:
        server: Where it runs.
        identifier: Of the run.
        steps: Names of the tasks whose states are told.
        poll: Seconds between two looks.
        tell: Called with a step, or `server`, and its state whenever that changes. Several tasks of one name, such as
            those of a loop, are one step, whose states are counted: a line for each of a thousand parts would bury the
            rest.

    Returns:
        The run in one of the states ENDED.

    Raises:
        Unavailable: The server was away for longer than PATIENCE.
        Refused: It does not answer this user any more, such as when a token has expired.
    """
    known: dict[str, dict[str, str]] = {}  # by the step's name, and the task's identifier
    told: dict[str, str] = {}
    while True:
        run = _patiently(lambda: server.run(identifier), away=lambda error: tell("server", f"away: {error}"))
        for task in (run.run_details.task_details if run.run_details else None) or ():
            if task.display_name in steps and task.state:
                known.setdefault(task.display_name, {})[task.task_id or task.display_name] = task.state.lower()
        for name, states in known.items():
            words = _counted(list(states.values()))
            if told.get(name) != words:
                told[name] = words
                tell(name, words)
        if run.state in ENDED:
            return run
        time.sleep(poll)


def reasons(run: api.V2beta1Run) -> list[str]:
    """Returns what the server says about the failure of a run, the run's own error last."""
    tasks = (run.run_details.task_details if run.run_details else None) or ()
    told = [f"{task.display_name}: {task.error.message}" for task in tasks if task.error and task.error.message]
    told += [run.error.message] if run.error and run.error.message else []
    return [" ".join(reason.split()) for reason in told]  # a line each


def _counted(states: list[str]) -> str:
    """Returns the state of one task, or how many of several are in each."""
    if len(states) == 1:
        return states[0]
    return ", ".join(f"{count} {state}" for state, count in sorted(Counter(states).items()))


def _patiently(question: Callable[[], Any], *, away: Callable[[Unavailable], None]) -> Any:
    pause, deadline = FIRST_PAUSE, time.monotonic() + PATIENCE
    while True:
        try:
            return question()
        except Unavailable as error:
            if time.monotonic() + pause > deadline:
                raise
            if pause == FIRST_PAUSE:
                away(error)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
