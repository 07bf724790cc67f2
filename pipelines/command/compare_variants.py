"""The command `compare-variants`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pipelines.command.local_run import local_image, local_options, run_steps
from pipelines.command.options import (
    check_image,
    check_output,
    config_options,
    note_local_paths,
    note_registry,
    run_name,
)
from pipelines.command.preview import describe_images
from pipelines.command.stops import MISTAKE, Stop, stop_on_errors

DEFAULT_SEEDS = 3
BUDGET = ("steps", "max_minutes", "batch_size", "score_every")  # fields of a plan, in any case


@click.command(name="compare-variants")
@config_options
@click.option(
    "--variant",
    "texts",
    multiple=True,
    metavar="'[NAME:] PRESET... FIELD=VALUE...'",
    help="What to compare: presets and fields that are set beside those of all variants, such as 'dcgan' or "
    "'wide: dcgan model.width=96'. Repeat it.",
)
@click.option(
    "--variants",
    "variant_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with variants, or a grid of values that all are tried with.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 50),
    default=DEFAULT_SEEDS,
    show_default=True,
    help="Trainings of each variant, which differ by their seeds.",
)
@click.option("--images", type=click.IntRange(1), help="Budget of each training: real images that are shown.")
@click.option("--steps", type=click.IntRange(1), help="Budget of each training: generator updates.")
@click.option("--minutes", type=click.FloatRange(0.0, min_open=True), help="Budget of each training: minutes.")
@click.option(
    "--halving",
    "former",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Stop the worse half of the variants early: after the quarter or the half of the budget at which scores told "
    "the final ones in a full comparison of the same images, in FOLDER.",
)
@click.option("--name", help="Name of the comparison. Default: the presets' and a short hash of the common settings.")
@local_options
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Compile for Kubeflow instead.")
@click.option("--dry-run", is_flag=True, help="Check and print the variants and the images, without running anything.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object on the last line.")
def compare_variants(
    chosen: tuple[str, ...],
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    texts: tuple[str, ...],
    variant_files: tuple[Path, ...],
    seeds: int,
    images: int | None,
    steps: int | None,
    minutes: float | None,
    former: Path | None,
    name: str | None,
    root: Path,
    runner: str,
    image: str | None,
    output: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Trains variants on the same images at the same budget, and says which one to take and how sure that is.

    Repeat the command to resume it, also with further variants or more seeds: what is finished is not trained again.
    """
    try:
        budgets = {"images": images, "steps": steps, "minutes": minutes}
        budget = _budget(budgets)
        base, configs = _resolve(chosen, files, assignments, texts, variant_files, budget)
        click.echo(f"{'# ' if dry_run else ''}budget: {budget.text(base)}", err=as_json)
        halving = _halving(former, configs)
        kind = "compare" if halving is None else "halve"
        name = run_name(name, chosen, files, base) if name else _default_name(kind, chosen, files, base, budgets)
        _check_name(name, root, former)
        if dry_run:
            _print_plan(name, configs, seeds, as_json=as_json)
            return
        if output is not None:
            _check_unused(as_json=as_json)
            _compile(base, configs, seeds, name, output, image, halving)
            return
        result = _run(base, configs, seeds, name, root, local_image(runner, image), halving)
    except Stop as stop:
        if as_json:
            click.echo(json.dumps({"comparison": name, "status": "failed", "error": str(stop)}))
        raise
    click.echo(result.to_text())
    if as_json:
        click.echo(json.dumps(result.to_json()))


def _default_name(
    kind: str, chosen: tuple[str, ...], files: tuple[Path, ...], base: Any, budgets: dict[str, float | None]
) -> str:
    """Returns a name that another budget changes, since its trainings are others, and further variants do not."""
    amounts = [f"-{amount:g}-{unit}" for unit, amount in budgets.items() if amount is not None]
    return f"{kind}-{run_name(None, chosen, files, base)}{''.join(amounts)}"


def _check_name(name: str, root: Path, former: Path | None) -> None:
    if former is not None and former.resolve() == (root / name).resolve():
        raise Stop(f"expected another --name than that of the full comparison. Received: name={name}", MISTAKE)


def _budget(budgets: dict[str, float | None]) -> Any:
    """Returns the budget that was given, or the default one."""
    from pipelines.budgets import Budget

    given = {unit: amount for unit, amount in budgets.items() if amount is not None}
    if len(given) > 1:
        raise Stop(f"expected one budget. Received: --{' and --'.join(given)}", MISTAKE)
    return Budget(*next(iter(given.items()))) if given else Budget()  # type: ignore[arg-type]  # the units by name


