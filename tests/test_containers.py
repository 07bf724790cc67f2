"""Steps in containers: permissions, output and exit codes, with real containers if there is an engine."""

import gc
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import kfp
import numpy as np
import pytest
from click.testing import CliRunner
from kfp.local import docker_task_handler

from pipelines.command.main import main
from pipelines.local import containers, session

BASE = "python:3.11-slim"
REPOSITORY = Path(__file__).parent.parent
LIBRARIES = Path(np.__file__).resolve().parents[1]
TINY = [
    "training.steps=2",
    "training.batch_size=8",
    "training.score_samples=20",
    "training.precision=float32",
    "model.width=4",
    "task.latent_dim=4",
    "evaluation.samples=50",
    "export.onnx=false",
    "evaluation.extractor.network.epochs=1",
    "evaluation.extractor.network.width=4",
    "data.size=16",
]


def test_every_image_has_a_target_is_not_root_and_gets_files_that_exist():
    stages = {}
    for line in re.sub(r"\\\n", " ", (REPOSITORY / "docker" / "Dockerfile").read_text()).splitlines():
        if found := re.match(r"FROM (\S+) AS (\w[\w-]*)", line):
            lines = stages[found[2]] = list(stages.get(found[1], []))
        elif stages:
            lines.append(line)
    allowed = (REPOSITORY / ".dockerignore").read_text().splitlines()
    made = re.findall(r"--target (\S+) --tag (\S+):", (REPOSITORY / "Makefile").read_text())
    images = dict(made)
    assert images.keys() >= {"cpu", "gpu", "server", "kserve", "mlserver"}
    for target in images:
        users = [line.split()[1] for line in stages[target] if line.startswith("USER ")]
        assert users[-1] == "10001:0"
        for line in stages[target]:
            if line.startswith("COPY ") and "--from" not in line:
                for name in line.split()[1:-1]:
                    assert (REPOSITORY / name).exists(), name
                    assert {f"!{name}", f"!{name.partition('/')[0]}"} & set(allowed), name
    for server in ("kserve", "mlserver"):
        assert any(line.startswith("COPY ") and f"requirements/{server}.txt" in line for line in stages[server])
        assert f"image: REGISTRY/{images[server]}:" in (REPOSITORY / "docs" / "serving.md").read_text()


@pytest.fixture
def run(engine, tmp_path, capfd):
    """Runs a shell command like a step."""
    settings = containers.create_runner(
        tmp_path, reads=[], writes=[], environment={"GREETING": "yes"}
    ).container_run_args

    def run(command):
        code = containers._run(engine, BASE, ["sh", "-c", command], {}, **settings)
        return code, capfd.readouterr().out

    return run


def test_a_step_that_fails_at_once_is_always_reported_as_failed(run):
    """KFP's own function reports success: the containers are gone before it asks for their exit code."""
    assert [run("echo hello; exit 3") for _ in range(5)] == [(3, "hello\n")] * 5


def test_containers_are_removed(run, engine):
    before = len(engine.containers.list(all=True))
    run("exit 0")
    run("exit 1")
    assert len(engine.containers.list(all=True)) == before


def test_a_step_is_not_root_and_writes_only_to_its_folders(run, tmp_path):
    containers.create_shared_folders(tmp_path, tmp_path / "run", writes=[])
    code, output = run(
        f"id -u; touch /opt/x || echo refused; touch /tmp/x {tmp_path}/run/steps/x && echo written; echo $GREETING"
    )
    lines = output.splitlines()
    assert code == 0
    assert lines[0] != "0"
    assert {"refused", "written", "yes"} <= set(lines)  # errors and output arrive in any order
    assert (tmp_path / "run" / "steps" / "x").stat().st_uid == int(lines[0])


def test_a_character_that_is_split_between_chunks_is_printed(run):
    code, output = run("for i in $(seq 300); do printf 'Fréchet · ±'; done")
    assert (code, output) == (0, "Fréchet · ±" * 300)


