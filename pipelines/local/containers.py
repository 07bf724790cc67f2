"""The pipeline's steps in containers on this machine, by KFP's Docker runner."""

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

OLD_RUNNER = "2.17."  # the versions of KFP whose runner may take a failed step for a finished one
PATIENCE = 5.0  # seconds in which the last lines of a container that has ended must come
SHARED_MEMORY = "1g"  # Docker's own 64 MB are too few for readers of images
# What a container may write to beside what is mounted: with a root file system that is read-only, nothing else.
SCRATCH = {"/tmp": "rw,exec,mode=1777"}  # noqa: S108  # a path of the container's
NOBODY = "10001:0"  # in root's group, which root's folders can be opened to
OURS = ("MLFLOW_", "GAN_PIPELINES_", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST")
NOT_OF_STEPS = "GAN_PIPELINES_KFP_"  # how a cluster is reached, with a token


def runner(
    root: Path, *, reads: Sequence[Path], writes: Sequence[Path], environment: Mapping[str, str]
) -> local.DockerRunner:
    """Returns a runner whose steps write below the named folders only, and never as root.

    Args:
        root: Folder of all runs, mounted under its own path.
        reads: Further files and folders, which the steps may read only.
        writes: Further folders, which the steps may write to.
        environment: Variables of the steps, beside those of MLflow, of this project and of Google's libraries.
    """
    passed = {
        name: value for name, value in os.environ.items() if name.startswith(OURS) and not name.startswith(NOT_OF_STEPS)
    }
    key = passed.get("GOOGLE_APPLICATION_CREDENTIALS")
    reads = [*reads, *([Path(key).resolve()] if key else [])]
    bind = docker.types.Mount
    return local.DockerRunner(
        mounts=[
            bind(str(root), str(root), type="bind"),
            *(
                bind(str(path), str(path), type="bind", read_only=True)
                for path in reads
                if not path.is_relative_to(root)
            ),
            *(bind(str(path), str(path), type="bind") for path in writes if not path.is_relative_to(root)),
        ],
        environment={**passed, storage.CACHE: str(_cache(root)), **environment},
        user=_user(),
        read_only=True,
        tmpfs=SCRATCH,
        shm_size=SHARED_MEMORY,
        network_mode="host",  # a tracking server on this machine is found where the address says
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
    )


def downloads(root: Path) -> list[Path]:
    """Returns the user's own folder of downloads, to which steps write too, if it is not below the folder of all runs.

    Raises:
        ValueError: It is an address.
    """
    cache = _cache(root)
    return [] if cache.is_relative_to(root) else [cache]


def _cache(root: Path) -> Path:
    return storage.cache_folder().resolve() if os.environ.get(storage.CACHE) else root / ".cache" / "downloads"


def image_id(image: str) -> str:
    """Returns the checksum of an image, which its name does not tell.

    Raises:
        ValueError: There is no such image on this machine.
        OSError: No container engine answers.
    """
    try:
        client = docker.from_env()
        try:
            return str(client.images.get(image).id).removeprefix("sha256:")[:16]
        finally:
            client.close()
    except docker.errors.ImageNotFound as error:
        raise ValueError(
            f"no such image on this machine: `make image` builds one. Received: image={image!r}"
        ) from error
    except docker.errors.DockerException as error:
        raise OSError(
            f"no container engine answers, expected Docker or Podman's socket in DOCKER_HOST: {error}"
        ) from error


def share(root: Path, folder: Path, *, writes: Sequence[Path]) -> None:
    """Makes the folders that steps write to, and opens them to root's group where only this process is root.

    Args:
        root: Folder of all runs.
        folder: That of this one.
        writes: Further folders, such as the run's home.
    """
    places = [root, root / ".cache", folder, folder / "steps", root / "mlflow-artifacts", *writes]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    if os.getuid() != 0:
        return
    os.umask(0o002)  # KFP makes some folders too
    # What runs without containers have left behind is root's, down to the last folder.
    below = {path for place in (folder, root / "mlflow-artifacts", *writes) for path in place.rglob("*")}
    for path in {*places, *below, *root.glob("mlflow.db*")}:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o070 if path.is_dir() else 0o060))


def _user() -> str:
    return f"{os.getuid()}:{os.getgid()}" if os.getuid() != 0 else NOBODY


@contextmanager
def followed_to_their_end() -> Iterator[None]:
    """Has KFP's runner wait for the exit code of each container.

    As it is, containers remove themselves, and where one is gone before it was asked for its exit code, the step counts
    as finished, whatever happened in it.
    """
    if not kfp.__version__.startswith(OLD_RUNNER):
        yield
        return
    from kfp.local import docker_task_handler

    before = docker_task_handler.run_docker_container
    docker_task_handler.run_docker_container = _run
    try:
        yield
    finally:
        docker_task_handler.run_docker_container = before


def _run(client: Any, image: str, command: list[str], volumes: dict[str, Any], **arguments: Any) -> int:
    """Runs one container, prints what it says, and returns its exit code; takes what KFP's own function takes."""
    container = client.containers.create(image, command, volumes=volumes, **arguments)
    said = _Said()
    follower = threading.Thread(target=_follow, args=(container, said), daemon=True)
    try:
        container.start()
        follower.start()
        code = int(container.wait()["StatusCode"])
        follower.join(PATIENCE)
        if follower.is_alive():
            said.end(container.logs())
        return code
    finally:
        container.remove(force=True)  # where it still runs, this process was interrupted


class _Said:
    """What a container says, printed as it comes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._count = 0
        self._ended = False

    def add(self, part: bytes) -> None:
        """Prints the next bytes, which may end within a letter."""
        if not self._ended:
            self._count += len(part)
            print(self._decoder.decode(part), end="", flush=True)

    def end(self, whole: bytes) -> None:
        """Prints what is missing of all that was said, and nothing any more."""
        self.add(whole[self._count :])
        self._ended = True


def _follow(container: Any, said: _Said) -> None:
    """Prints a container's lines. Podman at times does not end them with the container, so nobody may wait for it."""
    with suppress(docker.errors.APIError), closing(container.logs(stream=True, follow=True)) as parts:
        for part in parts:
            said.add(part)
