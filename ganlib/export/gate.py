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
from ganlib.export.promotion import NOBODY, REPLACED
from ganlib.export.registry import CHAMPION, WEIGHTS_TAG, Registry
from ganlib.export.trial import try_server
from ganlib.selection.contenders import Champion
from ganlib.selection.gate import judge
from ganlib.selection.thresholds import GateConfig
from ganlib.selection.verdict import FILE, PAGE
from ganlib.tracking import Tracker
from ganlib.tracking.models import MODEL_TAG

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


def decide(exported: Path, config: ExportConfig, *, today: Today | None = None) -> Verdict:
    """Returns the verdict of `gate`, without recording it."""
    challenger, thresholds = read_challenger(exported), config.gate or GateConfig()
    champion, twin = None, None
    if config.registered_model is not None:
        registry = Registry(config.registered_model)
        number, twin = _find_champion(registry, exported)
        champion = None if number is None else _champion(registry, number, challenger, thresholds, today)
    if thresholds.trial:
        challenger = replace(challenger, trial=_try(exported, config))
    verdict = judge(challenger, champion, thresholds)
    if twin is None:
        return verdict
    note = f"The champion, version {twin}, has the same networks, so this model is judged as that one was."
    return replace(verdict, champion=twin, notes=(*verdict.notes, note))


def _find_champion(registry: Registry, exported: Path) -> tuple[str | None, str | None]:
    """Returns the version to compare a model with, and the champion if that is the same networks, exported otherwise.

    Networks are not better than themselves: those of the champion are compared with what they have replaced.
    """
    number = champion = registry.aliases().get(CHAMPION)
    weights, own, seen = read_facts(exported)["weights_sha256"], digest(exported), set[str]()
    twin = None
    while number is not None and number not in seen:
        seen.add(number)
        tags = registry.version(number).tags
        if tags.get(WEIGHTS_TAG) != weights:
            return number, twin
        if number == champion and tags.get(MODEL_TAG) != own:
            twin = champion
        before = tags.get(REPLACED, NOBODY)
        number = None if before == NOBODY else before
    return None, twin


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
