"""The candidates of a comparison: the variants at a budget, each with several seeds."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganlib import storage
from ganlib.config import RunConfig
from ganlib.selection import Candidate, Halving, Outcome
from ganlib.selection.collection import distinguish
from ganlib.tasks import Restoration
from ganlib.tracking import RunGroup, flatten
from ganlib.training.config import JOB_PLACE
from pipelines import settings
from pipelines.budgets import Budget, at_budget, check_common, check_own
from pipelines.kubeflow.config import PipelineConfig
from pipelines.settings import SettingsError
from pipelines.variants import Variant

FEWEST_HALVED = 3
NEAR = 0.75  # least part of the budget of a halving at which candidates may pause
DIFFERING = ("task", "model", "objective", "training")  # sections that variants may change


def resolve_variants(
    variants: Sequence[Variant],
    *,
    chosen: Sequence[str],
    files: Sequence[Path],
    assignments: Iterable[str],
    budget: Budget,
) -> tuple[PipelineConfig, dict[str, PipelineConfig]]:
    """Returns the common config, and that of each variant at the budget.

    Args:
        variants: What is compared.
        chosen: Presets of all variants.
        files: YAML files with sections for all variants.
        assignments: Single fields for all variants, as `section.field=value`.
        budget: What each may use.

    Raises:
        SettingsError: A variant is not valid, is the same as another, or changes what all must share; or a common
            setting is one that the comparison decides.
    """
    assignments = list(assignments)
    base = settings.resolve(chosen=chosen, files=files, assignments=assignments)
    assigned = {field for assignment in assignments for field in settings.assigned_fields(assignment)}
    explicit = assigned | {field for path in files for field in flatten(settings.read_yaml(path))}
    check_common(base, budget, assigned=assigned, explicit=explicit)
    configs: dict[str, PipelineConfig] = {}
    for variant in variants:
        if variant.name in configs:
            raise SettingsError(f"expected a name for each variant. Received: {variant.name} twice")
        try:
            _check_presets(variant.presets)
            check_own(variant.assignments)
            kept = [name for name in chosen if not variant.presets or _kind(name) != "loss"]
            config = settings.resolve(
                chosen=[*kept, *variant.presets], files=files, assignments=[*assignments, *variant.assignments]
            )
        except SettingsError as error:
            lines = [f"variant {variant.name}: {line}" for line in str(error).splitlines()]
            raise SettingsError("\n".join(lines)) from error
        _check_shared(variant.name, base, config)
        configs[variant.name] = at_budget(config, base, budget, explicit=explicit)
    _check_different(configs)
    return base, configs


def changes(configs: Mapping[str, PipelineConfig]) -> dict[str, dict[str, Any]]:
    """Returns, for each variant, the settings by dotted name that are not the same in all of them."""
    made = make_candidates(configs, seeds=1, comparison="", home=None)
    outcomes = [Outcome(variant=one.variant, seed=0, changes=one.settings, failure="not trained") for one in made]
    return {outcome.variant: outcome.changes for outcome in distinguish(outcomes)}


def make_candidates(
    configs: Mapping[str, PipelineConfig],
    *,
    seeds: int,
    comparison: str,
    home: str | None,
    halving: Halving | None = None,
) -> list[Candidate]:
    """Returns all candidates, the first seed of each variant first, so that an early look compares all variants.

    Args:
        configs: Config of each variant.
        seeds: Number of seeds of each variant.
        comparison: Name of the comparison.
        home: Where each candidate has a folder for its checkpoints: a path, or an address in a bucket; None for none.
        halving: The halving for which all pause.
    """
    candidates = []
    for seed, (variant, config) in itertools.product(range(seeds), configs.items()):
        name = f"{variant}-seed{seed}"
        training = {
            "seed": (config.training.seed + seed) % 2**31,
            "run_name": f"{comparison}/{name}"[-120:],
            "home": home and f"{home.rstrip('/')}/{name}/training",
        }
        candidates.append(
            Candidate(
                variant=variant,
                seed=seed,
                task=config.task,
                model=config.model,
                objective=config.objective,
                training=config.training.model_copy(update=training),
                halving=halving,
            )
        )
    return candidates


def check_halving(configs: Mapping[str, PipelineConfig], halving: Halving) -> None:
    """Refuses variants that cannot be halved.

    Raises:
        SettingsError: They are too few, or have no score at a known part of the budget.
    """
    if len(configs) < FEWEST_HALVED:
        raise SettingsError(
            f"expected {FEWEST_HALVED} variants or more with --halving, so that two or more are left to compare. "
            f"Received: {len(configs)} variants"
        )
    for variant, config in configs.items():
        training = config.training
        if training.max_minutes is not None:
            raise SettingsError("expected a budget of images or steps with --halving. Received: --minutes")
        part = halving.pause(steps=training.steps, score_every=training.score_every) / training.steps
        if part < NEAR * halving.fraction:
            raise SettingsError(
                f"variant {variant}: expected a score at about {100 * halving.fraction:.0f} % of the steps with "
                f"--halving, where scores were compared with the final ones, and the last one before is at "
                f"{100 * part:.0f} %. Received: training.score_every={training.score_every}, "
                f"training.steps={training.steps}"
            )


def home_of(name: str, checkpoints: str) -> str:
    """Returns where a comparison has its checkpoints: by its name, so that another run of it goes on.

    Args:
        name: Name of the comparison.
        checkpoints: Location of all checkpoints.

    Raises:
        SettingsError: The location is one for each job.
    """
    if JOB_PLACE in checkpoints:
        raise SettingsError(
            f"a comparison has a folder by its name, not by its job, so that it can be resumed; expected a home "
            f"without {JOB_PLACE}. Received: training.home={checkpoints}"
        )
    return f"{checkpoints.rstrip('/')}/{name}"


def comparison_group(name: str, config: RunConfig, *, place: str) -> RunGroup:
    """Returns the MLflow run of a comparison. Comparisons of one name at two places have a run each.

    Args:
        name: Name of the comparison.
        config: The common config.
        place: Where its runs are.
    """
    facts = {"name": name, "place": place, "data": config.data.to_parameter()}
    return RunGroup(name, hashlib.sha256(storage.canonical_json(facts).encode()).hexdigest()[:32])


def _kind(name: str) -> str:
    return settings.preset_kind(settings.preset(name))


def _check_presets(names: Sequence[str]) -> None:
    for name in names:
        if _kind(name) != "loss":
            raise SettingsError(
                "expected a preset of a loss; those of data and of scores are common to all variants, as --preset. "
                f"Received: preset={name}"
            )


def _check_shared(name: str, base: PipelineConfig, config: PipelineConfig) -> None:
    damages = [task.test_damage or task.damage for task in (base.task, config.task) if isinstance(task, Restoration)]
    if len(set(map(repr, damages))) > 1:
        raise SettingsError(
            f"variant {name}: expected the same damage of the test images for all variants, or their scores could not "
            "be compared; set task.test_damage for all of them"
        )
    shared = [section for section in PipelineConfig.model_fields if section not in DIFFERING]
    for section in shared:
        before, now = (flatten({section: getattr(one, section).to_parameter()}) for one in (base, config))
        different = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
        if different:
            raise SettingsError(
                f"variant {name}: expected changes of {', '.join(DIFFERING)}; all variants share the data and the "
                f"scores, or they could not be compared. Received: {different[0]}={now.get(different[0])}"
            )
    if config.task.kind != base.task.kind:
        raise SettingsError(
            f"variant {name}: expected the task of all variants, {base.task.kind}. Received: task={config.task.kind}"
        )


def _check_different(configs: Mapping[str, PipelineConfig]) -> None:
    seen: dict[str, str] = {}
    for name, config in configs.items():
        key = storage.canonical_json(_sections(config))
        if key in seen:
            raise SettingsError(
                f"expected variants that differ; --set and --config count for all of them, before their presets. "
                f"Received: {seen[key]} and {name} are the same"
            )
        seen[key] = name


def _sections(config: PipelineConfig) -> dict[str, Any]:
    return {section: getattr(config, section).to_parameter() for section in DIFFERING}
