"""Merges presets, files and options into one typed config, and reports all mistakes at once.

OmegaConf merges mappings field by field, so the fields of one `kind` would remain where another is chosen. It also
accepts an option without a value or with an empty name, and interprets `${...}` in a path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ganlib import storage
from ganlib.config import RunConfig
from ganlib.schema import did_you_mean, from_word, problems
from ganlib.tracking import flatten
from pipelines.kubeflow.config import PipelineConfig

DEFAULT_PRESET = "digits"
HASH_DIGITS = 6
KINDS = ("data", "loss", "scores")  # of presets, in the order in which they are merged
OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")
VARIANT_FIELDS = ("kind", "source", "platform", "task", "model", "objective", "extractor", *OPTIMIZERS)
PLATFORM_DEFAULTS = PipelineConfig().platform.model_dump(mode="json")


class SettingsError(ValueError):
    """The settings of the user are not valid; the message has one line for each mistake."""


def presets() -> dict[str, str]:
    """Returns the YAML text of all presets by name."""
    files = {file.stem: file for file in Path(__file__).with_name("presets").glob("*.yaml")}
    return {name: files[name].read_text(encoding="utf-8") for name in sorted(files)}


def resolve(*, chosen: Sequence[str], files: Sequence[Path] = (), assignments: Iterable[str]) -> PipelineConfig:
    """Merges presets, files and `section.field=value` options; later ones override earlier ones.

    Args:
        chosen: Names of presets.
        files: YAML files with sections.
        assignments: Single fields, as `section.field=value`.

    Raises:
        SettingsError: A preset, file, option or the merged config is not valid.
    """
    # Defaults come first, so that a single field of a default variant can be set.
    values: dict[str, Any] = PipelineConfig().to_sections()
    layers = [preset(name) for name in order_presets(chosen, alone=not files)]
    if len({preset_kind(layer) for layer in layers}) < len(layers):
        raise SettingsError(
            "expected at most one preset of each kind: data, loss (to change its parts, set task, model and objective) "
            f"and scores. Received: preset={', '.join(chosen)}"
        )
    for layer in layers:
        values = _merge(values, layer)
    for file in files:
        values = _merge(values, read_yaml(file))
    return override(values, assignments)


def override(values: Mapping[str, Any], assignments: Iterable[str]) -> PipelineConfig:
    """Applies `section.field=value` options to sections and validates the result.

    Args:
        values: One mapping for each section.
        assignments: Single fields, as `section.field=value`.

    Raises:
        SettingsError: An option or the resulting config is not valid.
    """
    # Fields that select a variant come first: another variant drops the fields of the one before.
    for assignment in sorted(assignments, key=lambda assignment: not _selects_variant(assignment)):
        values = _assign(values, assignment)
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(problems(error))) from error


def order_presets(chosen: Sequence[str], *, alone: bool) -> list[str]:
    """Returns the presets in the order in which they are merged: data, loss, scores.

    Args:
        chosen: Names of presets.
        alone: Whether there is no config file, so that the embedded digits are the data unless a preset has other
            data.

    Raises:
        SettingsError: A preset does not exist.
    """
    kinds = {name: preset_kind(preset(name)) for name in chosen}
    missing = [DEFAULT_PRESET] if chosen and alone and "data" not in kinds.values() else []
    return [*missing, *sorted(chosen, key=lambda name: KINDS.index(kinds[name]))]


def config_hash(config: RunConfig) -> str:
    """Returns a short hash of a config."""
    return hashlib.sha256(storage.canonical_json(config.to_parameters()).encode()).hexdigest()[:HASH_DIGITS]


def preset_kind(sections: Mapping[str, Any]) -> str:
    """Returns the kind of a preset, one of `KINDS`."""
    return "data" if "data" in sections else "scores" if sections.keys() == {"evaluation"} else "loss"


def preset(name: str) -> dict[str, Any]:
    """Returns the sections of a preset.

    Raises:
        SettingsError: There is none of this name.
    """
    known = presets()
    if name not in known:
        hint = did_you_mean(name, known)
        raise SettingsError(f"expected one of the presets {', '.join(known)}{hint}. Received: preset={name!r}")
    return _parse(known[name], f"preset {name}")


def _describe(value: object) -> str:
    names = {"NoneType": "nothing", "str": "text", "list": "a list"}
    return names.get(type(value).__name__, f"{value!r}")


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, of which YAML's own loader silently uses the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT002  # the base class's signature
        """Reads a mapping and refuses duplicate keys."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key.value, str):  # the base class refuses other keys
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(file: Path) -> dict[str, Any]:
    """Reads a YAML file with sections; duplicate keys are refused.

    Raises:
        SettingsError: It is no YAML, or has no sections.
        OSError: It cannot be read.
    """
    return _parse(_read_text(file), str(file))


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"expected YAML text in UTF-8, {error.reason}. Received: config={str(file)!r}") from error


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        values = yaml.load(text, _Loader)  # noqa: S506  # a subclass of SafeLoader
    except yaml.YAMLError as error:
        raise SettingsError(f"{origin} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{origin}: expected sections such as 'training:'. Received: {_describe(values)}")
    return values


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merges `over` into `base`. A section of another kind replaces the old one, except for the platform."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        if name == "platform":
            value, below = _same_platform_kind(value, below)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        if both and value.get("kind", below.get("kind")) == below.get("kind"):  # type: ignore[union-attr]  # both are mappings
            merged[name] = _merge(below, value)  # type: ignore[arg-type]
        else:
            merged[name] = value
    return merged


def _same_platform_kind(platform: Any, below: Any) -> tuple[Any, Any]:
    """Returns a platform and the section that it overrides, converted to the same kind.

    The conversion keeps all fields that were set for the other kind, so that validation refuses the ones that the new
    kind does not have, instead of dropping them silently.
    """
    platform = from_word(platform)
    if isinstance(platform, Mapping) and isinstance(below, Mapping):
        changed = {
            field: value
            for field, value in below.items()
            if field not in PLATFORM_DEFAULTS or value != PLATFORM_DEFAULTS[field]
        }
        kind = platform.get("kind", below.get("kind"))
        below = below if kind == below.get("kind") else {**changed, "kind": kind}
    return platform, below


def _assign(values: Mapping[str, Any], assignment: str) -> dict[str, Any]:
    """Applies one `section.field=value`; the value is YAML."""
    path, equals, text = assignment.partition("=")
    parts = path.strip().split(".")
    if not equals or not all(parts):
        raise SettingsError(f"expected section.field=value. Received: --set {assignment!r}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"the value is not YAML. Received: --set {assignment!r}") from error
    nested: Any = value
    for part in reversed(parts):
        nested = {part: nested}
    return _merge(_expand(values, parts), nested)


def assigned_fields(assignment: str) -> list[str]:
    """Returns the dotted names of the fields that one `section.field=value` sets; its value may be a mapping.

    Raises:
        SettingsError: It is not valid.
    """
    return list(flatten(_assign({}, assignment)))


def _selects_variant(assignment: str) -> bool:
    return assignment.partition("=")[0].strip().rpartition(".")[2] in VARIANT_FIELDS


def _expand(values: Mapping[str, Any], parts: list[str]) -> dict[str, Any]:
    """Turns bare words along a path into `{"kind": word}`, so that a field can be set beside them."""
    expanded = dict(values)
    if len(parts) > 1 and parts[0] in expanded:
        below = expanded[parts[0]]
        below = {"kind": below} if isinstance(below, str) else below
        expanded[parts[0]] = _expand(below, parts[1:]) if isinstance(below, Mapping) else below
    return expanded
