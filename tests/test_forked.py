"""Steps that are forked from a process with the libraries: isolation, output, exit codes, and no process left over."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from kfp import dsl
from kfp.local import subprocess_task_handler

from pipelines.local import forked

MODULES = ("json", "kfp.dsl.executor")  # instead of TensorFlow, which takes seconds
HOLDING = """
import sys, time
from pipelines.local import forked
forked.MODULES = ("json",)
with forked.forked_steps({}, at_once=True):
    print(flush=True)
    time.sleep(60)
"""


def told(word: str):
    import os
    import sys

    print(word, os.environ["WORD"], os.getpid(), os.getppid(), "kfp.dsl.executor" in sys.modules, flush=True)
    os.environ["WORD"] = "changed"


def fails(word: str):
    raise SystemExit(3)


def breaks(word: str):
    raise LookupError(word)


def killed(word: str):
    import os

    os.kill(os.getpid(), 9)


def saves(word: str):
    import os
    import signal
    import sys
    import time

    def save(number, frame):
        time.sleep(0.5)
        print("saved", word, flush=True)
        sys.exit(1)

    signal.signal(signal.SIGTERM, save)
    os.kill(int(os.environ["RUNNER"]), signal.SIGINT)  # as Ctrl-C does
    time.sleep(60)


def run(function, tmp_path):
    """Runs a function as a step."""
    component = dsl.component(function, base_image="python", install_kfp_package=False)
    command = component.component_spec.implementation.container.command
    inputs = '{"inputs": {"parameterValues": {"word": "here"}}, "outputs": {"outputFile": "%s"}}'
    arguments = ["--executor_input", inputs % (tmp_path / "out.json"), "--function_to_execute", function.__name__]
    command = subprocess_task_handler.replace_python_executable(command, sys.executable)
    return subprocess_task_handler.run_local_subprocess(full_command=[*command, *arguments])


@pytest.fixture
def steps(monkeypatch):
    monkeypatch.setattr(forked, "MODULES", MODULES)
    monkeypatch.setenv("WORD", "before")
    original = subprocess_task_handler.run_local_subprocess
    with forked.forked_steps({"PYTHONUNBUFFERED": "1"}, at_once=False):
        yield
    assert subprocess_task_handler.run_local_subprocess is original
    assert not servers()


def servers(process=None):
    children = (process or psutil.Process()).children(recursive=True)
    return [child for child in children if "ganlib.step_server" in child.cmdline()]


def only_server(process=None):
    """Waits for the server, which has its command line only a moment after its start."""
    deadline = time.monotonic() + 60
    while not (found := servers(process)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    [server] = found
    return server


def line_of(word, capsys):
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{word} ")]
    return line.split()[1:]


def test_each_step_is_a_process_of_its_own_with_the_environment_of_now(steps, monkeypatch, tmp_path, capsys):
    found = []
    for word in ("first", "second"):
        monkeypatch.setenv("WORD", word)
        assert run(told, tmp_path) == 0
        found.append(line_of("here", capsys))
    server = only_server()
    assert [(word, int(parent), libraries) for word, _, parent, libraries in found] == [
        ("first", server.pid, "True"),
        ("second", server.pid, "True"),
    ]
    assert len({pid for _, pid, _, _ in found} | {str(os.getpid())}) == 3


def test_a_step_that_ends_badly_has_its_exit_code_and_the_next_one_runs(steps, tmp_path, capsys):
    assert [run(function, tmp_path) for function in (fails, breaks, killed, told)] == [3, 1, -9, 0]
    assert "LookupError: here" in capsys.readouterr().out


def test_an_interrupted_step_may_finish_what_it_saves(steps, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RUNNER", str(os.getpid()))
    with pytest.raises(KeyboardInterrupt):
        run(saves, tmp_path)
    assert "saved here" in capsys.readouterr().out


def test_steps_run_as_usual_when_the_process_is_gone(steps, tmp_path, capsys):
    assert run(told, tmp_path) == 0
    server = only_server()
    server.kill()
    server.wait()
    capsys.readouterr()
    assert run(told, tmp_path) == 0
    assert int(line_of("here", capsys)[2]) != server.pid


def test_a_step_that_needs_no_library_does_not_wait_for_them(steps, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(forked, "LIGHT_STEPS", ("told",))
    assert run(told, tmp_path) == 0
    assert int(line_of("here", capsys)[2]) not in {server.pid for server in servers()}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_is_left_over(number):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        process.stdout.readline()
        server = only_server(psutil.Process(process.pid))
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        process.wait()
        deadline = time.monotonic() + 60
        while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.05)
