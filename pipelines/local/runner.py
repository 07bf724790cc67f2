"""The pipeline on this machine: KFP's local runners, a local MLflow store, and a summary."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfp import local

from ganlib import progress, steps, storage, tracking
from ganlib.config import RunConfig
from ganlib.data import describe, print_description, survey
from ganlib.environment import escape_output, report_ignored_settings
from ganlib.evaluation import Evaluation
from pipelines.gan_training import DEFAULT_IMAGE, build_pipeline
from pipelines.kubeflow.package import to_arguments
from pipelines.local import containers
from pipelines.local.forked import forked_steps, python_environment, subprocess_environment
from pipelines.local.summary import Result
from pipelines.local.terminal import step_log
from pipelines.local.writable import check_writable

STEPS = {
    "prepare_data": "dataset",
    "measure_reference": "reference",
    "train_gan": "trained",
    "evaluate_gan": "scores",
    "export_model": "exported",
}


SCRATCH_BYTES = 2**20  # steps and uploads to MLflow may need more, and report that themselves
TRAINING_FACTS = ("best_step", "last_step", "rollbacks", "stopped")


class StepFailed(RuntimeError):  # noqa: N818  # not a bug of the program
    """A step of the pipeline failed.

    Attributes:
        code: Exit code for the command.
    """

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


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
        ValueError: The images cannot be used, or a folder is not writable.
    """
    root = root.resolve()
    check_writable(root, name, home=config.training.home, target=config.export.target)
    if image is not None:
        return _run(config, name=name, root=root, image=image)
    _check_scratch()
    environment = python_environment() | subprocess_environment()
    with forked_steps(environment, at_once=not (root / name).exists()):
        return _run(config, name=name, root=root, image=None)


def _run(config: RunConfig, *, name: str, root: Path, image: str | None) -> Result:
    folder = root / name
    config = _complete_config(config, name=name, home=folder / "training")
    root.mkdir(parents=True, exist_ok=True)
    uri = _tracking(root)
    folder.mkdir(exist_ok=True)
    failure = folder / "failure.json"
    failure.unlink(missing_ok=True)
    began = time.time()
    environment = _step_environment(failure, uri)
    if image is None:
        runner, code = local.SubprocessRunner(use_venv=False), _code_digest()
        environment |= subprocess_environment()
        with step_log(folder / "log.txt"):
            report_ignored_settings()
    else:
        _check_target(config.export.target, root)
        writes = [Path(home) for home in [config.training.home] if home and not storage.is_remote(home)]
        writes += containers.download_folders(root)
        containers.create_shared_folders(root, folder, writes=writes)
        runner = containers.create_runner(root, reads=_input_files(config), writes=writes, environment=environment)
        code = containers.image_id(image)
    local.init(
        runner,
        pipeline_root=str(folder / "steps"),
        enable_caching=True,
        cache_root=str(root / ".cache" / code),
    )
    with _environment(environment), step_log(folder / "log.txt"), containers.wait_for_exit_codes():
        try:
            outputs = build_pipeline(config, image=image or DEFAULT_IMAGE)(**to_arguments(config)).outputs
        except KeyboardInterrupt as error:
            if not failure.exists():  # training says how far it came
                raise
            raise _step_failed(failure) from error
        except RuntimeError as error:
            if not failure.exists():
                raise StepFailed(f"{error}; the lines above say why", code=steps.FAILURE) from error
            raise _step_failed(failure, log=folder / "log.txt") from error
        # Before the upload, which writes into the folders of cached steps, too.
        cached = tuple(step for step, output in STEPS.items() if _created_at(outputs[output]) < began)
        _upload_pending(folder)
    return _result(name, folder, outputs, cached, uri)


def _step_failed(failure: Path, *, log: Path | None = None) -> StepFailed:
    """Returns the error that a step has written to a file; one that is not the user's mistake names the log."""
    reason = storage.read_json(failure)
    failure.unlink()
    place = f" (log: {log})" if log is not None and reason["code"] == steps.FAILURE else ""
    return StepFailed(f"{reason['step']}: {reason['message']}{place}", code=reason["code"])


def _complete_config(config: RunConfig, *, name: str, home: Path) -> RunConfig:
    """Fills in absolute paths, the checksum of the list of images, and a home for the run if it has none."""
    config.check_locations()
    config = config.pinned()
    listing = config.data.source.listing()
    print_description(describe(listing, survey(listing, config.data.value_range)))
    config.check_listing(listing)  # without its notes: those are printed by the training, in the log of a pod, too
    fingerprint = listing.checksum(with_times=True)
    data = config.data.model_copy(update={"fingerprint": fingerprint})
    training = config.training.model_copy(
        update={"run_name": name, "home": _absolute(config.training.home) or str(home)}
    )
    export = config.export.model_copy(update={"target": _absolute(config.export.target)})
    return config.model_copy(update={"data": data, "training": training, "export": export})


