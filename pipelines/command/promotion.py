"""The commands `promote` and `rollback`: the champion of a registered model, by hand."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.command.stops import FAILURE, MISTAKE, Stop, stop_on_errors

if TYPE_CHECKING:
    from ganlib.export.registry import Registry
    from ganlib.selection.verdict import Verdict

LOCAL = Path("runs") / "mlflow.db"
uri_option = click.option(
    "--uri", help="Address of MLflow. Default: MLFLOW_TRACKING_URI, or else runs/mlflow.db, if it exists."
)


@click.command()
@click.argument("name")
@click.argument("run", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--version", "number", help="Version to promote. Default: the one with the alias challenger.")
@click.option("--force", is_flag=True, help="Promote it in spite of the checks; needs --reason.")
@click.option("--reason", help="Why it is forced; recorded as a tag of the version.")
@click.option("--dry-run", is_flag=True, help="Check and print the verdict, without changing anything.")
@uri_option
def promote(
    name: str, run: Path | None, number: str | None, force: bool, reason: str | None, dry_run: bool, uri: str | None
) -> None:
    """Makes a version of the registered model NAME the champion, if it passes the checks of its gate.

    With RUN, the folder of a finished run or comparison on this machine, its model is registered if it is not yet, and
    a champion that was scored under another protocol is scored again with its data.
    """
    if force != bool(reason):
        raise Stop(f"expected --force and --reason together. Received: force={force}, reason={reason!r}", MISTAKE)
    if run is not None and number is not None:
        raise Stop(f"expected a run or a version. Received: run={str(run)!r}, version={number}", MISTAKE)
    with registry_errors(uri), tempfile.TemporaryDirectory() as scratch:
        from ganlib.export.registry import Registry

        registry = Registry(name)
        if run is None:
            exported, number = Path(scratch), _existing(registry, number)
            verdict = _judge_version(registry, number, exported)
        else:
            exported = run / "model"
            number, verdict = _judge_run(registry, run, dry_run=dry_run)
        click.echo(verdict.text)
        _promote(registry, number, verdict, reason or "", exported=exported, dry_run=dry_run)


@contextmanager
def registry_errors(uri: str | None) -> Iterator[None]:
    """Chooses the registry, and turns its errors into lines."""
    with stop_on_errors(needs_train=True, failures=(OSError, RuntimeError)):
        from ganlib import tracking

        if uri:
            os.environ["MLFLOW_TRACKING_URI"] = uri
        elif not os.environ.get("MLFLOW_TRACKING_URI"):
            if not LOCAL.is_file():
                raise ValueError(f"expected --uri or the environment variable MLFLOW_TRACKING_URI, or {LOCAL} here")
            os.environ["MLFLOW_TRACKING_URI"] = tracking.store_uri(LOCAL.absolute())
        file = tracking.store_file(os.environ["MLFLOW_TRACKING_URI"])
        if file is not None and not file.is_file():  # MLflow would make an empty store
            raise ValueError(f"expected an MLflow store that exists. Received: {file}")
        yield


def _existing(registry: Registry, number: str | None) -> str:
    """Returns the version that is asked for, or the challenger."""
    from ganlib.export.registry import CHALLENGER

    aliases = registry.aliases()
    number = number or aliases.get(CHALLENGER)
    if number is None:
        raise ValueError(
            f"expected a registered model with a challenger, or --version. Received: name={registry.name!r}, "
            f"aliases={aliases}"
        )
    registry.version(number)
    return number


def _judge_version(registry: Registry, number: str, scratch: Path) -> Verdict:
    """Judges a version by what its files say, with the thresholds that it was judged with last."""
    from ganlib.export import ExportConfig
    from ganlib.export.facts import JUDGED_BY
    from ganlib.export.gate import decide
    from ganlib.export.registry import THRESHOLDS_TAG, TOLERANCE_TAG
    from ganlib.selection.thresholds import GateConfig

    registry.download(number, scratch, files=JUDGED_BY)
    tags = registry.version(number).tags
    thresholds = GateConfig.model_validate_json(tags.get(THRESHOLDS_TAG, "{}"))
    tolerance = {"tolerance": tags[TOLERANCE_TAG]} if TOLERANCE_TAG in tags else {}
    config = ExportConfig.model_validate({"registered_model": registry.name, "gate": thresholds, **tolerance})
    if thresholds.trial:
        registry.download(number, scratch)
    return decide(scratch, config, version=number)


def _judge_run(registry: Registry, run: Path, *, dry_run: bool) -> tuple[str, Verdict]:
    """Judges the model of a run, which is registered."""
    from ganlib.data import PreparedDataset
    from ganlib.evaluation import Reference
    from ganlib.export import ExportConfig
    from ganlib.export.facts import digest, read_facts
    from ganlib.export.gate import Today, decide
    from ganlib.export.register import add
    from ganlib.selection.verdict import Verdict
    from ganlib.training import TrainedModel

    exported = run / "model"
    if not exported.is_dir():
        raise ValueError(f"expected the folder of a finished run. Received: run={str(run)!r}")
    read_facts(exported)  # says if it was exported by an older version
    if missing := [name for name in ("trained", "dataset", "reference") if not (run / name).is_dir()]:
        raise ValueError(
            "expected a finished run or comparison with the folders trained, dataset and reference; the same command "
            f"as before adds them. Received: run={str(run)!r} without {', '.join(missing)}"
        )
    before = Verdict.open(run / "verdict") if (run / "verdict").is_dir() else None
    settings: dict[str, Any] = {"registered_model": registry.name, "gate": {} if before is None else before.gate}
    settings |= {} if before is None or before.tolerance is None else {"tolerance": before.tolerance}
    config = ExportConfig.model_validate(settings)
    today = Today(
        TrainedModel.open(run / "trained"),
        PreparedDataset.open(run / "dataset"),
        Reference.open(run / "reference"),
    )
    verdict = decide(exported, config, today=today)
    known = registry.find(digest(exported))
    if dry_run:
        return ("" if known is None else known.number), verdict
    return add(registry, exported, verdict), verdict


def _promote(registry: Registry, number: str, verdict: Verdict, reason: str, *, exported: Path, dry_run: bool) -> None:
    """Promotes a version, unless a check or a rollback speaks against it and there is no reason to force it."""
    from ganlib.export.history import rolled_back, with_same_networks
    from ganlib.export.promotion import promote
    from ganlib.export.register import describe_version
    from ganlib.export.registry import CHAMPION

    title = f"version {number}" if number else "the model of this run, which has no version yet,"
    title = f"{title} of {registry.name}"
    if number and registry.aliases().get(CHAMPION) == number:
        _keep(registry, number, title, reason, dry_run=dry_run)
        return
    mistakes = [verdict.summary] if verdict.decision == "refuse" else []
    if number and (when := rolled_back(with_same_networks(registry, number), number)):
        mistakes.append(f"it was rolled back, {when}")
    if mistakes and not reason:
        raise Stop(
            f"{title} is not promoted: {'; '.join(mistakes)}. To promote it nevertheless: --force --reason TEXT",
            FAILURE,
        )
    champion = verdict.expected
    what = f"the champion of {registry.name}, instead of {f'version {champion}' if champion else 'none'}"
    if dry_run:
        click.echo(f"{title} would become {what}; nothing was changed (--dry-run)")
        return
    if mistakes:
        verdict = replace(verdict, notes=(*verdict.notes, f"It was promoted by force nevertheless: {reason}"))
    promote(registry, number, expected=champion, reason=reason, forced=bool(mistakes))
    said = f", forced: {reason}" if mistakes else f", which passed without force; recorded: {reason}" if reason else ""
    click.echo(f"{title} is now {what}{said}")
    describe_version(registry, number, exported, verdict)


def _keep(registry: Registry, number: str, title: str, reason: str, *, dry_run: bool) -> None:
    """Says that a version is the champion already, and completes its promotion if that was interrupted."""
    from ganlib.export.history import is_being_rolled_back
    from ganlib.export.promotion import promote

    if is_being_rolled_back(registry, number):
        advice = f"`gan-pipelines rollback {registry.name}` completes it"
        raise Stop(f"{title} is the champion, but its rollback is not complete; {advice}", FAILURE)
    if registry.claimed(number) is not None:
        if not dry_run:
            promote(registry, number, expected=number, reason=reason)
        state = "would be complete; nothing was changed (--dry-run)" if dry_run else "is complete now"
        click.echo(f"{title} is the champion; its promotion was interrupted, and {state}")
        return
    unused = f"; nothing was changed, and the reason is not recorded: {reason}" if reason else ""
    click.echo(f"{title} is the champion already{unused}")


@click.command()
@click.argument("name")
@click.option("--reason", default="no reason given", help="Why; recorded as a tag of the version that is replaced.")
@click.option("--dry-run", is_flag=True, help="Print what would happen, without changing anything.")
@uri_option
def rollback(name: str, reason: str, dry_run: bool, uri: str | None) -> None:
    """Makes the version before the champion of the registered model NAME the champion again.

    A second rollback goes back one version further. One that was interrupted is completed instead.
    """
    with registry_errors(uri):
        from ganlib.export import promotion
        from ganlib.export.registry import Registry

        before, after = promotion.rollback(Registry(name), reason=reason, dry_run=dry_run)
    if dry_run:
        click.echo(f"version {after} of {name} would become the champion again, instead of version {before}")
    else:
        click.echo(f"version {after} of {name} is the champion again, instead of version {before}")
