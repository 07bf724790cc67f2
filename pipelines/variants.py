"""The variants of a comparison, as people write them: on the command line, or in a file."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from ganlib.schema import Config, from_single, problems
from pipelines import settings
from pipelines.settings import SettingsError

NAMED = re.compile(r"(?P<name>[^\s:=]+):\s+(?P<rest>\S.*)")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=,+-]{0,79}")


class VariantSettings(Config):
    """A variant in a file: presets, and single settings."""

    preset: Annotated[tuple[str, ...], BeforeValidator(from_single)] = ()
    """Names of presets."""
    set: dict[str, Any] = Field(default={})
    """Settings by dotted name."""


class VariantFile(Config):
    """A file with variants."""

    variants: dict[str, VariantSettings] = Field(default={})
    """Variants by name."""
    grid: dict[str, list[Any]] = Field(default={})
    """Values of settings by dotted name. Each variant is tried with each combination of them."""


@dataclass(frozen=True)
class Variant:
    """Settings that are compared with others.

    Attributes:
        name: Its name.
        presets: Presets, which replace those of the same kind.
        assignments: Single fields, as `section.field=value`.
    """

    name: str
    presets: tuple[str, ...]
    assignments: tuple[str, ...]


def parse_variant(text: str) -> Variant:
    """Parses `[NAME:] [PRESET...] [SECTION.FIELD=VALUE...]`. The default name is the text.

    Raises:
        SettingsError: It names nothing, or the name is not valid.
    """
    named = NAMED.fullmatch(text.strip())
    words = (named["rest"] if named else text).split()
    presets = tuple(word for word in words if "=" not in word)
    assignments = tuple(word for word in words if "=" in word)
    if not words:
        raise SettingsError(f"expected a variant: presets and SECTION.FIELD=VALUE. Received: --variant {text!r}")
    return Variant(_checked(named["name"] if named else _default_name(presets, assignments)), presets, assignments)


def read_variants(path: Path) -> list[Variant]:
    """Reads variants from a YAML file, see `VariantFile`.

    Raises:
        SettingsError: The file is not valid.
    """
    values = settings.read_yaml(path)
    try:
        file = VariantFile.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{path}: {line}" for line in problems(error))) from error
    if not file.variants and not file.grid:
        raise SettingsError(f"{path}: expected variants, a grid, or both. Received: neither")
    variants = [
        Variant(_checked(name), one.preset, tuple(_assignment(*item) for item in one.set.items()))
        for name, one in file.variants.items()
    ] or [Variant("", (), ())]
    combinations = list(itertools.product(*(_choices(*item) for item in file.grid.items())))
    return [
        Variant(
            _checked(",".join(filter(None, [one.name, *map(_short, added)]))), one.presets, (*one.assignments, *added)
        )
        for one in variants
        for added in combinations
    ]


def _choices(field: str, values: Sequence[Any]) -> list[str]:
    if not values:
        raise SettingsError(f"grid: expected a list of values. Received: {field}=[]")
    return [_assignment(field, value) for value in values]


def _assignment(field: str, value: Any) -> str:
    try:
        return f"{field}={json.dumps(value, allow_nan=False)}"  # which is YAML, too
    except (TypeError, ValueError) as error:
        raise SettingsError(f"expected text, a number or a list. Received: {field}={value}") from error


def _short(assignment: str) -> str:
    """Returns an assignment without its section and without characters that names may not have."""
    field, _, value = assignment.partition("=")
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", value).strip("-") or "none"
    return f"{field.rpartition('.')[2]}={plain}"


def _default_name(presets: Sequence[str], assignments: Sequence[str]) -> str:
    return ",".join([*presets, *map(_short, assignments)])


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise SettingsError(
            "expected a name for a variant of at most 80 letters, digits and '.', '_', '=', ',', '+', '-'. Give one as "
            f"NAME: before its settings. Received: {name!r}"
        )
    return name
