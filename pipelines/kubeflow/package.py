"""Compiled pipelines: reading the file, changing its defaults, and checking arguments."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ganlib.config import RunConfig
from ganlib.schema import MAX_SHOWN, problems
from ganlib.workers import WORKERS_VARIABLE, Workers
from pipelines.kubeflow.fixed import GATE, REGISTER, check_export, check_fixed
from pipelines.settings import SettingsError, override

SECTION_NAMES = {"export_settings": "export"}  # a parameter must not have the name of a component's function
CHECK = "comp-check-inputs"
PARAMETER_NAMES = {section: name for name, section in SECTION_NAMES.items()}
TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "STRUCT": ("an object", lambda value: isinstance(value, dict)),
    "LIST": ("a list", lambda value: isinstance(value, list)),
    "STRING": ("text", lambda value: isinstance(value, str)),
    "BOOLEAN": ("true or false", lambda value: isinstance(value, bool)),
    "NUMBER_DOUBLE": ("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
    "NUMBER_INTEGER": (
        "a whole number",
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value == int(value),
    ),
}


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        spec: Specification of the pipeline.
        pods: Second document of the file with the pod settings for Kubernetes, if there is one.
    """

    spec: dict[str, Any]
    pods: dict[str, Any] | None

    @classmethod
    def read(cls, path: Path) -> Package:
        """Reads a file from `compile` or from KFP's compiler.

        Raises:
            SettingsError: The file is not a compiled pipeline.
        """
        try:
            documents = [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
        specs = [document for document in documents if isinstance(document, dict) and "pipelineInfo" in document]
        others = [document for document in documents if document not in specs]
        if len(specs) != 1 or len(others) > 1 or not all("platforms" in document for document in others):
            raise SettingsError(
                "expected a compiled pipeline: one document with pipelineInfo and at most one with platforms. "
                f"Received: {path} with {len(documents)} documents"
            )
        return cls(specs[0], others[0] if others else None)

    @classmethod
    def from_body(cls, body: Any) -> Package:
        """Returns the pipeline in a `pipeline_spec` of the server, with or without settings of pods beside it.

        Raises:
            SettingsError: It is no compiled pipeline.
        """
        inner = body.get("pipeline_spec", body) if isinstance(body, dict) else {}
        if not isinstance(inner, dict) or "pipelineInfo" not in inner:
            raise SettingsError("the server has no compiled pipeline of KFP v2 for this run")
        return cls(inner, body.get("platform_spec"))

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return str(self.spec["pipelineInfo"]["name"])

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Definitions of the parameters, by name."""
        return dict(self.spec["root"].get("inputDefinitions", {}).get("parameters", {}))

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the tasks. A loop is replaced by its tasks, because its own name is generated."""
        return tuple(self._tasks(self.spec["root"]["dag"]))

    @property
    def prepare_tasks(self) -> int | None:
        """Number of tasks that prepare the images, fixed at compile time; None if one step does."""
        for component in self.spec["components"].values():
            task = component.get("dag", {}).get("tasks", {}).get("prepare-part")
            if task is not None:
                return int(task["inputs"]["parameters"]["of"]["runtimeValue"]["constant"])
        return None

    @property
    def sections(self) -> dict[str, Any] | None:
        """Sections of the config in the defaults of the file; None for a pipeline of another project."""
        names = {name: SECTION_NAMES.get(name, name) for name in self.parameters}
        if set(names.values()) != set(RunConfig.model_fields):
            return None
        return {section: self.parameters[name].get("defaultValue", {}) for name, section in names.items()}

    @property
    def defaults(self) -> dict[str, Any]:
        """Default values of the parameters."""
        return {name: value["defaultValue"] for name, value in self.parameters.items() if "defaultValue" in value}

    def override(self, assignments: Sequence[str]) -> dict[str, Any]:
        """Returns the sections whose defaults are changed by `section.field=value` options.

        Raises:
            SettingsError: An option is not valid, or the pipeline is of another project.
        """
        if not assignments:
            return {}
        if self.sections is None:
            raise SettingsError("this pipeline has no sections, expected --argument name=JSON. Received: --set")
        if any(assignment.startswith("platform") for assignment in assignments):
            raise SettingsError(
                "the platform is fixed in the compiled file: compile it again. Received: --set platform..."
            )
        values = to_arguments(override(self.sections, assignments))
        return {name: value for name, value in values.items() if value != self.defaults.get(name)}

    def variable(self, name: str) -> str | None:
        """Returns the value of an environment variable of the steps, or None."""
        executors = self.spec["deploymentSpec"].get("executors", {}).values()
        values = [
            item["value"]
            for executor in executors
            for item in executor.get("container", {}).get("env", ())
            if item["name"] == name
        ]
        return str(values[0]) if values else None

    def _tasks(self, dag: Mapping[str, Any]) -> Iterator[str]:
        for name, task in dag["tasks"].items():
            inner = self.spec["components"][task["componentRef"]["name"]].get("dag")
            yield from [name] if inner is None else self._tasks(inner)

    @property
    def notices_changes(self) -> bool:
        """Whether a step of each run looks for changed images, so that the cache serves none of earlier ones."""
        return CHECK in self.spec["components"]

    def with_cache(self, enabled: bool) -> Package:
        """Returns a copy of the pipeline whose steps all use the cache, or never use it.

        The steps that look for changed images and for the champion never do.
        """
        spec = copy.deepcopy(self.spec)
        for owner in (spec["root"], *spec["components"].values()):
            for task in owner.get("dag", {}).get("tasks", {}).values():
                cached = enabled and task["componentRef"]["name"] not in (CHECK, GATE, REGISTER)
                task["cachingOptions"] = {"enableCache": True} if cached else {}
        return Package(spec, self.pods)

    def body(self) -> dict[str, Any]:
        """Returns the `pipeline_spec` of a request."""
        return self.spec if self.pods is None else {"pipeline_spec": self.spec, "platform_spec": self.pods}

    def parse_arguments(self, pairs: Iterable[str]) -> dict[str, Any]:
        """Parses `name=JSON` arguments. Values of text parameters are used as they are, without JSON.

        If the default of `training` has a home, an argument without one keeps it. Use `"home": null` for a run without
        checkpoints.

        Raises:
            SettingsError: An argument is not `name=JSON`.
        """
        values: dict[str, Any] = {}
        for pair in pairs:
            name, equals, text = pair.partition("=")
            if not equals or not name:
                raise SettingsError(f"expected name=JSON. Received: --argument {pair!r}")
            if name in values:
                raise SettingsError(f"expected one value for a parameter. Received: --argument {name}=... twice")
            if self.parameters.get(name, {}).get("parameterType") == "STRING":
                values[name] = text
                continue
            try:
                values[name] = json.loads(text)
            except ValueError as error:
                raise SettingsError(f"the value is not JSON: {error}. Received: --argument {pair!r}") from error
        home = (self.sections or {}).get("training", {}).get("home")
        if home is not None and isinstance(values.get("training"), dict):
            values["training"].setdefault("home", home)
        return values

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Checks arguments now, because otherwise a step might fail hours later.

        Raises:
            SettingsError: Arguments are unknown, missing, of another type or not valid; one line for each.
        """
        known = self.parameters
        lines = [
            f"expected one of the pipeline's parameters {', '.join(known) or '(it has none)'}. Received: {name}"
            for name in arguments
            if name not in known
        ]
        for name, definition in known.items():
            if name in arguments:
                expected, fits = TYPES.get(definition.get("parameterType", ""), ("", lambda _: True))
                if not fits(arguments[name]):
                    lines.append(f"{name}: expected {expected}. Received: {name}={_shorten(arguments[name])}")
            elif "defaultValue" not in definition and not definition.get("isOptional"):
                lines.append(f"{name}: this argument must be given. Received: nothing")
        if not lines:
            sections = {SECTION_NAMES.get(name, name): value for name, value in arguments.items()}
            try:
                if self.sections is not None:
                    config = RunConfig.model_validate({**self.sections, **sections})
                    text = self.variable(WORKERS_VARIABLE)
                    workers = None if text is None else Workers.model_validate_json(text)
                    check_fixed(config, tasks=self.prepare_tasks, workers=workers)
                check_export(arguments, steps=self.spec["components"])
            except ValidationError as error:
                lines = problems(error)
            except ValueError as error:
                lines = [str(error)]
        if lines:
            raise SettingsError("\n".join(lines))


def to_arguments(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Converts a config to arguments of the training pipeline."""
    return {PARAMETER_NAMES.get(section, section): value for section, value in config.to_parameters().items()}


def check_conflicts(assignments: Iterable[str], arguments: Iterable[str]) -> None:
    """Refuses --set and --argument for the same section, because one would override the other.

    Args:
        assignments: Values of --set, `section.field=value`.
        arguments: Values of --argument, `name=JSON`.

    Raises:
        SettingsError: Both set the same section.
    """
    sections = {assignment.partition("=")[0].partition(".")[0].strip() for assignment in assignments}
    names = {SECTION_NAMES.get(name, name) for name in (pair.partition("=")[0] for pair in arguments)}
    if both := sorted(sections & names):
        raise SettingsError(f"expected either --set or --argument for a section. Received: both for {both[0]}")


def _shorten(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
