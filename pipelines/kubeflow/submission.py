"""Requests for a KFP server, and following a run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import kfp_server_api as api

from pipelines.kubeflow.server import Server, Unavailable

FINAL_STATES = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
MAX_OUTAGE = 600.0  # seconds that the server may be unavailable while a run is followed
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A pipeline with its arguments.

    Attributes:
        name: Display name of the run.
        pipeline: The `pipeline_spec` of the request; or a registered version, or, without the identifier of a version,
            always the newest.
        arguments: Values of the pipeline's parameters.
        pipeline_root: Location of artifacts; None means the server's default.
        service_account: Kubernetes service account of the pods; None means the server's default.
        plugins: Input of the server's plugins by their names. KFP before 2.17 refuses any.
    """

    name: str
    pipeline: dict[str, Any] | api.V2beta1PipelineVersionReference
    arguments: dict[str, Any]
    pipeline_root: str | None = None
    service_account: str | None = None
    plugins: dict[str, dict[str, Any]] | None = None

    def run(self, experiment: str) -> api.V2beta1Run:
        """Returns the request for a single run."""
        return api.V2beta1Run(**self._body(experiment))

    def recurring_run(self, experiment: str, cron: str) -> api.V2beta1RecurringRun:
        """Returns the request for runs on a cron schedule. Missed runs are not started later."""
        return api.V2beta1RecurringRun(
            **self._body(experiment),
            trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=cron)),
            mode=api.RecurringRunMode.ENABLE,
            max_concurrency="1",
            no_catchup=True,
        )

    def _body(self, experiment: str) -> dict[str, Any]:
        """Returns the fields of both requests."""
        inline = isinstance(self.pipeline, dict)
        return {
            "display_name": self.name,
            "experiment_id": experiment,
            "pipeline_spec" if inline else "pipeline_version_reference": self.pipeline,
            "runtime_config": api.V2beta1RuntimeConfig(parameters=self.arguments, pipeline_root=self.pipeline_root),
            "service_account": self.service_account,
            **({"plugins_input": self.plugins} if self.plugins else {}),
        }


def follow(
    server: Server, identifier: str, *, steps: tuple[str, ...], poll: float, report: Callable[[str, str], None]
) -> api.V2beta1Run:
    """Waits for the end of a run.

    Args:
        server: Server of the run.
        identifier: Identifier of the run.
        steps: Names of the tasks to report.
        poll: Polling interval in seconds.
        report: Called with the name of a step, or `server`, and its state whenever that changes. Tasks with the same
            name, such as those of a loop, are one step with counts of their states, instead of a line for each of a
            thousand parts.

    Returns:
        The run, in one of the states FINAL_STATES.

    Raises:
        Unavailable: The server was unavailable for longer than MAX_OUTAGE.
        Refused: The server refuses the request, for example because the token has expired.
    """
    states: dict[str, dict[str, str]] = {}  # by name of the step and identifier of the task
    reported: dict[str, str] = {}
    while True:
        run = _retry(
            lambda: server.get_run(identifier), on_outage=lambda error: report("server", f"unavailable: {error}")
        )
        for task in (run.run_details.task_details if run.run_details else None) or ():
            if task.display_name in steps and task.state:
                states.setdefault(task.display_name, {})[task.task_id or task.display_name] = task.state.lower()
        for name, by_task in states.items():
            state = _summary(list(by_task.values()))
            if reported.get(name) != state:
                reported[name] = state
                report(name, state)
        if run.state in FINAL_STATES:
            return run
        time.sleep(poll)


def _summary(states: list[str]) -> str:
    """Returns the state of a single task, or counts of the states of several tasks."""
    if len(states) == 1:
        return states[0]
    return ", ".join(f"{count} {state}" for state, count in sorted(Counter(states).items()))


def _retry(request: Callable[[], Any], *, on_outage: Callable[[Unavailable], None]) -> Any:
    pause, deadline = FIRST_PAUSE, time.monotonic() + MAX_OUTAGE
    while True:
        try:
            return request()
        except Unavailable as error:
            if time.monotonic() + pause > deadline:
                raise
            if pause == FIRST_PAUSE:
                on_outage(error)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
