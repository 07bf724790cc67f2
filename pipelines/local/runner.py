"""The pipeline on this machine: KFP's local runners, a local MLflow store, and a summary."""

from __future__ import annotations

import hashlib
import locale
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfp import local

from ganlib import steps, storage, tracking
from ganlib.config import RunConfig
from ganlib.data import describe, print_description, survey
from ganlib.environment import OUTPUT_ERRORS, escape_output, report_ignored_settings
from ganlib.evaluation import Evaluation
from pipelines.gan_training import DEFAULT_IMAGE, build_pipeline
from pipelines.kubeflow.package import arguments_of
from pipelines.local import containers
from pipelines.local.places import check_places
from pipelines.local.summary import Result
from pipelines.local.terminal import step_log

STEPS = {
    "prepare_data": "dataset",
    "measure_reference": "reference",
    "train_gan": "trained",
    "evaluate_gan": "scores",
    "export_model": "exported",
}


SCRATCH_BYTES = 2**20  # steps and the delivery to MLflow may need more, and say so
TOLD_OF_TRAINING = ("best_step", "last_step", "rollbacks", "stopped")


class StepFailed(RuntimeError):  # noqa: N818  # an outcome, not a fault of the program
    """A step of the pipeline failed.

    Attributes:
        code: Exit code that the command shall end with.
    """

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


@escape_output()
def run(config: RunConfig, *, name: str, root: Path, image: str | None = None) -> Result:
    """Runs the pipeline on this machine, resuming what an interrupted run of this name began.

    Args:
        config: The run.
        name: Its name; its folder is `root/name`.
        root: Folder of all runs, of their cache and of the MLflow store.
        image: Container image that the steps run in; None means subprocesses of this one.

    Raises:
        StepFailed: A step failed; the message is its own.
        ValueError: The source of the images holds nothing usable, or a place cannot be written to.
    """
    root = root.resolve()
    folder = root / name
    check_places(root, name, home=config.training.home, target=config.export.target)
    if image is None:
        _check_scratch()
    config = _bound(config, name=name, home=folder / "training")
    root.mkdir(parents=True, exist_ok=True)
    uri = _tracking(root)
    folder.mkdir(exist_ok=True)
    failure = folder / "failure.json"
    failure.unlink(missing_ok=True)
    began = time.time()
    inherited = _inherited(failure, uri)
    if image is None:
        runner, code = local.SubprocessRunner(use_venv=False), _code_digest()
        inherited |= _of_processes()
        with step_log(folder / "log.txt"):
            report_ignored_settings()
    else:
        _check_target(config.export.target, root)
        writes = [Path(home) for home in [config.training.home] if home and not storage.is_remote(home)]
        writes += containers.downloads(root)
        containers.share(root, folder, writes=writes)
        runner = containers.runner(root, reads=_read(config), writes=writes, environment=inherited)
        code = containers.image_id(image)
    local.init(
        runner,
        pipeline_root=str(folder / "steps"),
        enable_caching=True,
        cache_root=str(root / ".cache" / code),
    )
    with _environment(inherited), step_log(folder / "log.txt"), containers.followed_to_their_end():
        try:
            # One step prepares the images, which takes all cores by itself.
            outputs = build_pipeline(config, image=image or DEFAULT_IMAGE, parts=1)(**arguments_of(config)).outputs
        except RuntimeError as error:
            if not failure.exists():
                raise StepFailed(f"{error}; the lines above say why", code=steps.FAILURE) from error
            told = storage.read_json(failure)
            failure.unlink()
            place = f" (log: {folder / 'log.txt'})" if told["code"] == steps.FAILURE else ""
            raise StepFailed(f"{told['step']}: {told['message']}{place}", code=told["code"]) from error
        # Asked before the settling, which writes into the folders of cached steps too.
        cached = tuple(step for step, output in STEPS.items() if _made(outputs[output]) < began)
        _settle(folder)
    return _result(name, folder, outputs, cached, uri)


def _bound(config: RunConfig, *, name: str, home: Path) -> RunConfig:
    """Fills in what only this machine knows: absolute paths, the listing's checksum, the run's home if it has none."""
    source = config.data.source
    given = {name: getattr(source, name, None) for name in ("path", "labels")}
    paths = {name: _found(name, path) for name, path in given.items() if path is not None}
    source = source.model_copy(update=paths)
    listing = source.listing()
    print_description(describe(listing, survey(listing, config.data.value_range)))
    listing.check_splits()
    config.task.check(classes=len(listing.classes))
    fingerprint = listing.checksum(with_times=True)
    data = config.data.model_copy(update={"source": source, "fingerprint": fingerprint})
    training = config.training.model_copy(
        update={"run_name": name, "home": _absolute(config.training.home) or str(home)}
    )
    weights = _absolute(config.evaluation.inception_weights)
    evaluation = config.evaluation.model_copy(update={"inception_weights": weights})
    export = config.export.model_copy(update={"target": _absolute(config.export.target)})
    return config.model_copy(update={"data": data, "training": training, "evaluation": evaluation, "export": export})


