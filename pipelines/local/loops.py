"""Runs the iterations of a loop one after another, in the thread of the caller.

KFP's local runner gives them to a pool of two threads. After Ctrl-C or a failure, the pool would still run all
iterations that wait; and a step in another thread is not told of Ctrl-C.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kfp.local import status
from kfp.local.orchestrator import enhanced_dag_orchestrator as orchestrator

from ganlib.progress import duration

CACHED_SECONDS = 2.0  # an iteration that takes less comes from the cache


@contextmanager
def one_after_another() -> Iterator[None]:
    """Makes KFP run the iterations of a loop in turn, and say how many are left."""
    original = orchestrator.ParallelExecutor.execute_parallel_tasks
    orchestrator.ParallelExecutor.execute_parallel_tasks = _execute
    try:
        yield
    finally:
        orchestrator.ParallelExecutor.execute_parallel_tasks = original


def _execute(
    executor: Any,
    tasks: Sequence[tuple[str, Any]],
    *,
    io_store: Any,
    fail_stack: list[str],
    parallelism_limit: int = 0,
    **context: Any,  # handed on as it is
) -> tuple[dict[str, Any], status.Status]:
    """Runs the iterations, like the method that it replaces."""
    del executor, parallelism_limit
    results: dict[str, Any] = {}
    seconds: list[float] = []
    for number, (name, spec) in enumerate(tasks, start=1):
        began = time.monotonic()
        outputs, ending = orchestrator.execute_task(
            task_name=name, task_spec=spec, io_store=io_store, fail_stack=fail_stack, **context
        )
        if ending == status.Status.FAILURE:
            fail_stack.append(name)
            return {}, ending
        results[name] = outputs
        for key, output in outputs.items():
            io_store.put_task_output(name, key, output)
        took = time.monotonic() - began
        seconds += [took] if took > CACHED_SECONDS else []
        left = sum(seconds) / max(1, len(seconds)) * (len(tasks) - number)
        print(f"{number} of {len(tasks)} done" + (f", about {duration(left)} left" if left else ""), flush=True)
    return results, status.Status.SUCCESS