def test_the_rest_of_the_output_is_printed_once(capsys):
    printer, output = containers._LogPrinter(), "one\nzwölf\nthree\n".encode()
    printer.add(output[:6])  # within a character
    printer.finish(output)
    printer.add(b"late")
    assert capsys.readouterr().out == output.decode()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM], ids=lambda end: end.name)
def test_an_interrupted_command_leaves_no_container(engine, end):
    program = """
        import docker
        from pipelines.local import containers
        from ganlib.environment import end_on_sigterm
        arguments = {"name": "gan-pipelines-interrupted"}
        with end_on_sigterm():
            containers._run(docker.from_env(), "python:3.11-slim", ["sleep", "100"], {}, **arguments)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (found := engine.containers.list(filters={"name": "gan-pipelines-interrupted"})):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(end)
    process.wait(timeout=60)
    assert found[0].status == "running"
    assert not engine.containers.list(all=True, filters={"name": "gan-pipelines-interrupted"})


def test_the_patch_is_for_this_version_of_kfp_only_and_is_undone(monkeypatch):
    original = docker_task_handler.run_docker_container
    with containers.wait_for_exit_codes():
        assert docker_task_handler.run_docker_container is containers._run
    assert docker_task_handler.run_docker_container is original
    monkeypatch.setattr(kfp, "__version__", "2.18.0")
    with containers.wait_for_exit_codes():
        assert docker_task_handler.run_docker_container is original


@pytest.mark.skipif(os.getuid() != 0, reason="only root's folders are opened")
def test_a_home_elsewhere_is_created_with_access_for_the_steps(tmp_path):
    before = os.umask(0o022)
    try:
        containers.create_shared_folders(
            tmp_path / "runs", tmp_path / "runs" / "digits", writes=[tmp_path / "far" / "home"]
        )
    finally:
        os.umask(before)
    assert (tmp_path / "far" / "home").stat().st_mode & 0o070 == 0o070
    assert not (tmp_path / "runs" / "digits" / "training").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root's folders are opened")
def test_steps_get_access_to_files_of_a_run_without_containers(tmp_path):
    folders = [tmp_path / "mlflow-artifacts" / "models" / "m-1", tmp_path / "digits" / "training" / "checkpoints"]
    for folder in folders:
        folder.mkdir(parents=True, mode=0o755)
        (folder / "file").touch(mode=0o644)
    (tmp_path / "digits" / "link").symlink_to(tmp_path / "nowhere")
    before = os.umask(0o022)
    try:
        containers.create_shared_folders(tmp_path, tmp_path / "digits", writes=[tmp_path / "digits" / "training"])
    finally:
        os.umask(before)
    for folder in folders:
        assert folder.parent.stat().st_mode & 0o070 == 0o070
        assert folder.stat().st_mode & 0o070 == 0o070
        assert (folder / "file").stat().st_mode & 0o060 == 0o060


def test_inputs_of_steps_are_mounted_read_only(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "abc")
    monkeypatch.setenv("HOME_OF_SOMEONE", "elsewhere")
    monkeypatch.setenv("GAN_PIPELINES_KFP_TOKEN", "of a cluster")
    inside, outside, home = tmp_path / "runs" / "images", tmp_path / "images", tmp_path / "home"
    writes = [home, tmp_path / "runs" / "digits" / "training"]
    runner = containers.create_runner(tmp_path / "runs", reads=[inside, outside], writes=writes, environment={})
    arguments = runner.container_run_args
    mounts = {mount["Target"]: mount["ReadOnly"] for mount in arguments["mounts"]}
    assert mounts == {str(tmp_path / "runs"): False, str(outside): True, str(home): False}
    assert arguments["environment"]["MLFLOW_TRACKING_TOKEN"] == "abc"
    assert not {"HOME_OF_SOMEONE", "GAN_PIPELINES_KFP_TOKEN"} & set(arguments["environment"])


def test_downloads_go_to_the_cache_of_the_user_or_to_the_folder_of_all_runs(tmp_path, monkeypatch):
    def cache():
        writes = containers.download_folders(tmp_path / "runs")
        arguments = containers.create_runner(
            tmp_path / "runs", reads=[], writes=writes, environment={}
        ).container_run_args
        path = arguments["environment"]["GAN_PIPELINES_CACHE"]
        mounts = [mount["Target"] for mount in arguments["mounts"] if not mount["ReadOnly"]]
        assert any(Path(path).is_relative_to(mount) for mount in mounts)
        return path

    assert cache() == str(tmp_path / "runs" / ".cache" / "downloads")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAN_PIPELINES_CACHE", "mine")
    assert cache() == str(tmp_path / "mine")


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("options", "host", "code", "message"),
    [
        (["--image", "x"], "", 2, "--image needs --runner docker"),
        (["--runner", "podman"], "", 2, "'podman' is not one of"),
        (["--runner", "docker"], "unix:///nowhere.sock", 1, "no container engine can be reached"),
    ],
)
def test_a_mistake_is_one_line(options, host, code, message, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", host)
    result = CliRunner().invoke(main, ["run", "--root", str(tmp_path), *options])
    assert result.exit_code == code
    assert message in result.stderr.splitlines()[-1]
    gc.collect()  # Docker's library leaves a socket open; the warning about it is ignored here


def test_a_target_that_containers_cannot_write_to_is_refused(tmp_path):
    settings = ["--set", f"export.target={tmp_path / 'elsewhere'}", "--root", str(tmp_path / "runs")]
    result = CliRunner().invoke(main, ["run", "--runner", "docker", *settings])
    assert result.exit_code == 2
    assert "expected export.target in a bucket or in" in result.stderr.splitlines()[-1]


def test_an_image_that_is_not_there_is_named(engine):
    with pytest.raises(ValueError, match=r"`make image` builds it. Received: image='nothere:1'"):
        containers.image_id("nothere:1")


@pytest.fixture
def borrowing(engine, tmp_path, monkeypatch):
    """An image without libraries, which uses those of this installation: `make image` takes minutes."""
    where = "import site; print(site.getsitepackages()[0])"  # isolated processes read it, too, unlike PYTHONPATH
    lines = f"""FROM {BASE}
