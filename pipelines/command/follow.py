"""The command `follow`: waits for a run on a Kubeflow cluster that was submitted before."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ganlib.environment import end_on_sigterm
from pipelines.command.access import access_options, given_access, make_access
from pipelines.command.stops import FAILURE, Stop, stop_on_errors

if TYPE_CHECKING:
    from pipelines.kubeflow.server import Server


def follow_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for how a run is followed, and how the result is printed."""
    command = click.option(
        "--json", "as_json", is_flag=True, help="Print the result as one JSON object on the last line."
    )(command)
    return click.option(
        "--poll",
        type=click.FloatRange(min=0.1),
        default=15.0,
        show_default=True,
        help="Polling interval in seconds while the command waits.",
    )(command)


@click.command()
@click.argument("run_id")
@access_options
@follow_options
def follow(
    run_id: str,
    poll: float,
    as_json: bool,
) -> None:
    """Waits for the end of a run on a Kubeflow cluster.

    RUN_ID is its identifier there, which `submit` prints. Output and exit code are those of `submit --wait`.
    """
    result: dict[str, Any] = {"run": run_id, "status": "failed", "run_id": run_id}
    try:
        with stop_on_errors():
            from pipelines.kubeflow.server import Server

            server = Server(make_access(given_access()))
            name, steps = _describe(server, run_id)
            result.update(run=name, url=server.page_url(run_id))
            click.echo(f"{name}: followed")
            click.echo(f"  KFP     {result['url']}")
            wait(server, run_id, steps, poll, result)
    except Stop as stop:
        if as_json:
            click.echo(json.dumps({**result, "error": str(stop)}))
        raise
    if as_json:
        click.echo(json.dumps(result))


def _describe(server: Server, run_id: str) -> tuple[str, tuple[str, ...]]:
    """Returns the name of a run and the names of its steps, from its pipeline on the server."""
    from pipelines.kubeflow.failures import clean
    from pipelines.kubeflow.package import Package
    from pipelines.kubeflow.registry import read_version

    run = server.get_run(run_id)
    reference = run.pipeline_version_reference
    package = read_version(server, reference) if reference else Package.from_body(run.pipeline_spec)
    return clean(run.display_name or run_id), package.steps


def follow_command(run_id: str) -> str:
    """Returns the command that follows a run, with the options for access that were typed. It contains no secret."""
    context, given, words = click.get_current_context(), given_access(), ["gan-pipelines", "follow", run_id]
    for name in ("host", "namespace", "token_file", "token_command", "ca"):  # token and cookies are secret
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = str(given[name])
            program, _, arguments = value.partition(" ")
            if name == "token_command" and arguments:
                value = f"{program} ..."  # arguments may be secret
            words += [f"--{name.replace('_', '-')}", value]
    return shlex.join(words)


def wait(server: Server, run_id: str, steps: tuple[str, ...], poll: float, result: dict[str, Any]) -> None:
    """Waits for the end of a run, prints the states of its steps, and why it failed.

    Raises:
        Stop: The run did not succeed, or cannot be followed any more.
    """
    from pipelines.kubeflow import submission

    def report(step: str, state: str) -> None:
        click.echo(f"  {time.strftime('%H:%M:%S')}  {step:<20} {state}")

    again = f"\nfollow it with: {follow_command(run_id)}"
    try:
        with end_on_sigterm():
            run = submission.follow(server, run_id, steps=steps, poll=poll, report=report)
    except KeyboardInterrupt as error:
        raise Stop(f"interrupted; the run continues: {result['url']}{again}", FAILURE) from error
    except (ValueError, OSError) as error:
        raise Stop(f"{error}\nthe run may continue: {result['url']}{again}", FAILURE) from error
    result["status"] = run.state.lower()
    if run.state != "SUCCEEDED":
        raise Stop("\n".join([*_reasons(server, run), f"run {result['status']}: {result['url']}"]), FAILURE)
    click.echo(f"{result['run']}: {result['status']}")


def _reasons(server: Server, run: Any) -> list[str]:
    from pipelines.kubeflow.failures import explain

    try:
        return explain(server, run)
    except (ValueError, OSError) as error:
        return [f"the reason cannot be read: {error}"]
