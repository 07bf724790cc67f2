"""The command `demo`: a page to play with an exported model."""

from __future__ import annotations

import re
import tempfile
import webbrowser
from contextlib import ExitStack, suppress
from pathlib import Path

import click

from ganlib.environment import end_on_sigterm
from pipelines.command.promotion import registry_errors, uri_option
from pipelines.command.stops import MISTAKE, Stop, stop_on_errors

REGISTERED = "models:/"
ADDRESS = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/([1-9][0-9]*))")
THIS_MACHINE = "127.0.0.1"


@click.command()
@click.argument("model")
@click.option(
    "--host",
    default=THIS_MACHINE,
    show_default=True,
    help="Address of this machine to listen at. With 0.0.0.0, everybody who reaches this machine can use the page.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Port; 0 for a free one.")
@click.option("--open/--no-open", "open_page", default=False, show_default=True, help="Open the page in a browser.")
@uri_option
def demo(model: str, host: str, port: int, open_page: bool, uri: str | None) -> None:
    """Serves a page to play with an exported MODEL, until Ctrl-C.

    MODEL is a run, an exported model, an address in a bucket, or a version in MLflow's registry,
    models:/NAME@ALIAS or models:/NAME/VERSION. The page makes images of seeds, or translates or repairs pictures.
    It is for this machine, keeps nothing that is sent to it, and calls nothing outside.
    """
    with ExitStack() as stack, stop_on_errors(needs_train=True, failures=(OSError, RuntimeError)):
        from ganlib.demo import LOOPBACK, DemoModel, serve

        stack.enter_context(end_on_sigterm())
        location = title = model
        if model.startswith(REGISTERED):
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="gan-pipelines-demo-"))
            title, location = _download(model, Path(scratch), uri)
        elif uri is not None:
            raise Stop(f"--uri is for versions of the registry, models:/NAME... Received: model={model!r}", MISTAKE)
        opened = DemoModel.open(location, title=title)

        def ready(address: str) -> None:
            click.echo(f"demo: {title} at {address} (Ctrl-C ends it)")
            if host not in LOOPBACK:
                click.echo("note: everybody who reaches this machine can use the page; there is no password", err=True)
            if open_page:
                webbrowser.open(address)

        # The server ends its requests first, and then repeats the signal.
        with suppress(KeyboardInterrupt):
            serve(opened, host=host, port=port, ready=ready)
        click.echo("demo: ended")


def _download(address: str, folder: Path, uri: str | None) -> tuple[str, str]:
    """Downloads a version of a registered model; returns a title, such as `digits, version 3 (champion)`, and where."""
    parts = ADDRESS.fullmatch(address)
    if parts is None:
        raise Stop(f"expected models:/NAME@ALIAS or models:/NAME/VERSION. Received: model={address!r}", MISTAKE)
    with registry_errors(uri):
        from ganlib.export.registry import Registry

        name, alias, number = parts.groups()
        registry = Registry(name)
        if alias is not None:
            aliases = registry.aliases()
            if alias not in aliases:
                known = ", ".join(sorted(aliases)) or "none, and no such model"
                raise ValueError(f"expected an alias of {name} ({known}). Received: model={address!r}")
            number = aliases[alias]
        target = registry.download(registry.version(number).number, folder / "model")
        return f"{name}, version {number}{f' ({alias})' if alias else ''}", str(target)
