"""The command `submit`: runs the pipeline on a Kubeflow cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.command.access import (
    FILE,
    VARIABLES,
    access_options,
    add_options,
    check_access,
    given_access,
    make_access,
)
from pipelines.command.follow import follow_command, follow_options, wait
from pipelines.command.options import config_options, resolve_config
from pipelines.command.order import Order
from pipelines.command.selection import VERTEX, select
from pipelines.command.stops import MISTAKE, Stop, stop_on_errors

if TYPE_CHECKING:
    from pipelines.kubeflow.access import Access
    from pipelines.kubeflow.package import Package
    from pipelines.kubeflow.server import Server

PIPELINE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for where a run stands on the server."""
    return add_options(
        command,
        (
            ("--service-account", str, None, "Kubernetes service account of the pods."),
            ("--experiment", str, "gan-pipelines", "Experiment in KFP; created if it does not exist."),
            ("--pipeline-root", str, None, "Location of artifacts, such as gs://bucket/prefix or s3://bucket/prefix."),
        ),
    )


@click.command()
@config_options
@click.option("--image", envvar="GAN_PIPELINES_IMAGE", show_envvar=True, help="Container image, best with its digest.")
@click.option("--pipeline", "compiled", type=FILE, help="Compiled pipeline to run; --set changes its defaults.")
@click.option(
    "--argument",
    "pairs",
    multiple=True,
    metavar="NAME=JSON",
    help='A whole parameter of the pipeline, such as training={"steps": 5}. Can be repeated. An argument `training` '
    "without home keeps the home of the compiled file.",
)
@access_options
@_run_options
@click.option("--name", envvar=f"{VARIABLES}RUN_NAME", show_envvar=True, help="Name of the run.")
@click.option(
    "--cache/--no-cache",
    default=None,
    envvar=f"{VARIABLES}CACHE",
    help="Whether steps may use cached results. Default: as compiled.",
)
@click.option("--cron", metavar="LINE", help="Run on a schedule: minute, hour, day, month, day of the week.")
@click.option(
    "--register",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    help="Run a version of the pipeline NAME in KFP; both are created if they do not exist. Default name: the "
    "pipeline's own.",
)
@click.option("--latest", is_flag=True, help="With --cron and --register: each run uses the newest version then.")
@click.option("--wait", "waits", is_flag=True, help="Wait for the end of the run; the exit code reflects the result.")
@click.option("--check", is_flag=True, help="Check access and versions, and submit nothing.")
@click.option("--dry-run", is_flag=True, help="Print the request without sending it.")
@follow_options
def submit(
    chosen: tuple[str, ...],
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    image: str | None,
    compiled: Path | None,
    pairs: tuple[str, ...],
    service_account: str | None,
    experiment: str,
    pipeline_root: str | None,
    name: str | None,
    cache: bool | None,
    cron: str | None,
    register: str | None,
    latest: bool,
    waits: bool,
    poll: float,
    check: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Runs the pipeline on a Kubeflow cluster, once or on a schedule.

    All arguments are checked before the request is sent.
    """
    result: dict[str, Any] = {"run": name, "status": "failed"}
    try:
        with stop_on_errors():
            _check_options(cron, register, latest=latest, waits=waits, check=check, dry_run=dry_run)
            if check:
                backend = _backend(chosen, files, assignments, compiled)
                access = make_access(given_access())
                check_access(access, experiment, backend, result)
            else:
                package, arguments, name = select(chosen, files, assignments, image, compiled, pairs, name)
                result["run"] = name
                access = make_access(given_access())
                cache, note = (cache, None) if cron is None else _cache_of_schedule(package, cache, latest=latest)
                order = Order(
                    name=name,
                    package=package if cache is None else package.with_cache(cache),
                    arguments=arguments,
                    experiment=experiment,
                    pipeline_root=pipeline_root,
                    service_account=service_account,
                    cron=cron,
                    register=package.name if register == "" else register,
                    latest=latest,
                )
                _send(order, access, result, poll=poll if waits else None, dry_run=dry_run)
                if note:
                    click.echo(f"note: {note}", err=True)
    except Stop as stop:
        if as_json:
            click.echo(json.dumps({**result, "error": str(stop)}))
        raise
    if dry_run and not as_json:
        click.echo(_dry_run_text(result))
    if as_json:
        click.echo(json.dumps(result))


def _cache_of_schedule(package: Package, cache: bool | None, *, latest: bool) -> tuple[bool | None, str | None]:
    """Returns whether runs of a schedule use the cache, and a note if the user did not choose."""
    if cache is not None:
        return cache, None
    if package.notices_changes:
        return (
            None,
            "while images and settings stay the same, runs repeat the results in KFP's cache; --no-cache trains",
        )
    # Nothing in the keys of the cache changes, so all runs but the first would repeat its results.
    later = "; register later versions with --no-cache, too" if latest else ""
    return False, f"without KFP's cache, so that each run sees new images; --cache uses it{later}"


def _check_options(
    cron: str | None, register: str | None, *, latest: bool, waits: bool, check: bool, dry_run: bool
) -> None:
    """Refuses options that do not belong together.

    Raises:
        Stop: Options exclude each other, or the name is not valid.
    """
    if cron and waits:
        raise Stop("--wait needs a single run. Received: --cron with --wait", MISTAKE)
    if latest and (cron is None or register is None):
        raise Stop("--latest needs --cron and --register. Received: --latest without one of them", MISTAKE)
    if check and (waits or dry_run):
        other = "--wait" if waits else "--dry-run"
        raise Stop(f"--check submits nothing. Received: --check with {other}", MISTAKE)
    if register and not PIPELINE_NAME.fullmatch(register):
        raise Stop(
            f"expected a name of at most 63 lowercase letters, digits and -. Received: --register {register!r}",
            MISTAKE,
        )


def _backend(
    chosen: tuple[str, ...], files: tuple[Path, ...], assignments: tuple[str, ...], compiled: Path | None
) -> str | None:
    """Returns the version of KFP in the config; None for a compiled file, which does not tell."""
    if compiled is not None:
        return None
    platform = resolve_config(chosen, files, assignments).platform
    if platform.kind == "vertex":
        raise Stop(VERTEX, MISTAKE)
    return str(platform.backend)


def _send(order: Order, access: Access, result: dict[str, Any], *, poll: float | None, dry_run: bool) -> None:
    """Sends the request, prints where to find the run, and waits for it if `poll` is set."""
    from pipelines.kubeflow.cron import to_kfp_cron
    from pipelines.kubeflow.server import Server

    schedule = None if order.cron is None else to_kfp_cron(order.cron)
    server = Server(access)
    if dry_run:
        submission = order.submission(_registered(None, order, result))
        body = server.to_json(submission.recurring_run("...", schedule) if schedule else submission.run("..."))
        url = f"{access.url}/apis/v2beta1/{'recurringruns' if schedule else 'runs'}"
        result.update(status="not sent", url=url, experiment=order.experiment, request=body)
        return
    submission = order.submission(_registered(server, order, result))
    experiment_id = server.get_or_create_experiment(order.experiment)
    answer: dict[str, Any] = {}
    if schedule:
        identifier = server.schedule(submission.recurring_run(experiment_id, schedule))
        result.update(status="scheduled", recurring_run_id=identifier, cron=schedule)
        result["url"] = server.page_url(identifier, kind="recurringrun")
    else:
        answer = server.to_json(server.start(submission.run(experiment_id)))
        identifier = answer["run_id"]
        result.update(status="submitted", run_id=identifier, url=server.page_url(identifier))
    _print_result(order, answer, result)
    if poll is not None:
        wait(server, identifier, order.package.steps, poll, result)


def _registered(server: Server | None, order: Order, result: dict[str, Any]) -> Any | None:
    """Returns the reference to a version of the pipeline, which is registered if there is a server."""
    if order.register is None:
        return None
    import kfp_server_api as api

    from pipelines.kubeflow.registry import newest_version, register, version_name

    version = version_name(order.package)
    result.update(pipeline=order.register, version=version)
    if server is None:
        reference = api.V2beta1PipelineVersionReference(pipeline_id="...", pipeline_version_id="...")
    else:
        reference = register(server, order.package, name=order.register)
        result.update(pipeline_id=reference.pipeline_id, pipeline_version_id=reference.pipeline_version_id)
    if not order.latest:
        return reference
    if server is not None and (newest := newest_version(server, reference.pipeline_id)) != version:
        click.echo(f"note: the newest version of {order.register} is {newest}, and not this one, {version}", err=True)
    return api.V2beta1PipelineVersionReference(pipeline_id=reference.pipeline_id)


def _print_result(order: Order, answer: dict[str, Any], result: dict[str, Any]) -> None:
    """Prints where to find the run, on the server and in MLflow, and how to follow it."""
    from pipelines.kubeflow.tracking import find_place

    place = find_place(order.package, answer)
    result["mlflow_tracking_uri"] = order.package.variable("MLFLOW_TRACKING_URI")
    click.echo(f"{order.name}: {result['status']}")
    click.echo(f"  KFP     {result['url']}")
    if order.register:
        which = "the newest version at each time" if order.latest else result["version"]
        click.echo(f"  Version {order.register}, {which}")
    if place and not place.problem:
        click.echo(f"  MLflow  {place.address} (experiment {place.experiment})")
    if "run_id" in result:
        click.echo(f"  Follow  {follow_command(result['run_id'])}")
    if place and place.problem:
        click.echo(f"note: KFP's MLflow plugin does not record this run: {place.problem}", err=True)


def _dry_run_text(result: dict[str, Any]) -> str:
    """Returns the request as YAML with comments, without secrets."""
    import yaml

    header = f"# POST {result['url']}\n# experiment: {result['experiment']}, replaced by its identifier\n"
    if "version" in result:
        header += f"# pipeline: {result['pipeline']}, version {result['version']}, replaced by their identifiers\n"
    return header + str(yaml.safe_dump(result["request"], sort_keys=False)).rstrip()
