"""Runs the steps of the pipeline in containers on this machine, with KFP's Docker runner."""

from __future__ import annotations

import codecs
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import kfp
from etils import epy
from kfp import local

from ganlib import storage

with epy.lazy_imports():
    import docker

PATCHED_KFP = "2.17."  # versions of KFP whose runner can report a failed step as successful
LOG_TIMEOUT = 5.0  # seconds to wait for the last lines of a container after its end
SHARED_MEMORY = "1g"  # Docker's default of 64 MB is too small for the processes that read images
# Besides its mounts, a container can only write here: its root file system is read-only.
SCRATCH = {"/tmp": "rw,exec,mode=1777"}  # noqa: S108  # a path in the container
UNPRIVILEGED_USER = "10001:0"  # in the group of root, which can get access to folders of root
PASSED_PREFIXES = ("MLFLOW_", "GAN_PIPELINES_", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "AWS_")
FILES = (  # variables with the name of a file that a container needs, too
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
NOT_PASSED_PREFIX = "GAN_PIPELINES_KFP_"  # address and credentials of a cluster


def create_runner(
    root: Path, *, reads: Sequence[Path], writes: Sequence[Path], environment: Mapping[str, str]
) -> local.DockerRunner:
    """Returns a runner whose steps can only write to the given folders, and never run as root.

    Args:
        root: Folder of all runs, mounted at the same path.
        reads: Other files and folders, mounted read-only.
        writes: Other folders, mounted writable.
        environment: Variables for the steps, besides those of MLflow, of this project, of Google's libraries and AWS's.
    """
    passed = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(PASSED_PREFIXES) and not name.startswith(NOT_PASSED_PREFIX)
    }
    reads = [*reads, *(Path(passed[name]).resolve() for name in FILES if Path(passed.get(name, "")).is_file())]
    mount = docker.types.Mount
    return local.DockerRunner(
        mounts=[
            mount(str(root), str(root), type="bind"),
            *(
                mount(str(path), str(path), type="bind", read_only=True)
                for path in reads
                if not path.is_relative_to(root)
            ),
            *(mount(str(path), str(path), type="bind") for path in writes if not path.is_relative_to(root)),
        ],
        environment={**passed, storage.CACHE: str(_cache(root)), **environment},
        user=_user(),
        read_only=True,
        tmpfs=SCRATCH,
        shm_size=SHARED_MEMORY,
        network_mode="host",  # the address of a tracking server on this machine is valid in the container, too
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
    )


def download_folders(root: Path) -> list[Path]:
    """Returns the download cache of the user, which steps write to, if it is not in the folder of all runs.

    Raises:
        ValueError: GAN_PIPELINES_CACHE is an address.
    """
    cache = _cache(root)
    return [] if cache.is_relative_to(root) else [cache]


def _cache(root: Path) -> Path:
    return storage.cache_folder().resolve() if os.environ.get(storage.CACHE) else root / ".cache" / "downloads"


def image_id(image: str) -> str:
    """Returns the first digits of the ID of a container image.

    Raises:
        ValueError: The image is not on this machine.
        OSError: No container engine can be reached.
    """
    try:
        client = docker.from_env()
        try:
            return str(client.images.get(image).id).removeprefix("sha256:")[:16]
        finally:
            client.close()
    except docker.errors.ImageNotFound as error:
        raise ValueError(
            f"the image is not on this machine; `make image` builds it. Received: image={image!r}"
        ) from error
    except docker.errors.DockerException as error:
        raise OSError(
            f"no container engine can be reached, expected the socket of Docker or Podman in DOCKER_HOST: {error}"
        ) from error


def create_shared_folders(root: Path, folder: Path, *, writes: Sequence[Path]) -> None:
    """Creates the folders that steps write to. If this process is root, the group of root gets access to them.

    Args:
        root: Folder of all runs.
        folder: Folder of this run.
        writes: Other folders, such as the run's home.
    """
    folders = [root, root / ".cache", folder, folder / "steps", root / "mlflow-artifacts", *writes]
    for path in folders:
        path.mkdir(parents=True, exist_ok=True)
    if os.getuid() != 0:
        return
    os.umask(0o002)  # for folders that KFP creates
    # Files of earlier runs without containers belong to root.
    existing = {path for parent in (folder, root / "mlflow-artifacts", *writes) for path in parent.rglob("*")}
    for path in {*folders, *existing, *root.glob("mlflow.db*")}:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o070 if path.is_dir() else 0o060))


def _user() -> str:
    return f"{os.getuid()}:{os.getgid()}" if os.getuid() != 0 else UNPRIVILEGED_USER


@contextmanager
def wait_for_exit_codes() -> Iterator[None]:
    """Patches KFP's runner to wait for the exit code of each container.

    In KFP, containers remove themselves. If a container is gone before KFP asks for its exit code, KFP reports the step
    as successful, even if it failed.
    """
    if not kfp.__version__.startswith(PATCHED_KFP):
        yield
        return
    from kfp.local import docker_task_handler

    original = docker_task_handler.run_docker_container
    docker_task_handler.run_docker_container = _run
    try:
        yield
    finally:
        docker_task_handler.run_docker_container = original


def _run(client: Any, image: str, command: list[str], volumes: dict[str, Any], **arguments: Any) -> int:
    """Runs a container, prints its output and returns its exit code. The signature is that of KFP's function."""
    container = client.containers.create(image, command, volumes=volumes, **arguments)
    printer = _LogPrinter()
    follower = threading.Thread(target=_follow, args=(container, printer), daemon=True)
    try:
        container.start()
        follower.start()
        code = int(container.wait()["StatusCode"])
        follower.join(LOG_TIMEOUT)
        if follower.is_alive():
            printer.finish(container.logs())
        return code
    finally:
        container.remove(force=True)  # it still runs if this process was interrupted


class _LogPrinter:
    """Prints the output of a container as it arrives."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._count = 0
        self._finished = False

    def add(self, part: bytes) -> None:
        """Prints the next bytes, which may end within a character."""
        if not self._finished:
            self._count += len(part)
            print(self._decoder.decode(part), end="", flush=True)

    def finish(self, output: bytes) -> None:
        """Prints the missing rest of the complete output; later bytes are ignored."""
        self.add(output[self._count :])
        self._finished = True


def _follow(container: Any, printer: _LogPrinter) -> None:
    """Prints the output of a container. Podman sometimes does not end the stream, so never wait for it forever."""
    with suppress(docker.errors.APIError), closing(container.logs(stream=True, follow=True)) as parts:
        for part in parts:
            printer.add(part)