def _absolute(location: str | None) -> str | None:
    """Returns a path as absolute path; addresses are unchanged. The path may not exist."""
    return None if location is None else storage.absolute(location)


def _check_scratch() -> None:
    """Refuses a folder for temporary files without free space, because KFP starts each step from a file there."""
    # The folder of the shell's mktemp; Python would fall back to other folders.
    folder = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(SCRATCH_BYTES))
            file.flush()
    except OSError as error:
        raise OSError(
            f"expected {SCRATCH_BYTES >> 20} MiB of free space for temporary files: {error.strerror}. "
            f"Received: TMPDIR={folder!r}"
        ) from error


def _check_target(target: str | None, root: Path) -> None:
    """Refuses an export target that steps in containers cannot write to."""
    if target and not storage.is_remote(target) and not Path(target).is_relative_to(root):
        raise ValueError(
            f"expected export.target in a bucket or in {root}, which steps in containers can write to. "
            f"Received: export.target={target!r}"
        )


def _input_files(config: RunConfig) -> list[Path]:
    """Returns the local files and folders that the steps read."""
    places = [place for place in config.locations.values() if not storage.is_remote(place)]
    return list(dict.fromkeys(map(storage.local_path, places)))


def _tracking(root: Path) -> str:
    """Returns the tracking store: that of the environment, or a local one. A database file is created if need be."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    file = tracking.store_file(uri) if uri else root / "mlflow.db"
    if file is None:
        return str(uri)
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", tracking.DEFAULT_EXPERIMENT)
    local_uri = tracking.create_store(file, experiment=experiment)
    return uri or local_uri


def _step_environment(failure: Path, uri: str) -> dict[str, str]:
    """Returns environment variables for the steps. They print without buffering and write failures to a file."""
    environment = {steps.FAILURE_FILE: str(failure), "MLFLOW_TRACKING_URI": uri, **python_environment()}
    if isinstance(sys.stdout, progress.Screen):  # only this process knows whether there is a terminal
        environment[progress.FORMAT] = "json"
    return environment


@contextmanager
def _environment(added: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _code_digest() -> str:
    """Returns a hash of the library, because the cache key of a step does not include the code that it calls."""
    digest = hashlib.sha256()
    package = Path(storage.__file__).parent
    for path in sorted(package.rglob("*.py")) + sorted(package.rglob("*.j2")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _created_at(artifact: Any) -> float:
    """Returns when an artifact was created, in seconds since the epoch."""
    return Path(artifact.path).stat().st_mtime


def _upload_pending(folder: Path) -> None:
    """Tries once more to upload records that MLflow did not get while the steps ran."""
    for tracked in tracking.tracked_folders(folder / "steps"):
        if tracking.has_pending(tracked):
            try:
                tracking.deliver(tracked)
            except tracking.DeliveryBlocked as error:
                print(f"tracking: {error}. Then upload the rest with: {tracking.sync_command(folder)}", flush=True)
                return
            except Exception:  # noqa: BLE001  # the steps have printed the reason; the records stay on disk
                print(f"tracking: upload the rest later with: {tracking.sync_command(folder)}", flush=True)
                return


def _add_to_run_folder(target: Path, path: Path) -> None:
    """Puts an artifact into the folder of the run under a readable name.

    Folders become symbolic links. Files are copied, because KFP's artifacts have no suffix: a browser would follow a
    link and show the HTML as text.
    """
    path.unlink(missing_ok=True)
    if target.is_file():
        storage.publish(target, path)
    else:
        path.symlink_to(os.path.relpath(target, path.parent))


def _result(name: str, folder: Path, outputs: dict[str, Any], cached: tuple[str, ...], uri: str) -> Result:
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
    for title, target in places.items():
        _add_to_run_folder(target, folder / title)
    artifacts = {step: outputs[output] for step, output in STEPS.items()}
    return Result(
        name=name,
        folder=folder,
        evaluation=evaluation,
        training={name: outputs["trained"].metadata.get(name) for name in TRAINING_FACTS},
        seconds={step: float(artifact.metadata["seconds"]) for step, artifact in artifacts.items()},
        cached=cached,
        mlflow_run_id=tracking.run_id(places["trained"]),
        mlflow_tracking_uri=tracking.redact(uri),
        published=outputs["exported"].metadata.get("published"),
    )
