"""The options for the address of a KFP server and its credentials, and what a pod in the cluster finds without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.command.stops import FAILURE, MISTAKE, Stop

if TYPE_CHECKING:
    from pipelines.kubeflow.access import Access

VARIABLES = "GAN_PIPELINES_KFP_"
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
KEPT = "gan_pipelines.access"  # where click's context keeps the options for access
Option = tuple[str, Any, str | None, str]


def add_options(command: Callable[..., Any], options: Iterable[Option], *, kept: bool = False) -> Callable[..., Any]:
    """Adds options, which can be environment variables, too.

    Args:
        command: The command.
        options: Each a name, a type, a default and a description.
        kept: Whether the values are kept for `given_access`, instead of being arguments of the command.
    """
    for name, kind, default, text in reversed(list(options)):
        variable = VARIABLES + name.removeprefix("--").upper().replace("-", "_")
        command = click.option(
            name,
            type=kind,
            envvar=variable,
            show_envvar=True,
            default=default,
            show_default=True,
            help=text,
            expose_value=not kept,
            callback=_keep if kept else None,
        )(command)
    return command


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    context.meta.setdefault(KEPT, {})[parameter.name] = value
    return value


def given_access() -> dict[str, Any]:
    """Returns the options for access of the command that runs, by the names of the fields of `Access`."""
    return dict(click.get_current_context().meta[KEPT])


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for the address of the server and the credentials."""
    return add_options(
        command,
        (
            (
                "--host",
                str,
                None,
                (
                    "Address of KFP as in the browser, such as https://kubeflow.example.com/pipeline. Default: that of "
                    "kfp.Client in a pod or notebook of the cluster."
                ),
            ),
            ("--namespace", str, None, "Namespace of the user, if KFP has several users. Default: like --host."),
            ("--token", str, None, "Bearer token."),
            ("--token-file", Path, None, "File with the token, read again for each request."),
            (
                "--token-command",
                str,
                None,
                "Command that prints the token, such as one of gcloud for IAP. Runs again each minute.",
            ),
            ("--cookies", str, None, "Cookies of a session, such as oauth2_proxy_kubeflow=..."),
            ("--ca", FILE, None, "File with CA certificates for the server."),
        ),
        kept=True,
    )


def make_access(given: Mapping[str, Any]) -> Access:
    """Returns address and credentials from the options, completed by what is known in a cluster.

    What was found is printed in one line, and so is a secret that could be read on its way.

    Raises:
        ValueError: An option is not valid, or there is no address.
    """
    from pipelines.kubeflow import incluster
    from pipelines.kubeflow.access import Access

    found, host = [], given.get("host")
    if not host and (at := incluster.find_host()):
        host, where = at
        found.append(f"{host} ({where})")
    access = Access(**{**given, "host": host or ""})
    if not access.namespace and (named := incluster.find_namespace()):
        access = dataclasses.replace(access, namespace=named[0])
        found.append(f"namespace {named[0]} ({named[1]})")
    # The token is KFP's: it goes to no host outside of the cluster, whatever the address says.
    if not access.has_token and not access.cookies and access.is_inside and (file := incluster.find_token_file()):
        access = dataclasses.replace(access, token_file=file)
        found.append(f"token {file}")
    if found:
        click.echo(f"note: found {', '.join(found)}", err=True)
    if access.is_readable_on_the_way:
        click.echo(f"note: without https, others can read the token or cookies on the way to {access.url}", err=True)
    return access


def check_access(access: Access, experiment: str, backend: str | None, result: dict[str, Any]) -> None:
    """Prints the checks of access and rights.

    Raises:
        Stop: A check failed.
    """
    from pipelines.kubeflow.check import run_checks
    from pipelines.kubeflow.server import Server

    failed = []
    result["checks"] = []
    for check in run_checks(Server(access), experiment=experiment, backend=backend):
        click.echo(f"  {check.name:<12} {check.verdict:<8} {check.text}")
        result["checks"].append({"name": check.name, "verdict": check.verdict, "text": check.text})
        failed += [check] if check.verdict == "failed" else []
    if failed:
        names = ", ".join(check.name for check in failed)
        raise Stop(f"not ready for a run: {names}", MISTAKE if all(check.mistake for check in failed) else FAILURE)
    result["status"] = "ready"
