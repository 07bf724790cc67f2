"""Registers an exported model as a version in MLflow, and promotes it if the gate says so."""

from __future__ import annotations

import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganlib import storage
from ganlib.environment import escape_output
from ganlib.evaluation.scores import protocol_id
from ganlib.export.description import describe
from ganlib.export.facts import digest, read_challenger, read_facts
from ganlib.export.gate import decide, save
from ganlib.export.history import (
    NOBODY,
    REPLACED,
    is_being_rolled_back,
    rolled_back,
    successor,
    with_same_networks,
)
from ganlib.export.promotion import ChampionChanged, promote
from ganlib.export.registry import CHALLENGER, CHAMPION, THRESHOLDS_TAG, TOLERANCE_TAG, WEIGHTS_TAG, Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ganlib.export.config import ExportConfig
    from ganlib.selection.verdict import Decision, Verdict

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
        decision: `promote` if it passed and is the champion now, else `refuse`.
        summary: What happened, in one sentence.
        champion: The champion now, if there is one.
        run_id: The MLflow run of the model.
    """

    name: str
    version: str
    promoted: bool
    decision: Decision
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

    Repeating it changes nothing: a model has one version, which is promoted once, and a promotion that was interrupted
    is completed. If the champion has changed since the verdict, the model is compared with the new one, at most three
    times. The verdict that counts in the end is written to `output`, and to MLflow.

    Args:
        exported: Folder of the exported model.
        verdict: The verdict of the gate on it.
        config: Name of the registered model, and thresholds.
        output: Folder to write `registration.json` and the verdict to.

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
    final, summary = _promote_or_refuse(registry, number, exported, verdict, config)
    save(final, output, exported=None if final == verdict else exported)
    if final != verdict:
        describe_version(registry, number, exported, final)
    champion = registry.aliases().get(CHAMPION)
    result = Registration(
        name=registry.name,
        version=number,
        promoted=champion == number,
        decision=final.decision,
        summary=f"version {number} of {registry.name} {summary}",
        champion=champion,
        run_id=registry.version(number).run_id,
    )
    storage.write_json(output / FILE, result.to_json())
    print(f"register: {result.summary}", flush=True)
    return result


def add(registry: Registry, exported: Path, verdict: Verdict) -> str:
    """Registers a model, with the alias `challenger` unless there is a newer one, and returns its version's number."""
    number = registry.add(exported, digest=digest(exported), tags=_tags(exported)).number
    describe_version(registry, number, exported, verdict)
    newest = registry.aliases().get(CHALLENGER)
    if newest is None or int(newest) < int(number):
        registry.point(CHALLENGER, number)
    return number


def describe_version(registry: Registry, number: str, exported: Path, verdict: Verdict) -> None:
    """Writes a verdict into the tags and the description of a version."""
    registry.tag(number, verdict_tags(verdict))
    registry.describe(number, describe(exported, verdict, picture=registry.picture(number, SAMPLES)))


def _promote_or_refuse(
    registry: Registry, number: str, exported: Path, verdict: Verdict, config: ExportConfig
) -> tuple[Verdict, str]:
    """Promotes a version if it may be, and returns the verdict that counts in the end, and what happened."""
    aliases = registry.aliases()
    serves, by_hand = aliases.get(CHAMPION) == number, "so only `gan-pipelines promote` can promote it again"
    if verdict.decision == "refuse" and serves:
        advice = f"`gan-pipelines rollback {registry.name}` takes it back"
        return verdict, f"stays the champion, but would not become it today: {verdict.summary}. {advice}"
    if verdict.decision == "refuse":
        place = "is the challenger" if aliases.get(CHALLENGER) == number else "is no newer than the challenger"
        return verdict, f"{place}: {verdict.summary}"
    if serves and is_being_rolled_back(registry, number):
        why = f"it passed, but its rollback is not complete; `gan-pipelines rollback {registry.name}` completes it"
        return _refuse(verdict, why, place="stays the champion until then")
    alike = [] if serves else with_same_networks(registry, number)
    if when := rolled_back(alike, number):
        return _refuse(verdict, f"it passed, but was rolled back, {by_hand} ({when})")
    for version in reversed(alike):
        if newer := successor(registry, version.number):
            what = "it" if version.number == number else f"version {version.number}, which has the same networks"
            return _refuse(verdict, f"it passed, but version {newer} has replaced {what}, {by_hand}")
    return _promote(registry, number, exported, verdict, config)


def _refuse(verdict: Verdict, why: str, *, place: str = "is not promoted") -> tuple[Verdict, str]:
    return replace(verdict, decision="refuse", summary=f"REFUSED: {why}"), f"{place}: {why}"


def _promote(
    registry: Registry, number: str, exported: Path, verdict: Verdict, config: ExportConfig
) -> tuple[Verdict, str]:
    """Promotes a version that has passed, or refuses it if the champion has changed to a better one."""
    told: tuple[str, ...] = ()
    for _ in range(ATTEMPTS):
        try:
            promote(registry, number, expected=verdict.expected)
        except ChampionChanged as error:
            print(f"register: {error}; comparing again", flush=True)
            told = (*told, f"It passed before, but {error}. So it was compared again.")
            verdict = decide(exported, config)
            verdict = replace(verdict, notes=(*verdict.notes, *told))
            if verdict.decision == "refuse":
                return verdict, " ".join([f"is not promoted: {verdict.summary}.", *told])
        else:
            before = registry.version(number).tags.get(REPLACED, NOBODY)
            place = ", the first one" if before == NOBODY else f", instead of version {before}"
            return verdict, " ".join([f"is the champion now{place}. {verdict.summary}", *told])
    return _refuse(verdict, " ".join(["it passed, but others are promoted all the time.", *told]))


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """Returns a verdict as tags."""
    tolerance = {} if verdict.tolerance is None else {TOLERANCE_TAG: f"{verdict.tolerance!r}"}
    return {
        "gate.verdict": verdict.decision,
        "gate.reasons": verdict.tag,
        "gate.compared_with": verdict.champion or "none",
        THRESHOLDS_TAG: storage.canonical_json(verdict.gate),
        **tolerance,
    }


def _tags(exported: Path) -> dict[str, str]:
    """Returns the tags of a version. Their names are short, because MLflow's list of versions cuts them."""
    facts, evaluation = read_facts(exported), read_challenger(exported).evaluation
    return {
        WEIGHTS_TAG: str(facts["weights_sha256"]),
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
