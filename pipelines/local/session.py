"""A session of KFP's local runners: the folder of a run, its log, its cache, and a local MLflow store."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import local

from ganlib import progress, steps, storage, tracking
from ganlib.config import RunConfig
from ganlib.data import describe, print_description, survey
from ganlib.environment import report_ignored_settings
from ganlib.export.onnx import check_installed
from pipelines.local import containers
from pipelines.local.forked import forked_steps, python_environment, subprocess_environment
from pipelines.local.terminal import step_log

SCRATCH_BYTES = 2**20  # steps and uploads to MLflow may need more, and report that themselves


class StepFailed(RuntimeError):  # noqa: N818  # not a bug of the program
    """A step of the pipeline failed.

    Attributes:
        code: Exit code for the command.
    """

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Session:
    """What a pipeline runs in.

    Attributes:
        name: Name of the run.
        folder: Its folder.
        uri: The MLflow store.
        began: When the session began, in seconds since the epoch.
    """

    name: str
    folder: Path
    uri: str
    began: float

    def is_cached(self, artifact: Any) -> bool:
        """Returns whether an artifact was made before this session."""
        return Path(artifact.path).stat().st_mtime < self.began

    def upload_pending(self) -> None:
        """Tries once more to upload records that MLflow did not get while the steps ran."""
        for tracked in tracking.tracked_folders(self.folder / "steps"):
            if tracking.has_pending(tracked):
                try:
                    tracking.deliver(tracked)
                except tracking.DeliveryBlocked as error:
                    advice = f"Then upload the rest with: {tracking.sync_command(self.folder)}"
                    print(f"tracking: {error}. {advice}", flush=True)
                    return
                except Exception:  # noqa: BLE001  # the steps have printed the reason; the records stay on disk
                    print(f"tracking: upload the rest later with: {tracking.sync_command(self.folder)}", flush=True)
                    return


@contextmanager
def session(
    config: RunConfig, *, name: str, root: Path, image: str | None, variants: Iterable[RunConfig] = ()
) -> Iterator[Session]:
    """Sets up KFP to run a pipeline on this machine. Output of the steps goes to the log and to the terminal.

    Args:
        config: Config of the run, complete.
        name: Name of the run; its folder is `root/name`.
        root: Folder of all runs, with their cache and the MLflow store.
        image: Container image for the steps; None means local subprocesses.
        variants: Further configs whose files the steps read.

    Raises:
        StepFailed: A step failed; the message is that of the step.
        ValueError: A folder is not writable.
    """
    folder = root / name
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
        runner = containers.create_runner(
            root, reads=_input_files(config, *variants), writes=writes, environment=environment
        )
        code = containers.image_id(image)
    local.init(
        runner,
        pipeline_root=str(folder / "steps"),
        enable_caching=True,
        cache_root=str(root / ".cache" / code),
    )
    with _environment(environment), step_log(folder / "log.txt"), containers.wait_for_exit_codes():
        try:
            yield Session(name, folder, uri, began)
        except KeyboardInterrupt as error:
            if not failure.exists():  # training says how far it came
                raise
            raise _step_failed(failure) from error
        except RuntimeError as error:
            if not failure.exists():
                raise StepFailed(f"{error}; the lines above say why", code=steps.FAILURE) from error
            raise _step_failed(failure, log=folder / "log.txt") from error


@contextmanager
def local_steps(config: RunConfig, *, name: str, root: Path, image: str | None) -> Iterator[None]:
    """Lets the libraries of steps in subprocesses be imported while their inputs are checked.

    Raises:
        ValueError: What `export.onnx` needs is absent.
        OSError: There is no space for temporary files.
    """
    if image is not None:
        yield
        return
    _check_scratch()
    check_installed(config.export.onnx)
    environment = python_environment() | subprocess_environment()
    with forked_steps(environment, at_once=not (root / name).exists()):
        yield


def complete_config(
    config: RunConfig, *, name: str, home: Path, variants: Mapping[str, RunConfig] | None = None
) -> RunConfig:
    """Fills in absolute paths, the checksum of the list of images, and a home for the run if it has none.

    Args:
        config: Config of the run.
        name: Name of the run.
        home: Its home, if it has none.
        variants: Further configs for the same images, which are only checked, by name.

    Raises:
        ValueError: The images cannot be used, or a folder is not writable.
    """
    config.check_locations()
    config = config.pinned()
    listing = config.data.source.listing()
    print_description(describe(listing, survey(listing, config.data.value_range)))
    config.check_listing(listing)  # without its notes: those are printed by the training, in the log of a pod, too
    for variant, one in (variants or {}).items():
        try:
            one.check_listing(listing)
        except ValueError as error:
            raise ValueError(f"variant {variant}: {error}") from error
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


def _step_failed(failure: Path, *, log: Path | None = None) -> StepFailed:
    """Returns the error that a step has written to a file; one that is not the user's mistake names the log."""
    reason = storage.read_json(failure)
    failure.unlink()
    place = f" (log: {log})" if log is not None and reason["code"] == steps.FAILURE else ""
    return StepFailed(f"{reason['step']}: {reason['message']}{place}", code=reason["code"])


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


def _input_files(*configs: RunConfig) -> list[Path]:
    """Returns the local files and folders that the steps read."""
    places = [place for one in configs for place in one.locations.values() if not storage.is_remote(place)]
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
