"""The pipeline on this machine, with a summary."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganlib import storage, tracking
from ganlib.config import RunConfig
from ganlib.environment import escape_output
from ganlib.evaluation import Evaluation
from ganlib.selection.verdict import PAGE
from pipelines.gan_training import DEFAULT_IMAGE, build_pipeline
from pipelines.kubeflow.package import to_arguments
from pipelines.local.session import Session, complete_config, local_steps, session
from pipelines.local.summary import Gated, Result, verdict_folder
from pipelines.local.writable import check_writable

STEPS = {
    "prepare_data": "dataset",
    "measure_reference": "reference",
    "train_gan": "trained",
    "evaluate_gan": "scores",
    "export_model": "exported",
    "gate_model": "verdict",
    "register_model": "registered",
}
TRAINING_FACTS = ("best_step", "last_step", "rollbacks", "stopped")


@escape_output()
def run(config: RunConfig, *, name: str, root: Path, image: str | None = None) -> Result:
    """Runs the pipeline on this machine, or resumes an interrupted run of the same name.

    Args:
        config: Config of the run.
        name: Name of the run; its folder is `root/name`.
        root: Folder of all runs, with their cache and the MLflow store.
        image: Container image for the steps; None means local subprocesses.

    Raises:
        StepFailed: A step failed; the message is that of the step.
        ValueError: The images cannot be used, or a folder is not writable, or what `export.onnx` needs is absent.
    """
    root = root.resolve()
    check_writable(root, name, home=config.training.home, target=config.export.target)
    with local_steps(config, name=name, root=root, image=image):
        config = complete_config(config, name=name, home=root / name / "training")
        with session(config, name=name, root=root, image=image) as place:
            outputs = build_pipeline(config, image=image or DEFAULT_IMAGE)(**to_arguments(config)).outputs
            # Before the upload, which writes into the folders of cached steps, too.
            made = {step: outputs[output] for step, output in STEPS.items() if output in outputs}
            cached = tuple(step for step, artifact in made.items() if place.is_cached(artifact))
            place.upload_pending()
        return _result(place, outputs, cached)


def fill_run_folder(folder: Path, places: Mapping[str, Path], outputs: Mapping[str, Any]) -> None:
    """Puts artifacts into the folder of the run under readable names, and the verdict of the gate if there is one.

    Args:
        folder: Folder of the run.
        places: Artifacts by name.
        outputs: Outputs of the pipeline.
    """
    for title in ("verdict", PAGE):
        (folder / title).unlink(missing_ok=True)  # of an earlier run with a gate
    verdict = verdict_folder(outputs)
    verdicts = {} if verdict is None else {"verdict": verdict, PAGE: verdict / PAGE}
    for title, target in {**places, **verdicts}.items():
        _add_to_run_folder(target, folder / title)


def _add_to_run_folder(target: Path, path: Path) -> None:
    """Puts an artifact into the folder of the run.

    Folders become symbolic links. Files are copied, because KFP's artifacts have no suffix: a browser would follow a
    link and show the HTML as text.
    """
    path.unlink(missing_ok=True)
    if target.is_file():
        storage.publish(target, path)
    else:
        path.symlink_to(os.path.relpath(target, path.parent))


def _result(place: Session, outputs: dict[str, Any], cached: tuple[str, ...]) -> Result:
    evaluation = Evaluation.open(outputs["scores"].path)
    places = {
        "dataset": Path(outputs["dataset"].path),
        "reference": Path(outputs["reference"].path),
        "report.html": Path(outputs["report"].path),
        "scores": evaluation.folder,
        "samples.png": evaluation.samples,
        "model": Path(outputs["exported"].path),
        "trained": Path(outputs["trained"].path),
    }
    fill_run_folder(place.folder, places, outputs)
    return Result(
        name=place.name,
        folder=place.folder,
        evaluation=evaluation,
        training={name: outputs["trained"].metadata.get(name) for name in TRAINING_FACTS},
        seconds={
            step: float(outputs[output].metadata["seconds"]) for step, output in STEPS.items() if output in outputs
        },
        cached=cached,
        mlflow_run_id=tracking.run_id(places["trained"]),
        mlflow_tracking_uri=tracking.redact(place.uri),
        published=outputs["exported"].metadata.get("published"),
        gated=Gated.of(outputs),
    )
