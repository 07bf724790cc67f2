"""The gate of an exported model: finds the champion of the registry, and scores it again where need be."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganlib.environment import escape_output
from ganlib.evaluation import Evaluation, EvaluationConfig
from ganlib.evaluation.rescore import rescore
from ganlib.evaluation.scores import protocol_id
from ganlib.export.facts import JUDGED_BY, digest, read_challenger, read_facts
from ganlib.export.history import replaced
from ganlib.export.registry import CHAMPION, WEIGHTS_TAG, Registry
from ganlib.export.trial import try_server
from ganlib.selection.contenders import Champion
from ganlib.selection.gate import judge
from ganlib.selection.thresholds import GateConfig
from ganlib.selection.verdict import FILE, PAGE
from ganlib.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ganlib.data import PreparedDataset
    from ganlib.evaluation import Reference
    from ganlib.export.config import ExportConfig
    from ganlib.selection.contenders import Challenger
    from ganlib.selection.verdict import Verdict
    from ganlib.trained import TrainedModel


@dataclass(frozen=True)
class Today:
    """What a model was scored with, to score the champion in the same way.

    Attributes:
        model: The model that the challenger was exported from.
        dataset: The images that it was trained on.
        reference: The reference that it was scored with.
    """

    model: TrainedModel
    dataset: PreparedDataset
    reference: Reference


@escape_output()
def gate(exported: Path, config: ExportConfig, output: Path, *, today: Today | None = None) -> Verdict:
    """Decides whether an exported model may be promoted, and writes the verdict with its reasons.

    Args:
        exported: Folder of the exported model.
        config: Thresholds, and the registered model whose champion it is compared with, if any.
        output: Folder to write the verdict to.
        today: What the model was scored with. Without it, a champion of another protocol refuses the model.

    Returns:
        The verdict.

    Raises:
        RuntimeError: The registry cannot be used. It is never taken for one without a champion.
        ValueError: The folder holds no exported model.
    """
    verdict = decide(exported, config, today=today)
    print(f"gate: {verdict.text}", flush=True)
    save(verdict, output, exported=exported)
    return verdict


def save(verdict: Verdict, output: Path, *, exported: Path | None) -> None:
    """Writes a verdict to a folder and, with an exported model, into the MLflow run of that."""
    output.mkdir(parents=True, exist_ok=True)
    verdict.save(output)
    if exported is None:
        return
    with Tracker(output, belongs_to=exported) as tracker:
        tracker.tags({"gate.verdict": verdict.decision, "gate.summary": verdict.summary})
        tracker.tags({"gate.reasons": verdict.tag})
        for name in (FILE, PAGE):
            tracker.artifact(output / name, place="verdict")


def decide(exported: Path, config: ExportConfig, *, today: Today | None = None, version: str | None = None) -> Verdict:
    """Returns the verdict of `gate`, without recording it.

    Args:
        exported: Folder of the exported model, of a version at least the files that say what it is.
        config: Thresholds, and the registered model.
        today: What the model was scored with.
        version: The version that the model is, where it comes from the registry.
    """
    challenger, thresholds = read_challenger(exported), config.gate or GateConfig()
    champion, expected, notes = None, None, tuple[str, ...]()
    if config.registered_model is not None:
        registry = Registry(config.registered_model)
        expected = registry.aliases().get(CHAMPION)
        number, twin = _rival(registry, expected, read_facts(exported)["weights_sha256"])
        champion = None if number is None else _champion(registry, number, challenger, thresholds, today)
        if twin and expected != (version or _number(registry, exported)):
            note = f"The champion, version {expected}, has the same networks, so this model is judged as that one was."
            notes = (note,)
    if thresholds.trial:
        challenger = replace(challenger, trial=_try(exported, config))
    verdict = judge(challenger, champion, thresholds)
    tolerance = config.tolerance if thresholds.trial else None
    return replace(verdict, expected=expected, tolerance=tolerance, notes=(*verdict.notes, *notes))


def _rival(registry: Registry, champion: str | None, weights: str) -> tuple[str | None, bool]:
    """Returns the version to compare a model with, and whether the champion has the same networks.

    Networks are not better than themselves: those of the champion are compared with what they have replaced.
    """
    version, twin, seen = None if champion is None else registry.version(champion), False, set[str]()
    while version is not None and version.number not in seen:
        if version.tags.get(WEIGHTS_TAG) != weights:
            return version.number, twin
        twin = True
        seen.add(version.number)
        version = replaced(registry, version)
    return None, twin


def _number(registry: Registry, exported: Path) -> str | None:
    known = registry.find(digest(exported))
    return None if known is None else known.number


def _champion(
    registry: Registry, number: str, challenger: Challenger, thresholds: GateConfig, today: Today | None
) -> Champion:
    """Returns a version, scored under the protocol of the challenger if that is possible."""
    if thresholds.champion is None:
        return Champion(number, None, "there is no threshold for it")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            registry.download(number, folder, files=JUDGED_BY)
            known = Evaluation.open(folder)
        except ValueError as error:  # a store that cannot be reached is an error, not a champion without scores
            return Champion(number, None, f"its scores cannot be read, so it was not exported by this project: {error}")
        if protocol_id(known.protocol) == protocol_id(challenger.evaluation.protocol):
            return Champion(number, known, "scored under the same protocol")
        if today is None:
            other = f"it was scored under the protocol {protocol_id(known.protocol)}, and this model under "
            advice = "to score it again, give the folder of the run"
            return Champion(number, None, f"{other}{protocol_id(challenger.evaluation.protocol)}; {advice}")
        registry.download(number, folder)
        try:
            config = _settings(challenger.evaluation.protocol)
            again = rescore(folder, read_facts(folder), today.model, today.dataset, today.reference, config)
        except ValueError as error:
            return Champion(number, None, f"it cannot be scored under today's protocol: {error}")
    return Champion(number, again, "scored again under today's protocol", again.notes)


def _settings(protocol: Mapping[str, Any]) -> EvaluationConfig:
    """Returns the settings of the scores of a protocol."""
    return EvaluationConfig(
        samples=protocol["generated_count"],
        reference_split=protocol.get("reference_split", "train"),
        generator=protocol["generator"],
        seed=protocol["seed"],
    )


def _try(exported: Path, config: ExportConfig) -> dict[str, Any]:
    """Returns what a trial of the model in its server gave."""
    return try_server(exported, tolerance=config.tolerance).to_dict()
