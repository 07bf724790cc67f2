"""A comparison of variants on this machine."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganlib import storage, tracking
from ganlib.environment import escape_output
from ganlib.evaluation import Evaluation
from ganlib.selection import Halving, Recommendation
from pipelines.candidates import comparison_group, home_of, make_candidates
from pipelines.gan_comparison import build_comparison
from pipelines.gan_training import DEFAULT_IMAGE
from pipelines.kubeflow.config import PipelineConfig
from pipelines.local.loops import one_after_another
from pipelines.local.runner import fill_run_folder
from pipelines.local.session import complete_config, local_steps, session
from pipelines.local.summary import WIDTH, Gated, mlflow_command
from pipelines.local.writable import check_writable


@dataclass(frozen=True)
class ComparisonResult:
    """What a finished comparison left behind.

    Attributes:
        name: Name of the comparison.
        folder: Its folder.
        recommendation: The ranking, and which variant to take.
        evaluation: Scores of the recommended model with fresh samples.
        mlflow_tracking_uri: The store that everything was logged to.
        gated: What became of the recommended model in the gate and in the registry.
    """

    name: str
    folder: Path
    recommendation: Recommendation
    evaluation: Evaluation
    mlflow_tracking_uri: str
    gated: Gated

    def to_json(self) -> dict[str, Any]:
        """Returns the object that `compare-variants --json` prints."""
        return {
            "comparison": self.name,
            "status": "succeeded",
            "recommendation": self.recommendation.to_parameter(),
            "fresh_scores": self.evaluation.values,
            **self.gated.to_json(),
            "report": str(self.folder / "report.html"),
            "model": str(self.folder / "model"),
            "mlflow_tracking_uri": self.mlflow_tracking_uri,
        }

    def to_text(self) -> str:
        """Returns what a person reads at the end."""
        said = [self.recommendation.answer, *self.recommendation.reasons]
        lines = ["", f"{self.name}: compared", "", *(textwrap.fill(line, WIDTH) for line in said)]
        lines += [*self.gated.lines, ""]
        lines += [
            f"  report    {self.folder / 'report.html'}",
            f"  log       {self.folder / 'log.txt'}",
            f"  model     {self.folder / 'model'}",
            *self.gated.places(self.folder),
            f"  MLflow    {mlflow_command(self.mlflow_tracking_uri)}",
        ]
        return "\n".join(lines)


@escape_output()
def compare_variants(
    config: PipelineConfig,
    configs: Mapping[str, PipelineConfig],
    *,
    seeds: int,
    name: str,
    root: Path,
    image: str | None = None,
    halving: Halving | None = None,
) -> ComparisonResult:
    """Compares variants on this machine, or goes on with an interrupted comparison of the same name.

    Candidates that finished before come from the cache, so variants and seeds can be added later.

    Args:
        config: What all variants share.
        configs: Config of each variant, see `resolve_variants`.
        seeds: Number of trainings of each variant.
        name: Name of the comparison; its folder is `root/name`.
        root: Folder of all runs, with their cache and the MLflow store.
        image: Container image for the steps; None means local subprocesses.
        halving: The halving, if there is one.

    Raises:
        StepFailed: A step failed, or all candidates did; the message is that of the step.
        ValueError: The images cannot be used, or a folder is not writable.
    """
    root = root.resolve()
    own = config.training.home
    homes = str(root / name / "candidates") if own is None else home_of(name, storage.absolute(own))
    check_writable(root, name, home=own, target=config.export.target)
    with local_steps(config, name=name, root=root, image=image):
        common = complete_config(config, name=name, home=root / name / "candidates", variants=configs)
        pinned = {variant: one.pinned() for variant, one in configs.items()}
        candidates = make_candidates(pinned, seeds=seeds, comparison=name, home=homes, halving=halving)
        group = comparison_group(name, common, place=str(root))
        with (
            session(common, name=name, root=root, image=image, variants=pinned.values()) as place,
            one_after_another(),
        ):
            pipeline = build_comparison(common, candidates, group, image=image or DEFAULT_IMAGE)
            outputs = pipeline().outputs
            place.upload_pending()
    evaluation = Evaluation.open(outputs["scores"].path)
    places = {
        "dataset": Path(outputs["dataset"].path),
        "reference": Path(outputs["reference"].path),
        "trained": Path(outputs["trained"].path),
        "report.html": Path(outputs["report"].path),
        "recommendation": Path(outputs["recommendation"].path),
        "scores": evaluation.folder,
        "scores.html": Path(outputs["scores_report"].path),
        "samples.png": evaluation.samples,
        "model": Path(outputs["exported"].path),
    }
    fill_run_folder(place.folder, places, outputs)
    recommendation = Recommendation.open(places["recommendation"])
    return ComparisonResult(
        name, place.folder, recommendation, evaluation, tracking.redact(place.uri), Gated.of(outputs)
    )
