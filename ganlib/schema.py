"""The base class of all configuration objects, and readable messages for validation errors."""

from __future__ import annotations

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
            message = "unknown option"
        if item["type"] == "missing":
            lines.append(f"{path}: this option is required. Received: nothing")
            continue
        if item["type"] == "union_tag_invalid":
            message = f"expected one of {item['ctx']['expected_tags']}"
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


def _location(parts: tuple[int | str, ...]) -> list[str]:
    """Removes the tags of tagged unions, which pydantic inserts between a field and its own fields."""
    tags = _kinds(Config)
    return [str(part) for position, part in enumerate(parts) if position == 0 or part not in tags]


def _kinds(base: type[Config]) -> set[Any]:
    """Returns the `kind` of all subclasses of a class."""
    own = {base.model_fields["kind"].default} if "kind" in base.model_fields else set()
    return own.union(*(_kinds(variant) for variant in base.__subclasses__()))