def _resolve(
    chosen: tuple[str, ...],
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    texts: tuple[str, ...],
    variant_files: tuple[Path, ...],
    budget: Any,
) -> tuple[Any, dict[str, Any]]:
    """Returns the common config, and that of each variant."""
    from pipelines import candidates, settings, variants

    with stop_on_errors():
        found = [variants.parse_variant(text) for text in texts]
        found += [variant for path in variant_files for variant in variants.read_variants(path)]
        if len(found) < 2:
            raise Stop(
                f"expected --variant twice or more, or --variants FILE. Received: {len(found)} variants", MISTAKE
            )
        chosen = chosen if chosen or files else (settings.DEFAULT_PRESET,)
        return candidates.resolve_variants(found, chosen=chosen, files=files, assignments=assignments, budget=budget)


def _halving(former: Path | None, configs: dict[str, Any]) -> Any:
    """Returns the halving that a former comparison allows, and says what it measured."""
    from ganlib.selection import read_former
    from pipelines.candidates import check_halving

    if former is None:
        return None
    with stop_on_errors():
        halving = read_former(former)
        check_halving(configs, halving)
    click.echo(f"halving: {halving.text}", err=True)
    return halving


def _run(base: Any, configs: dict[str, Any], seeds: int, name: str, root: Path, image: str | None, halving: Any) -> Any:
    def compare() -> Any:
        from pipelines.local import comparison

        return comparison.compare_variants(
            base, configs, seeds=seeds, name=name, root=root, image=image, halving=halving
        )

    return run_steps(compare)


def _print_plan(name: str, configs: dict[str, Any], seeds: int, *, as_json: bool) -> None:
    """Prints what would be trained, and the images."""
    import yaml

    from pipelines import candidates

    differing = candidates.changes(configs)
    budgets = {variant: config.training.to_parameter() for variant, config in configs.items()}
    plan = {
        variant: {**differing[variant], **{key: value for key, value in budgets[variant].items() if key in BUDGET}}
        for variant in configs
    }
    if as_json:
        click.echo(json.dumps({"comparison": name, "seeds": seeds, "variants": plan}))
    else:
        click.echo(f"# comparison: {name}, {len(configs)} variants with {seeds} seeds each")
        click.echo(str(yaml.safe_dump(plan, sort_keys=False)).rstrip())
    lines = dict.fromkeys(line for config in configs.values() for line in describe_images(config))
    for line in lines:
        click.echo(f"# data: {line}", err=as_json)


def _check_unused(*, as_json: bool) -> None:
    """Refuses options of local runs beside --output."""
    source = click.get_current_context().get_parameter_source
    given = [f"--{name}" for name in ("root", "runner") if source(name) is ParameterSource.COMMANDLINE]
    if given or as_json:
        raise Stop(f"expected no {' or '.join([*given, *(['--json'] if as_json else [])])} with --output", MISTAKE)


def _compile(
    base: Any, configs: dict[str, Any], seeds: int, name: str, output: Path, image: str | None, halving: Any
) -> None:
    """Writes the comparison as a pipeline for a cluster."""
    from pipelines.candidates import comparison_group, home_of, make_candidates
    from pipelines.gan_comparison import compile_comparison
    from pipelines.gan_training import DEFAULT_IMAGE

    check_output(output)
    check_image(image)
    checkpoints = base.platform.checkpoints or base.training.home
    if halving is not None and checkpoints is None:
        raise Stop(
            "a halving goes on from checkpoints; expected platform.checkpoints or training.home beside --halving. "
            "Received: neither",
            MISTAKE,
        )
    with stop_on_errors():
        home = checkpoints and home_of(name, checkpoints)
        made = make_candidates(configs, seeds=seeds, comparison=name, home=home, halving=halving)
        group = comparison_group(name, base, place=home or "")
        compile_comparison(base, made, group, output, image=image or DEFAULT_IMAGE, platform=base.platform)
    click.echo(f"wrote {output}: {len(made)} candidates. Run it with: gan-pipelines submit --pipeline {output}")
    note_local_paths(base)
    note_registry(base.export.registered_model, base.platform.mlflow_tracking_uri)
    if home is None:
        click.echo(
            "note: without platform.checkpoints or training.home, an interrupted training begins anew, and so do all "
            "with --no-cache",
            err=True,
        )
