"""The command that hands the pipeline to a Kubeflow cluster."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pipelines.command.options import config_options, resolved, run_name
from pipelines.command.stops import FAILURE, MISTAKE, Stop, ended_like_ctrl_c, for_people

if TYPE_CHECKING:
    from pipelines.kubeflow.access import Access
    from pipelines.kubeflow.package import Package
    from pipelines.kubeflow.server import Server
    from pipelines.kubeflow.submission import Order

VARIABLES = "GAN_PIPELINES_KFP_"
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
VERTEX = (
    "submit speaks to Kubeflow. For Vertex AI, compile the pipeline and hand the file to PipelineJob of "
    "google-cloud-aiplatform. Received: platform=vertex"
)


def _server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say where the server is and who asks; each may come from the environment."""
    options = (
        ("--host", str, "Address of KFP as the browser shows it, such as https://kubeflow.example.com/pipeline."),
        ("--namespace", str, "Namespace of the user, where KFP serves several."),
        ("--token", str, "Bearer token."),
        ("--token-file", Path, "File with the token; read anew for every request."),
        ("--cookies", str, "Cookies of a session, such as authservice_session=..."),
        ("--ca", FILE, "Certificates that the server's is trusted by."),
        ("--service-account", str, "Kubernetes service account of the pods."),
        ("--experiment", str, "Experiment of KFP, made if there is none."),
        ("--pipeline-root", str, "Where KFP keeps artifacts, such as gs://bucket/prefix."),
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
@click.option("--image", envvar="GAN_PIPELINES_IMAGE", show_envvar=True, help="Container image, best by its digest.")
@click.option("--pipeline", "compiled", type=FILE, help="Compiled pipeline to run instead; --set changes its defaults.")
@click.option(
    "--argument",
    "given",
    multiple=True,
    metavar="NAME=JSON",
    help='One whole parameter of the pipeline, such as training={"steps": 5}; may be repeated. Where the file\'s '
    "training has a home, it keeps that unless the argument names another.",
)
@_server_options
@click.option("--name", envvar=f"{VARIABLES}RUN_NAME", show_envvar=True, help="Name of the run.")
@click.option(
    "--cache/--no-cache", default=None, envvar=f"{VARIABLES}CACHE", help="Whether steps may come from the cache."
)
@click.option("--cron", metavar="LINE", help="Run at these times instead: minute, hour, day, month, day of the week.")
@click.option("--wait", is_flag=True, help="Follow the run to its end, and exit accordingly.")
@click.option(
    "--poll", type=click.FloatRange(min=0.1), default=15.0, show_default=True, help="Seconds between two looks."
)
@click.option("--dry-run", is_flag=True, help="Print the request, and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def submit(
    chosen: tuple[str, ...],
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    image: str | None,
    compiled: Path | None,
    given: tuple[str, ...],
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
    """Hands the pipeline to a Kubeflow cluster, once or at times of its own.

    The arguments are checked before anything is sent.
    """
    told: dict[str, Any] = {"run": name, "status": "failed"}
    try:
        with for_people():
            package, arguments, name = _chosen(chosen, files, assignments, image, compiled, given, name)
            from pipelines.kubeflow.access import Access
            from pipelines.kubeflow.submission import Order

            access = Access(
                host=host or "", namespace=namespace, token=token, token_file=token_file, cookies=cookies, ca=ca
            )
            order = Order(
                name=name,
                pipeline=(package if cache is None else package.cached(cache)).body(),
                arguments=arguments,
                pipeline_root=pipeline_root,
                service_account=service_account,
            )
            told["run"] = name
            _send(order, package, access, experiment, cron, told, poll=poll if wait else None, dry_run=dry_run)
    except Stop as stop:
        if as_json:
            click.echo(json.dumps({**told, "error": str(stop)}))
        raise
    if dry_run and not as_json:
        click.echo(_shown(told))
    if as_json:
        click.echo(json.dumps(told))


def _chosen(
    chosen: tuple[str, ...],
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    image: str | None,
    compiled: Path | None,
    given: tuple[str, ...],
    name: str | None,
) -> tuple[Package, dict[str, Any], str]:
    """Returns the pipeline, its arguments and the name of the run."""
    from ganlib import storage
    from pipelines.kubeflow.package import Package, check_apart

    check_apart(assignments, given)
    if compiled is not None:
        typed = click.get_current_context().get_parameter_source("image") is ParameterSource.COMMANDLINE
        if chosen or files or typed:
            what = "--image" if typed else "--preset or --config"
            raise Stop(
                f"a compiled pipeline has its config and image already. Received: --pipeline with {what}", MISTAKE
            )
        package = Package.read(compiled)
        arguments = {**package.changed(assignments), **package.arguments(given)}
        name = name or package.name
    else:
        config = resolved(chosen, files, assignments)
        if config.platform.kind == "vertex":
            raise Stop(VERTEX, MISTAKE)
        if image is None:
            raise Stop("expected --image, one that the cluster can fetch. Received: none", MISTAKE)
        path = getattr(config.data.source, "path", None)
        if path is not None and not storage.is_remote(path):
            told = f"nothing of this machine is sent. Received: path={path}"
            click.echo(f"note: data.source.path is one of the pods, {told}", err=True)
        name = run_name(name, chosen, files, config)
        package = _compiled(config, image)
        arguments = {**package.defaults, **package.arguments(given)}
    package.check(arguments)
    return package, arguments, name


def _compiled(config: Any, image: str) -> Package:
    from pipelines.gan_training import compile_pipeline
    from pipelines.kubeflow.package import Package

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compile_pipeline(config, path, image=image, platform=config.platform)
        return Package.read(path)


def _send(
    order: Order,
    package: Package,
    access: Access,
    experiment: str,
    cron: str | None,
    told: dict[str, Any],
    *,
    poll: float | None,
    dry_run: bool,
) -> None:
    """Sends the request, tells where to look, and follows the run if that is wanted."""
    from pipelines.kubeflow.cron import cron_line
    from pipelines.kubeflow.server import Server

    times = None if cron is None else cron_line(cron)
    if times and poll is not None:
        raise Stop("only a single run can be waited for. Received: --cron with --wait", MISTAKE)
    server = Server(access)
    if dry_run:
        body = server.request(order.recurring_run("...", times) if times else order.run("..."))
        url = f"{access.url}/apis/v2beta1/{'recurringruns' if times else 'runs'}"
        told.update(status="not sent", url=url, experiment=experiment, request=body)
        return
    found = server.experiment(experiment)
    if times:
        identifier = server.schedule(order.recurring_run(found, times))
        told.update(status="scheduled", recurring_run_id=identifier, cron=times)
        told["url"] = server.page(identifier, of="recurringrun")
    else:
        identifier = server.start(order.run(found))
        told.update(status="submitted", run_id=identifier, url=server.page(identifier))
    told["mlflow_tracking_uri"] = package.variable("MLFLOW_TRACKING_URI")
    click.echo(f"{order.name}: {told['status']}")
    click.echo(f"  KFP     {told['url']}")
    if told["mlflow_tracking_uri"]:
        of = package.variable("MLFLOW_EXPERIMENT_NAME") or "gan-pipelines"
        click.echo(f"  MLflow  {told['mlflow_tracking_uri']} (experiment {of})")
    if poll is not None:
        _wait(server, identifier, package.steps, poll, told)


def _wait(server: Server, identifier: str, steps: tuple[str, ...], poll: float, told: dict[str, Any]) -> None:
    """Follows a run to its end."""
    from pipelines.kubeflow.submission import follow, reasons

    def tell(step: str, states: str) -> None:
        click.echo(f"  {time.strftime('%H:%M:%S')}  {step:<20} {states}")

    try:
        with ended_like_ctrl_c():
            run = follow(server, identifier, steps=steps, poll=poll, tell=tell)
    except KeyboardInterrupt as error:
        raise Stop(f"interrupted; the run goes on: {told['url']}", FAILURE) from error
    except (ValueError, OSError) as error:
        raise Stop(f"{error}\nthe run goes on unwatched: {told['url']}", FAILURE) from error
    told["status"] = run.state.lower()
    if run.state != "SUCCEEDED":
        raise Stop("\n".join([*reasons(run), f"the run ended {told['status']}: {told['url']}"]), FAILURE)
    click.echo(f"{told['run']}: {told['status']}")


def _shown(told: dict[str, Any]) -> str:
    """Returns the request for people; secrets are no part of it."""
    import yaml

    head = f"# POST {told['url']}\n# experiment: {told['experiment']}, whose identifier is asked for first\n"
    return head + str(yaml.safe_dump(told["request"], sort_keys=False)).rstrip()