ENV HOME=/tmp LOGNAME=gan PYTHONDONTWRITEBYTECODE=1
RUN printf '{LIBRARIES}\\n{REPOSITORY}\\n' > "$(python3 -c '{where}')/borrowed.pth"
"""
    name = "gan-pipelines-borrowing:python3.11"
    engine.images.build(fileobj=io.BytesIO(lines.encode()), tag=name)
    input_files = session._input_files
    monkeypatch.setattr(session, "_input_files", lambda *configs: [*input_files(*configs), LIBRARIES, REPOSITORY])
    yield name
    engine.images.remove(name, force=True)


def run_in_containers(root, image, *settings):
    options = [word for setting in (*TINY, *settings) for word in ("--set", setting)]
    command = ["run", "--runner", "docker", "--image", image, "--root", str(root), "--name", "digits", "--json"]
    result = CliRunner().invoke(main, [*command, *options])
    return result, json.loads(result.stdout.splitlines()[-1])


def test_the_digits_pipeline_runs_in_containers(borrowing, tmp_path, tmp_path_factory):
    home = tmp_path_factory.mktemp("elsewhere") / "home"
    result, printed = run_in_containers(tmp_path, borrowing, f"training.home={home}")
    assert result.exit_code == 0, result.output
    assert printed["status"] == "succeeded"
    assert (home / "checkpoints").is_dir()
    model = tmp_path / "digits" / "model"
    assert {path.name for path in model.iterdir()} >= {"saved_model", "generator.keras"}
    assert model.resolve().stat().st_uid == (os.getuid() or 10001)


def test_a_step_that_fails_in_its_container_fails_the_run_with_its_own_line(borrowing, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(20):  # enough for a batch, if they were images
        (images / f"{number}.png").write_bytes(b"no image")
    settings = ["data.source.kind=image_folder", f"data.source.path={images}", "task.conditional=false"]
    result, printed = run_in_containers(tmp_path / "runs", borrowing, *settings)
    assert result.exit_code == 2
    assert printed["error"].startswith("prepare_data: 20 of 20 images cannot be used")