def _absolute(location: str | None) -> str | None:
    """Returns the absolute form of a path, which need not exist; an address stays as it is."""
    if location is None or storage.is_remote(location):
        return location
    return str(Path(location).expanduser().resolve())


def _check_scratch() -> None:
    """Refuses a folder of temporary files that has no room, since KFP starts each step from a file there."""
    # Where the shell's mktemp goes; Python's own functions would look for other places.
    place = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(SCRATCH_BYTES))
            file.flush()
    except OSError as error:
        raise OSError(
            f"expected a folder of temporary files with room for {SCRATCH_BYTES >> 20} MiB: {error.strerror}. "
            f"Received: TMPDIR={place!r}"
        ) from error


def _check_target(target: str | None, root: Path) -> None:
    """Refuses a target that steps in containers cannot write to: a folder appears by a new name for its neighbour."""
    if target and not storage.is_remote(target) and not Path(target).is_relative_to(root):
        raise ValueError(
            f"expected export.target in a bucket or below {root}, where steps in containers may write. "
            f"Received: export.target={target!r}"
        )


def _read(config: RunConfig) -> list[Path]:
    """Returns the files and folders of this machine that the steps read."""
    source = config.data.source
    given = [getattr(source, "path", None), getattr(source, "labels", None), config.evaluation.inception_weights]
    return [Path(path) for path in given if path is not None and not storage.is_remote(path)]


def _found(name: str, path: str) -> str:
    """Returns the absolute form of a path in the section `data.source`; an address stays as it is."""
    if storage.is_remote(path):
        return path
    try:
        return str(storage.fetch(path).resolve())
    except ValueError as error:
        raise ValueError(f"data.source.{name}: {error}") from error


def _tracking(root: Path) -> str:
    """Returns the tracking store: the environment's, or a local one. A database file is made here, whole."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    file = tracking.store_file(uri) if uri else root / "mlflow.db"
    if file is None:
        return str(uri)
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", tracking.DEFAULT_EXPERIMENT)
    made = tracking.create_store(file, experiment=experiment)
    return uri or made


def _inherited(failure: Path, uri: str) -> dict[str, str]:
    """Returns what the steps inherit: lines appear as they are printed, and a failure leaves its reason."""
    inherited = {steps.FAILURE_FILE: str(failure), "PYTHONUNBUFFERED": "1", "MLFLOW_TRACKING_URI": uri}
    # KFP starts a step with `python -m`, which imports from the current directory first: whatever lies there
    # must not take the place of a library, unless the command itself was imported from there.
    if Path.cwd() != Path(storage.__file__).parent.parent:
        inherited["PYTHONSAFEPATH"] = "1"
    return inherited


def _of_processes() -> dict[str, str]:
    """Returns what steps inherit that are processes of this machine, where its user keeps settings."""
    return {
        # KFP reads what a step prints in this encoding, and stops at what it cannot read.
        "PYTHONIOENCODING": f"{locale.getpreferredencoding(do_setlocale=False)}:{OUTPUT_ERRORS}",
        "KERAS_HOME": os.devnull,  # no settings of Keras there, and none can be left there
    }


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
    """Returns a checksum of the library, since a step's cache key knows nothing of the code that it calls."""
    total = hashlib.sha256()
    package = Path(storage.__file__).parent
    for path in sorted(package.rglob("*.py")) + sorted(package.rglob("*.j2")):
        total.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]


def _made(artifact: Any) -> float:
    """Returns when an artifact was made, in seconds of the epoch."""
    return Path(artifact.path).stat().st_mtime


def _settle(folder: Path) -> None:
    """Tries once more to deliver what MLflow did not get while the steps ran."""
    for tracked in tracking.tracked_folders(folder / "steps"):
        if tracking.has_pending(tracked):
            try:
                tracking.deliver(tracked)
            except tracking.DeliveryBlocked as error:
                print(f"tracking: {error}. Then deliver the rest with: {tracking.deliver_command(folder)}", flush=True)
                return
            except Exception:  # noqa: BLE001  # the steps have said why; the lines stay on disk
                print(f"tracking: deliver the rest later with: {tracking.deliver_command(folder)}", flush=True)
                return


def _show(target: Path, path: Path) -> None:
    """Makes an artifact appear under a name that people know.

    A file is copied: KFP's artifacts bear no suffix, and a browser that follows a link to one shows its text.
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
    for shown, target in places.items():
        _show(target, folder / shown)
    artifacts = {step: outputs[output] for step, output in STEPS.items()}
    return Result(
        name=name,
        folder=folder,
        evaluation=evaluation,
        training={name: outputs["trained"].metadata.get(name) for name in TOLD_OF_TRAINING},
        seconds={step: float(artifact.metadata["seconds"]) for step, artifact in artifacts.items()},
        cached=cached,
        mlflow_run_id=tracking.run_id(places["trained"]),
        mlflow_tracking_uri=tracking.redact(uri),
        published=outputs["exported"].metadata.get("published"),
    )
