"""The types of the fields of the section `platform`: quantities, names and labels of Kubernetes, and values by step."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

Step = Literal[
    "check_inputs",
    "prepare_data",
    "measure_reference",
    "train_gan",
    "evaluate_gan",
    "export_model",
    "gate_model",
    "register_model",
]
Scope = Literal[Step, "others"]


def split_address(text: str) -> SplitResult | None:
    """Returns the parts of an http:// or https:// address, or None for anything else."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # not a valid port, or unbalanced brackets
        valid = False
    return parts if valid else None


def as_text(value: object) -> object:
    """Accepts a number as a quantity: `platform.cpu=4`."""
    return format(value, "g") if isinstance(value, int | float) and not isinstance(value, bool) else value


def for_all_steps(value: object) -> object:
    """Accepts one value for all steps: `platform.cpu=4` becomes `{"others": 4}`."""
    return value if isinstance(value, dict) else {"others": value}


def labels_for_all_steps(value: object) -> object:
    """Accepts the labels of all steps: `{pool: gan}` becomes `{"others": {"pool": "gan"}}`."""
    if not isinstance(value, dict) or all(isinstance(labels, dict) for labels in value.values()):
        return value
    if any(isinstance(labels, dict) for labels in value.values()) or value.keys() & set(get_args(Scope)):
        raise ValueError(f"expected labels of all steps, or of each step, with others for the rest. Received: {value}")
    return {"others": value}


@dataclass(frozen=True)
class _Pattern:
    """Validates text with a pattern. The error message describes it in words; the JSON Schema has the pattern."""

    pattern: str
    description: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^({self.pattern})$"}

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            raise ValueError(f"expected {self.description}")
        return value


def _check_secret_version(value: str) -> str:
    """Refuses what is not the name of a secret. It may be the secret itself, so it is not shown."""
    if not re.fullmatch(VERSION, value):
        raise ValueError("expected projects/PROJECT/secrets/SECRET/versions/VERSION. Received: another text")
    return value


NAME, PREFIX = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?"
CPU, MEMORY = r"[1-9][0-9]*(\.[0-9]+)?|0\.[0-9]*[1-9]|[1-9][0-9]*m", r"[1-9][0-9]*([EPTGM]i?|Ki)"
Cpu = Annotated[str, BeforeValidator(as_text), _Pattern(CPU, "a number of processors such as 4, 0.5 or 500m")]
Memory = Annotated[str, BeforeValidator(as_text), _Pattern(MEMORY, "an amount with a unit, such as 16Gi or 500Mi")]
LabelKey = Annotated[str, _Pattern(f"{PREFIX}{NAME}", "a label key, such as team or example.com/team")]
LabelValue = Annotated[str, BeforeValidator(as_text), _Pattern(f"({NAME})?", "a label value of letters, digits, - _ .")]
# These names become names of volumes, which must not have dots.
OBJECT = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
ObjectName = Annotated[str, _Pattern(OBJECT, "a name of at most 63 lowercase letters, digits and -")]
SecretName = Annotated[
    str, _Pattern(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9.]*[a-z0-9])?", "a name of lowercase letters, digits, - and dots")
]
Key = Annotated[str, _Pattern(r"[-._A-Za-z0-9]{1,253}", "a key of letters, digits, - _ .")]
MlflowVariable = Annotated[str, _Pattern("MLFLOW_[A-Z0-9_]+", "an environment variable of MLflow, MLFLOW_...")]
VERSION = r"projects/[-a-z0-9:.]+/secrets/[-A-Za-z0-9_]+/versions/([0-9]+|latest|[a-zA-Z][-A-Za-z0-9_]*)"
SecretVersion = Annotated[str, AfterValidator(_check_secret_version)]
UserId = Annotated[int, Field(ge=0, lt=2**31)]
