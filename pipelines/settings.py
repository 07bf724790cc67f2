"""From a preset, a file and options to one typed config, with all mistakes told at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ganlib import storage
from ganlib.config import RunConfig
from ganlib.schema import from_word, problems
from pipelines.kubeflow.platform import PipelineConfig

DEFAULT_PRESET = "digits"
DIGEST_DIGITS = 6
KINDS = ("data", "game", "scores")  # of presets
OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")
VARIANT_FIELDS = ("kind", "source", "platform", "task", "model", "objective", "extractor", *OPTIMIZERS)
UNSAID = PipelineConfig().platform.model_dump(mode="json")  # what a platform's section holds if nothing is said


class SettingsError(ValueError):
    """The user's settings cannot be used; one line a mistake."""


def presets() -> dict[str, str]:
    """Returns the text of every preset by its name."""
    files = {file.stem: file for file in Path(__file__).with_name("presets").glob("*.yaml")}
    return {name: files[name].read_text(encoding="utf-8") for name in sorted(files)}


def resolve(*, chosen: Sequence[str], files: Sequence[Path] = (), assignments: Iterable[str]) -> PipelineConfig:
    """Puts presets, files and `section.field=value` options over each other, in this order.

    Args:
        chosen: Names of presets.
        files: YAML files with sections.
        assignments: Single fields.

    Raises:
        SettingsError: Anything is wrong with any of them.
    """
    # The defaults lie below everything, so that a field of the default variant can be set by itself.
    values: dict[str, Any] = PipelineConfig().to_sections()
    layers = [_preset(name) for name in ordered(chosen, alone=not files)]
    if len({preset_kind(layer) for layer in layers}) < len(layers):
        raise SettingsError(
            "expected at most one preset of data, one of a game (a game's parts are set by task, model and objective) "
            f"and one of scores. Received: preset={', '.join(chosen)}"
        )
    for layer in layers:
        values = _merged(values, layer)
    for file in files:
        values = _merged(values, _mapping(_text(file), str(file)))
    return changed(values, assignments)


def changed(values: Mapping[str, Any], assignments: Iterable[str]) -> PipelineConfig:
    """Puts `section.field=value` options over sections.

    Args:
        values: One mapping a section.
        assignments: Single fields.

    Raises:
        SettingsError: Anything is wrong with any of them.
    """
    # What names a variant goes first: another variant takes the fields of the one before away.
    for assignment in sorted(assignments, key=_names_no_variant):
        values = _assigned(values, assignment)
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(problems(error))) from error


def ordered(chosen: Sequence[str], *, alone: bool) -> list[str]:
    """Returns the presets in the order in which each is put over the one before: data, game, scores.

    Args:
        chosen: Names of presets.
        alone: No file says what the data is, so it is the embedded digits where no preset does either.

    Raises:
        SettingsError: There is no such preset.
    """
    kinds = {name: preset_kind(_preset(name)) for name in chosen}
    missing = [DEFAULT_PRESET] if chosen and alone and "data" not in kinds.values() else []
    return [*missing, *sorted(chosen, key=lambda name: KINDS.index(kinds[name]))]


def digest(config: RunConfig) -> str:
    """Returns a few digits that tell configs apart."""
    return hashlib.sha256(storage.canonical_json(config.to_parameters()).encode()).hexdigest()[:DIGEST_DIGITS]


def preset_kind(preset: Mapping[str, Any]) -> str:
    """Returns which of `KINDS` a preset is."""
    return "data" if "data" in preset else "scores" if preset.keys() == {"evaluation"} else "game"


def _preset(name: str) -> dict[str, Any]:
    known = presets()
    if name not in known:
        raise SettingsError(f"expected one of the presets {', '.join(known)}. Received: preset={name!r}")
    return _mapping(known[name], f"preset {name}")


def _kind(value: object) -> str:
    words = {"NoneType": "nothing", "str": "text", "list": "a list"}
    return words.get(type(value).__name__, f"{value!r}")


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML's own loader takes the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT002  # YAML's own signature
        """Reads a mapping."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key.value, str):  # a mapping as a key, which the base class refuses
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"expected YAML text in UTF-8, {error.reason}. Received: config={str(file)!r}") from error


def _mapping(text: str, origin: str) -> dict[str, Any]:
    try:
        values = yaml.load(text, _Loader)  # noqa: S506  # a safe one
    except yaml.YAMLError as error:
        raise SettingsError(f"{origin} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{origin}: expected sections such as 'training:'. Received: {_kind(values)}")
    return values


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Puts one mapping over another; a section of another kind replaces the one below whole, but for the platform's."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        if name == "platform":
            value, below = _of_one_kind(value, below)
        alike = isinstance(value, Mapping) and isinstance(below, Mapping)
        if alike and value.get("kind", below.get("kind")) == below.get("kind"):  # type: ignore[union-attr]  # both are mappings
            merged[name] = _merged(below, value)  # type: ignore[arg-type]
        else:
            merged[name] = value
    return merged


def _of_one_kind(platform: Any, below: Any) -> tuple[Any, Any]:
    """Returns a platform and what lies below it, which keeps all that was said of another kind.

    What a file says of one platform must not go without a word where another one is chosen: it is refused where it
    means nothing there.
    """
    platform = from_word(platform)
    if isinstance(platform, Mapping) and isinstance(below, Mapping):
        said = {field: value for field, value in below.items() if value != UNSAID.get(field, UNSAID)}
        kind = platform.get("kind", below.get("kind"))
        below = below if kind == below.get("kind") else {**said, "kind": kind}
    return platform, below


def _assigned(values: Mapping[str, Any], assignment: str) -> dict[str, Any]:
    """Applies one `section.field=value`; the value is read as YAML."""
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
    return _merged(_expanded(values, parts), nested)


def _names_no_variant(assignment: str) -> bool:
    return assignment.partition("=")[0].strip().rpartition(".")[2] not in VARIANT_FIELDS


def _expanded(values: Mapping[str, Any], parts: list[str]) -> dict[str, Any]:
    """Writes bare words along a path out, so that a field can be set beside them."""
    expanded = dict(values)
    if len(parts) > 1 and parts[0] in expanded:
        below = expanded[parts[0]]
        below = {"kind": below} if isinstance(below, str) else below
        expanded[parts[0]] = _expanded(below, parts[1:]) if isinstance(below, Mapping) else below
    return expanded
