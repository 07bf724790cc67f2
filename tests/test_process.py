"""Processes that answer one question: what they see, how they end, and what is said of it."""

import json

import forked_processes
import pytest

from ganlib.export.process import process

ECHO = "import json, sys; print('noise'); print(json.dumps({**json.loads(input()), 'argv': sys.argv[1:]}))"


def test_a_program_sees_the_installed_packages_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    code = "import json, sys; question = input(); print(json.dumps({'path': sys.path}))"
    with process("-c", code) as started:
        path = started.answer({})["path"]
    assert path
    assert not {"", str(tmp_path)} & set(path)
    with process("-c", ECHO, "one", "zwölf") as started:
        assert started.answer({"number": 7, "text": "Fréchet"}) == {
            "number": 7,
            "text": "Fréchet",
            "argv": ["one", "zwölf"],
        }


def test_a_program_that_takes_too_long_is_told_and_ends_with_its_block():
    with (
        process("-c", "import time; time.sleep(100)") as started,
        pytest.raises(RuntimeError, match=r"^no answer within 0\.2 s$"),
    ):
        started.answer({}, seconds=0.2)
    assert started._started.returncode == -9


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import os, signal; input(); os.kill(os.getpid(), signal.SIGKILL)", r"^killed by signal 9$"),
        ("print('{}'); raise SystemExit(1)", r"^exit code 1, no message$"),
        ("print('{}'); raise ValueError('why')", r"^ValueError: why$"),
        ("input()", r"^exit code 0, no message$"),
        ("raise SystemExit('x' * 1000)", r"^x{300}$"),
    ],
)
def test_a_program_that_fails_is_told_in_its_last_line(code, told):
    with process("-c", code) as started, pytest.raises(RuntimeError, match=told):
        started.answer({})


def test_a_forked_program_has_this_environment_and_the_death_of_what_forks_is_told(tmp_path, monkeypatch):
    """Programs of tests, in the environment of the moment; the template itself is small here."""
    light = forked_processes.PARENT.replace("import numpy, tensorflow, keras, tf2onnx\n", "")
    assert light != forked_processes.PARENT
    monkeypatch.setattr(forked_processes, "PARENT", light)
    template = forked_processes.Template(tmp_path)
    code = "import json, os; print(json.dumps([input(), os.environ.get('ADDED'), os.getcwd()]))"
    for value in ("one", None):
        monkeypatch.setenv("ADDED", value) if value else monkeypatch.delenv("ADDED")
        assert json.loads(template.run("-c", code, text="hello\n", cwd=tmp_path).stdout) == [
            "hello",
            value,
            str(tmp_path),
        ]
    for ending, code_of_it in {"0": 0, "3": 3, "'why'": 1}.items():
        done = template.run("-c", f"raise SystemExit({ending})")
        assert (done.returncode, done.stderr) == (code_of_it, "why" if code_of_it == 1 else "")
    template.close()
    monkeypatch.setattr(forked_processes, "PARENT", "raise ImportError('no such library')")
    (tmp_path / "other").mkdir()
    template = forked_processes.Template(tmp_path / "other")
    with pytest.raises(RuntimeError, match=r"^the process that forks others died: ImportError: no such library$"):
        template.run("-c", code)
    template.close()
