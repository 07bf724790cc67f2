"""Registers an exported model as a version in MLflow, and promotes it if the gate says so."""

from __future__ import annotations

import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganlib import storage
from ganlib.environment import escape_output
from ganlib.evaluation.scores import protocol_id
from ganlib.export.description import describe
from ganlib.export.facts import digest, read_challenger, read_facts
from ganlib.export.gate import decide
from ganlib.export.promotion import ROLLED_BACK, ChampionChanged, promote
from ganlib.export.registry import CHALLENGER, CHAMPION, Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ganlib.export.config import ExportConfig
    from ganlib.selection.verdict import Verdict

FILE = "registration.json"
ATTEMPTS = 3  # comparisons with a champion that has changed
SAMPLES = "samples.png"


@dataclass(frozen=True)
class Registration:
    """What became of a model in the registry.

    Attributes:
        name: Name of the registered model.
        version: Its version.
        promoted: Whether it is the champion now.
        summary: What happened, in one sentence.
        champion: The champion now, if there is one.
        run_id: The MLflow run of the model.
    """

    name: str
    version: str
    promoted: bool
    summary: str
    champion: str | None
    run_id: str

    @property
    def uri(self) -> str:
        """The address of the version."""
        return f"models:/{self.name}/{self.version}"

    def to_json(self) -> dict[str, Any]:
        """Returns all of it as JSON, which is also the metadata of a KFP artifact."""
        return {**asdict(self), "uri": self.uri}


@escape_output()
def register(exported: Path, verdict: Verdict, config: ExportConfig, output: Path) -> Registration:
    """Registers an exported model as a version with the alias `challenger`, and as `champion` if it passed the gate.

    Repeating it changes nothing: a model has one version, and a promotion that was interrupted is completed. If the
    champion has changed since the verdict, the model is compared with the new one, at most three times.

    Args:
        exported: Folder of the exported model.
        verdict: The verdict of the gate on it.
        config: Name of the registered model, and thresholds.
        output: Folder to write `registration.json` to.

    Raises:
        RuntimeError: The registry cannot be used.
        ValueError: The verdict is about another model, or there is no name.
    """
    if config.registered_model is None:
        raise ValueError("expected export.registered_model, the name of a model in the registry. Received: none")
    expected, received = read_facts(exported)["generator"]["sha256"], verdict.model.get("sha256")
    if expected != received:
        raise ValueError(f"expected a verdict on this model, {expected}. Received: sha256={received!r}")
    registry = Registry(config.registered_model)
    number = add(registry, exported, verdict)
    rolled_back = registry.version(number).tags.get(ROLLED_BACK)
    if verdict.decision == "refuse":
        summary = f"is the challenger: {verdict.summary}"
    elif rolled_back:
        summary = f"passed, but was rolled back, so only `gan-pipelines promote` can promote it again ({rolled_back})"
    else:
        summary = _promote(registry, number, exported, verdict, config)
    champion = registry.aliases().get(CHAMPION)
    result = Registration(
        name=registry.name,
        version=number,
        promoted=champion == number,
        summary=f"version {number} of {registry.name} {summary}",
        champion=champion,
        run_id=registry.version(number).run_id,
    )
    output.mkdir(parents=True, exist_ok=True)
    storage.write_json(output / FILE, result.to_json())
    print(f"register: {result.summary}", flush=True)
    return result


def add(registry: Registry, exported: Path, verdict: Verdict) -> str:
    """Registers a model with the alias `challenger`, and returns the number of its version."""
    tags = _tags(exported, verdict)
    version = registry.add(exported, digest=digest(exported), tags=tags)
    registry.describe(version.number, describe(exported, verdict, picture=registry.picture(version.number, SAMPLES)))
    registry.point(CHALLENGER, version.number)
    return version.number


def _promote(registry: Registry, number: str, exported: Path, verdict: Verdict, config: ExportConfig) -> str:
    """Promotes a version that has passed, and returns what happened."""
    told = ""
    for _ in range(ATTEMPTS):
        try:
            promote(registry, number, expected=verdict.champion)
        except ChampionChanged as error:
            told = f"{error}. Compared again: "
            print(f"register: {error}; comparing again", flush=True)
            verdict = decide(exported, config)
            registry.tag(number, verdict_tags(verdict))
            if verdict.decision == "refuse":
                return f"is not promoted: {told}{verdict.summary}"
        else:
            before = f", instead of version {verdict.champion}" if verdict.champion else ", the first one"
            return f"is the champion now{before}. {told}{verdict.summary}"
    return f"is not promoted: {told}others are promoted all the time"


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """Returns a verdict as tags."""
    return {
        "gate.verdict": verdict.decision,
        "gate.reasons": verdict.tag,
        "gate.compared_with": verdict.champion or "none",
    }


def _tags(exported: Path, verdict: Verdict) -> dict[str, str]:
    """Returns the tags of a version. Their names are short, because MLflow's list of versions cuts them."""
    facts, evaluation = read_facts(exported), read_challenger(exported).evaluation
    return {
        **verdict_tags(verdict),
        "scores": "\n".join(f"{score.name} {score.text}" for score in evaluation.scores),
        "protocol": protocol_id(evaluation.protocol),
        "data": str(facts["dataset"]),
        "data.sha256": str(facts["dataset_sha256"]),
        "run": str(facts["run"]),
        "step": str(facts["generator"]["step"]),
        "gan-pipelines": str(facts["gan_pipelines"]),
        **_commit(),
    }


def _commit() -> Mapping[str, str]:
    """Returns the commit of the project as a tag, if it runs from a checkout."""
    root = Path(storage.__file__).parents[1]
    if not (root / ".git").exists():
        return {}
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603  # fixed
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"git.commit": done.stdout.strip()}
