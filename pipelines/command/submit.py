"""The command `submit`: runs the pipeline on a Kubeflow cluster."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pipelines.command.options import config_options, note_local_paths, resolve_config, run_name
from pipelines.command.stops import FAILURE, MISTAKE, Stop, end_on_sigterm, stop_on_errors

if TYPE_CHECKING:
    from pipelines.kubeflow.access import Access
    from pipelines.kubeflow.package import Package
    from pipelines.kubeflow.server import Server
    from pipelines.kubeflow.submission import Submission

VARIABLES = "GAN_PIPELINES_KFP_"
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
VERTEX = (
    "submit does not support Vertex AI. Compile the pipeline, and run the file with PipelineJob of "
    "google-cloud-aiplatform. Received: platform=vertex"
)


def _server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for the address of the server and the credentials, which can be environment variables, too."""
    options = (
        ("--host", str, "Address of KFP as in the browser, such as https://kubeflow.example.com/pipeline."),
        ("--namespace", str, "Namespace of the user, if KFP has several users."),
        ("--token", str, "Bearer token."),
        ("--token-file", Path, "File with the token, read again for each request."),
        ("--cookies", str, "Cookies of a session, such as oauth2_proxy_kubeflow=..."),
        ("--ca", FILE, "File with CA certificates for the server."),
        ("--service-account", str, "Kubernetes service account of the pods."),
        ("--experiment", str, "Experiment in KFP; created if it does not exist."),
        ("--pipeline-root", str, "Location of artifacts, such as gs://bucket/prefix or s3://bucket/prefix."),
    )
    for name, kind, text in reversed(options):
        variable = VARIABLES + name.removeprefix("--").upper().replace("-", "_")
        default = "gan-pipelines" if name == "--experiment" else None
        command = click.option(
            name, type=kind, envvar=variable, show_envvar=True, default=default, show_default=True, help=text
        )(command)
    return command


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
@_server_options
@click.option("--name", envvar=f"{VARIABLES}RUN_NAME", show_envvar=True, help="Name of the run.")
@click.option(
    "--cache/--no-cache",
    default=None,
    envvar=f"{VARIABLES}CACHE",
    help="Whether steps may use cached results. Default: as compiled, and not on a schedule.",
)
@click.option("--cron", metavar="LINE", help="Run on a schedule: minute, hour, day, month, day of the week.")
@click.option("--wait", is_flag=True, help="Wait for the end of the run; the exit code reflects the result.")
@click.option(
    "--poll",
    type=click.FloatRange(min=0.1),
    default=15.0,
    show_default=True,
    help="Polling interval of --wait in seconds.",
)
@click.option("--dry-run", is_flag=True, help="Print the request without sending it.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on the last line.")
def submit(
    chosen: tuple[str, ...],
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    image: str | None,
    compiled: Path | None,
    pairs: tuple[str, ...],
    host: str | None,
    namespace: str | None,
    token: str | None,
    token_file: Path | None,
    cookies: str | None,
    ca: Path | None,
    service_account: str | None,
    experiment: str,
    pipeline_root: str | None,
    name: str | None,
    cache: bool | None,
    cron: str | None,
    wait: bool,
    poll: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Runs the pipeline on a Kubeflow cluster, once or on a schedule.

    All arguments are checked before the request is sent.
    """
    result: dict[str, Any] = {"run": name, "status": "failed"}
    try:
        with stop_on_errors():
            package, arguments, name = _select(chosen, files, assignments, image, compiled, pairs, name)
            from pipelines.kubeflow.access import Access
            from pipelines.kubeflow.submission import Submission

            access = Access(
                host=host or "", namespace=namespace, token=token, token_file=token_file, cookies=cookies, ca=ca
            )
            # KFP's keys know the settings and not the images, so all runs but the first would repeat its results.
            anew = cron is not None and cache is None
            cache = False if anew else cache
            submission = Submission(
                name=name,
                pipeline=(package if cache is None else package.with_cache(cache)).body(),
                arguments=arguments,
                pipeline_root=pipeline_root,
                service_account=service_account,
            )
            result["run"] = name
            _send(submission, package, access, experiment, cron, result, poll=poll if wait else None, dry_run=dry_run)
            if anew:
                click.echo("note: without KFP's cache, so that each run sees new images; --cache uses it", err=True)
    except Stop as stop:
        if as_json:
            click.echo(json.dumps({**result, "error": str(stop)}))
        raise
    if dry_run and not as_json:
        click.echo(_dry_run_text(result))
    if as_json:
        click.echo(json.dumps(result))


def _select(
    chosen: tuple[str, ...],
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    image: str | None,
    compiled: Path | None,
    pairs: tuple[str, ...],
    name: str | None,
) -> tuple[Package, dict[str, Any], str]:
    """Returns the pipeline, its arguments and the name of the run, from the options."""
    from pipelines.kubeflow.package import Package, check_conflicts

    check_conflicts(assignments, pairs)
    if compiled is not None:
        typed = click.get_current_context().get_parameter_source("image") is ParameterSource.COMMANDLINE
        if chosen or files or typed:
            what = "--image" if typed else "--preset or --config"
            raise Stop(
                f"config and image of a compiled pipeline are fixed. Received: --pipeline with {what}",
                MISTAKE,
            )
        package = Package.read(compiled)
        arguments = {**package.override(assignments), **package.parse_arguments(pairs)}
        name = name or package.name
    else:
        config = resolve_config(chosen, files, assignments)
        if config.platform.kind == "vertex":
            raise Stop(VERTEX, MISTAKE)
        if image is None:
            raise Stop("expected --image with an image that the cluster can pull. Received: none", MISTAKE)
        note_local_paths(config)
        name = run_name(name, chosen, files, config)
        package = _compile(config, image)
        arguments = {**package.defaults, **package.parse_arguments(pairs)}
    package.check(arguments)
    return package, arguments, name


def _compile(config: Any, image: str) -> Package:
    from pipelines.gan_training import compile_pipeline
    from pipelines.kubeflow.package import Package

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compile_pipeline(config, path, image=image, platform=config.platform)
        return Package.read(path)


def _send(
    submission: Submission,
    package: Package,
    access: Access,
    experiment: str,
    cron: str | None,
    result: dict[str, Any],
    *,
    poll: float | None,
    dry_run: bool,
) -> None:
    """Sends the request, prints where to find the run, and waits for it if `poll` is set."""
    from pipelines.kubeflow.cron import to_kfp_cron
    from pipelines.kubeflow.server import Server

    schedule = None if cron is None else to_kfp_cron(cron)
    if schedule and poll is not None:
        raise Stop("--wait needs a single run. Received: --cron with --wait", MISTAKE)
    server = Server(access)
    if dry_run:
        body = server.to_json(submission.recurring_run("...", schedule) if schedule else submission.run("..."))
        url = f"{access.url}/apis/v2beta1/{'recurringruns' if schedule else 'runs'}"
        result.update(status="not sent", url=url, experiment=experiment, request=body)
        return
    experiment_id = server.get_or_create_experiment(experiment)
    if schedule:
        identifier = server.schedule(submission.recurring_run(experiment_id, schedule))
        result.update(status="scheduled", recurring_run_id=identifier, cron=schedule)
        result["url"] = server.page_url(identifier, kind="recurringrun")
    else:
        identifier = server.start(submission.run(experiment_id))
        result.update(status="submitted", run_id=identifier, url=server.page_url(identifier))
    result["mlflow_tracking_uri"] = package.variable("MLFLOW_TRACKING_URI")
    click.echo(f"{submission.name}: {result['status']}")
    click.echo(f"  KFP     {result['url']}")
    if result["mlflow_tracking_uri"]:
        mlflow_experiment = package.variable("MLFLOW_EXPERIMENT_NAME") or "gan-pipelines"
        click.echo(f"  MLflow  {result['mlflow_tracking_uri']} (experiment {mlflow_experiment})")
    if poll is not None:
        _wait(server, identifier, package.steps, poll, result)


def _wait(server: Server, identifier: str, steps: tuple[str, ...], poll: float, result: dict[str, Any]) -> None:
    """Waits for the end of a run and prints the states of its steps."""
    from pipelines.kubeflow.submission import error_messages, follow

    def report(step: str, state: str) -> None:
        click.echo(f"  {time.strftime('%H:%M:%S')}  {step:<20} {state}")

    try:
        with end_on_sigterm():
            run = follow(server, identifier, steps=steps, poll=poll, report=report)
    except KeyboardInterrupt as error:
        raise Stop(f"interrupted; the run continues: {result['url']}", FAILURE) from error
    except (ValueError, OSError) as error:
        raise Stop(f"{error}\nthe run may continue: {result['url']}", FAILURE) from error
    result["status"] = run.state.lower()
    if run.state != "SUCCEEDED":
        raise Stop("\n".join([*error_messages(run), f"run {result['status']}: {result['url']}"]), FAILURE)
    click.echo(f"{result['run']}: {result['status']}")


def _dry_run_text(result: dict[str, Any]) -> str:
    """Returns the request as YAML with comments, without secrets."""
    import yaml

    header = f"# POST {result['url']}\n# experiment: {result['experiment']}, replaced by its identifier\n"
    return header + str(yaml.safe_dump(result["request"], sort_keys=False)).rstrip()
