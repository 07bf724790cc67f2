"""The base class of all configuration objects, and readable messages for validation errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

MAX_SHOWN = 80


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
