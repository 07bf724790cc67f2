"""A compiled pipeline as a file: its documents, its parameters, and whether arguments fit them."""

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
from pipelines.settings import SettingsError, changed

RENAMED = {"export_settings": "export"}  # a parameter of the pipeline must not be called as its component's function
RENAMED_BACK = {section: name for name, section in RENAMED.items()}
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
        spec: The pipeline.
        pods: The second document, with what a Kubernetes cluster gives the steps.
    """

    spec: dict[str, Any]
    pods: dict[str, Any] | None

    @classmethod
    def read(cls, path: Path) -> Package:
        """Reads a file that `compile` or KFP's own compiler wrote.

        Raises:
            SettingsError: It is none.
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

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return str(self.spec["pipelineInfo"]["name"])

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Definitions of the pipeline's parameters."""
        return dict(self.spec["root"].get("inputDefinitions", {}).get("parameters", {}))

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the tasks; those within a loop stand for the loop, whose own name nobody has chosen."""
        return tuple(self._tasks(self.spec["root"]["dag"]))

    @property
    def parts(self) -> int | None:
        """Tasks that the preparation is spread over, if it is; the compiler has counted them."""
        for component in self.spec["components"].values():
            task = component.get("dag", {}).get("tasks", {}).get("prepare-part")
            if task is not None:
                return int(task["inputs"]["parameters"]["of"]["runtimeValue"]["constant"])
        return None

    @property
    def sections(self) -> dict[str, Any] | None:
        """The sections of the config that the file holds as defaults, if it is a pipeline of this project."""
        names = {name: RENAMED.get(name, name) for name in self.parameters}
        if set(names.values()) != set(RunConfig.model_fields):
            return None
        return {section: self.parameters[name].get("defaultValue", {}) for name, section in names.items()}

    @property
    def defaults(self) -> dict[str, Any]:
        """The values that the parameters have if nothing is said."""
        return {name: value["defaultValue"] for name, value in self.parameters.items() if "defaultValue" in value}

    def changed(self, assignments: Sequence[str]) -> dict[str, Any]:
        """Returns the sections in which `section.field=value` options change the file's defaults.

        Raises:
            SettingsError: Something is wrong with an option, or the pipeline is none of this project.
        """
        if not assignments:
            return {}
        if self.sections is None:
            raise SettingsError("this pipeline has no sections, expected --argument name=JSON. Received: --set")
        if any(assignment.startswith("platform") for assignment in assignments):
            raise SettingsError("the platform is part of the compiled file: compile anew. Received: --set platform...")
        values = arguments_of(changed(self.sections, assignments))
        return {name: value for name, value in values.items() if value != self.defaults.get(name)}

    def variable(self, name: str) -> str | None:
        """Returns the value of an environment variable of the steps."""
        executors = self.spec["deploymentSpec"].get("executors", {}).values()
        found = [
            item["value"]
            for one in executors
            for item in one.get("container", {}).get("env", ())
            if item["name"] == name
        ]
        return str(found[0]) if found else None

    def _tasks(self, dag: Mapping[str, Any]) -> Iterator[str]:
        for name, task in dag["tasks"].items():
            within = self.spec["components"][task["componentRef"]["name"]].get("dag")
            yield from [name] if within is None else self._tasks(within)

    def cached(self, enabled: bool) -> Package:
        """Returns the pipeline with every step taken from the cache where it can be, or with none."""
        spec = copy.deepcopy(self.spec)
        for owner in (spec["root"], *spec["components"].values()):
            for task in owner.get("dag", {}).get("tasks", {}).values():
                task["cachingOptions"] = {"enableCache": True} if enabled else {}
        return Package(spec, self.pods)

    def body(self) -> dict[str, Any]:
        """Returns what the server takes as `pipeline_spec`."""
        return self.spec if self.pods is None else {"pipeline_spec": self.spec, "platform_spec": self.pods}

    def arguments(self, given: Iterable[str]) -> dict[str, Any]:
        """Reads `name=JSON`; a parameter that is text takes the text as it stands.

        Where the file's training has a home, an argument without one keeps it: a run without checkpoints must be asked
        for, by `"home": null`.

        Raises:
            SettingsError: One is no such pair, or not JSON.
        """
        values: dict[str, Any] = {}
        for pair in given:
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
        """Refuses arguments that the server, or a step an hour later, would refuse.

        Raises:
            SettingsError: An argument is unknown, missing, of another type, or no such section; a line each.
        """
        known = self.parameters
        lines = [
            f"expected one of the pipeline's parameters {', '.join(known) or '(it has none)'}. Received: {name}"
            for name in arguments
            if name not in known
        ]
        for name, definition in known.items():
            if name in arguments:
                wanted, fits = TYPES.get(definition.get("parameterType", ""), ("", lambda _: True))
                if not fits(arguments[name]):
                    lines.append(f"{name}: expected {wanted}. Received: {name}={_shown(arguments[name])}")
            elif "defaultValue" not in definition and not definition.get("isOptional"):
                lines.append(f"{name}: this argument must be given. Received: nothing")
        if not lines and self.sections is not None:
            given = {RENAMED.get(name, name): value for name, value in arguments.items()}
            try:
                shards = RunConfig.model_validate({**self.sections, **given}).data.shards
            except ValidationError as error:
                lines = problems(error)
            else:
                if self.parts is not None and shards != self.parts:
                    told = f"this pipeline has {self.parts} tasks of one shard each: compile anew for another number"
                    lines = [f"data.shards: {told}. Received: shards={shards}"]
        if lines:
            raise SettingsError("\n".join(lines))


def arguments_of(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Returns a config as arguments of this project's pipeline."""
    return {RENAMED_BACK.get(section, section): value for section, value in config.to_parameters().items()}


def check_apart(assignments: Iterable[str], given: Iterable[str]) -> None:
    """Refuses a single field beside its whole section, of which one would go without a word.

    Args:
        assignments: `section.field=value`.
        given: `name=JSON`.

    Raises:
        SettingsError: Both name a section.
    """
    sections = {assignment.partition("=")[0].partition(".")[0].strip() for assignment in assignments}
    names = {RENAMED.get(name, name) for name in (pair.partition("=")[0] for pair in given)}
    if both := sorted(sections & names):
        raise SettingsError(f"expected --set or --argument for a section. Received: both for {both[0]}")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
