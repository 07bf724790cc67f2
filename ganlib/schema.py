"""The base class of all configuration objects, and readable messages for validation errors."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ganlib import storage

MAX_SHOWN = 80
PACKAGE = Path(__file__).parent
READ: dict[str, Any] = {"format": "path"}
"""Marks a field that names what is read, a path or an address: `Field(json_schema_extra=READ)`."""


class Config(BaseModel):
    """The base class of settings: frozen, validated, serializable as JSON. Unknown keys are refused.

    The docstring below a field is its documentation. The command line, the JSON Schema and the KFP form all show it.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    def to_parameter(self) -> dict[str, Any]:
        """Returns the JSON form for a KFP parameter.

        Fields that are None are omitted, because KFP refuses `None` inside a dict. So every optional field must have
        `None` as its default.
        """
        return self.model_dump(mode="json", exclude_none=True)

    def without_defaults(self) -> dict[str, Any]:
        """Returns the JSON form without fields that have their default, except for the `kind` of a variant.

        A parameter with many configs stays short, for limits of Kubernetes.
        """
        full = self.to_parameter()
        short: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name == "kind" or value != field.default:
                inner = value.without_defaults() if isinstance(value, Config) else full.get(name)
                short |= {} if inner is None else {name: inner}
        return short

    @property
    def locations(self) -> dict[str, str]:
        """The paths and addresses that are read, by the dotted names of their fields, those of inner sections too."""
        found: dict[str, str] = {}
        for name, value in self._read():
            if isinstance(value, Config):
                found |= {f"{name}.{inner}": location for inner, location in value.locations.items()}
            else:
                found[name] = value
        return found

    def check_locations(self) -> None:
        """Checks that the paths that are read exist on this machine. Addresses are not checked.

        Raises:
            ValueError: A path does not exist; the message begins with the dotted name of its field.
        """
        for field, location in self.locations.items():
            if not storage.is_remote(location) and not storage.local_path(location).exists():
                name = field.rpartition(".")[2]
                raise ValueError(f"{field}: no such file or folder. Received: {name}={location!r}")

    def pinned(self) -> Self:
        """Returns the settings for other processes: with absolute paths, and checksums of what is read.

        Addresses are unchanged. A checksum is filled in where there is a field for it, so that a step whose files have
        changed is not taken from the cache.
        """
        return self.model_copy(
            update={
                name: value.pinned() if isinstance(value, Config) else storage.absolute(value)
                for name, value in self._read()
            }
        )

    def _read(self) -> list[tuple[str, Any]]:
        """Returns the inner sections, and the values of the fields that name what is read."""
        fields = type(self).model_fields
        values = [(name, getattr(self, name)) for name in fields]
        return [
            (name, value)
            for name, value in values
            if isinstance(value, Config) or (value is not None and fields[name].json_schema_extra == READ)
        ]


def from_word(value: object) -> object:
    """Converts a plain name to a variant: `objective=minimax` means `{"kind": "minimax"}`."""
    return {"kind": value} if isinstance(value, str) else value


def from_single(value: object) -> object:
    """Converts a plain name to a list of one item: `training.augmentation=cutout`."""
    return [value] if isinstance(value, str) else value


def parse(kind: Any, value: object) -> Any:
    """Reads an object of a type, such as `AnyObjective`, from its JSON form.

    Raises:
        pydantic.ValidationError: The value does not fit the type.
    """
    return TypeAdapter(kind).validate_python(value)


def is_own_error(error: Exception) -> bool:
    """Returns whether an error comes from a `raise` of this package, so that its message is meant for the user."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return PACKAGE in Path(last.filename).parents and (last.line or "").startswith("raise")


def problems(error: ValidationError, *, prefix: str = "") -> list[str]:
    """Converts a validation error to one line per mistake, each with the name of its field.

    Args:
        error: The error that pydantic raised.
        prefix: Dotted path to put before every field name.

    Returns:
        Lines of the form `section.field: what was expected. Received: field=value`.
    """
    lines = []
    for item in error.errors(include_url=False):
        path = ".".join([*([prefix] if prefix else []), *_location(item["loc"])])
        message = item["msg"].removeprefix("Value error, ").rstrip(".")
        if item["type"] == "extra_forbidden":
            *parents, name = item["loc"]
            message = f"unknown option{did_you_mean(str(name), _fields(error.title, parents))}"
        if item["type"] == "missing":
            lines.append(f"{path}: this option is required. Received: nothing")
            continue
        if item["type"] == "union_tag_invalid":
            tags = item["ctx"]["expected_tags"]
            hint = did_you_mean(str(item["ctx"]["tag"]), [tag.strip(" '") for tag in tags.split(",")])
            message = f"expected one of {tags}{hint}"
        if item["type"] in ("model_type", "model_attributes_type"):
            message = "expected a section with fields"
        if item["type"] == "tuple_type":
            message = "expected a list"
        if item["type"] == "union_tag_not_found":
            message = "expected `kind`, the variant's name"
        if item["type"] == "value_error" and "Received:" in message:
            lines += [f"{path}: {line}" if path else line for line in message.splitlines()]
            continue
        shown = repr(item["input"])
        shown = shown if len(shown) <= MAX_SHOWN else shown[: MAX_SHOWN - 3] + "..."
        lines.append(f"{path}: {message}. Received: {path.rpartition('.')[2]}={shown}")
    return lines


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns a hint at the known word that a word resembles, to be put after a message; empty if there is none."""
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _fields(title: str, parents: Sequence[int | str]) -> list[str]:
    """Returns the names of the fields of a section.

    Args:
        title: Name of the class of the whole config.
        parents: Where the section is in it, with the tags of tagged unions.
    """
    classes = _classes(Config)
    owner = next((one for one in classes if one.__name__ == title), None)
    for part in parents:
        field = owner.model_fields.get(str(part)) if owner is not None else None
        if field is None:  # the tag of a union
            owner = next((one for one in classes if part in _kind(one)), None)
        else:
            section = field.annotation
            owner = section if isinstance(section, type) and issubclass(section, Config) else None
    return list(owner.model_fields) if owner is not None else []


def _location(parts: tuple[int | str, ...]) -> list[str]:
    """Removes the tags of tagged unions, which pydantic inserts between a field and its own fields."""
    tags = set().union(*map(_kind, _classes(Config)))
    return [str(part) for position, part in enumerate(parts) if position == 0 or part not in tags]


def _classes(base: type[Config]) -> list[type[Config]]:
    """Returns all subclasses of a class."""
    return [one for child in base.__subclasses__() for one in (child, *_classes(child))]


def _kind(section: type[Config]) -> set[Any]:
    """Returns the `kind` of a class, if it has one."""
    return {section.model_fields["kind"].default} if "kind" in section.model_fields else set()
