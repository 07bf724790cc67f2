"""What native code logs while it starts is dropped, and all else arrives."""

import os
import signal
import subprocess
import sys

import exported_models as models
import numpy as np
import pytest
from PIL import Image

START = """
import os, signal, subprocess, sys
from pipelines.command.native import without_native_noise
with without_native_noise():
"""
NOISE = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795855265.492129   12722 port.cc:153] oneDNN custom operations are on.",
    "W0000 00:00:1795855265.492129   12722 loader.cc:8] slow",
    "2026-11-28 08:00:00.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] AVX2",
]
OTHERS = ["E0000 00:00:1795855265.492129   12722 cuda.cc:1] no device", "libthing: cannot open", "I am a sentence"]


def run_script(*body, **options):
    lines = "".join(f"    {line}\n" for line in body)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return subprocess.run(
        [sys.executable, "-c", START + lines],
        check=False,
        text=True,
        **{**streams, "env": environment, "timeout": 60, **options},
    )


def write(text):
    """A line of a script that writes to standard error as native code does."""
    return f"os.write(2, {text.encode()!r})"


def test_information_and_warnings_of_native_code_are_dropped_and_nothing_else():
    done = run_script(
        *(write(f"{line}\n") for line in NOISE + OTHERS), f"sys.stderr.write({NOISE[1]!r} + chr(10))", "print('out')"
    )
    assert done.returncode == 0
    assert done.stdout == "out\n"
    assert sorted(done.stderr.splitlines()) == sorted([*OTHERS, NOISE[1]])  # what Python wrote is not native


@pytest.mark.parametrize("level", ["0", "1", "2"])
def test_whoever_asks_for_such_lines_gets_them(level):
    done = run_script(write(f"{NOISE[1]}\n"), env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": level})
    assert bool(done.stderr) == (level != "2")


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGKILL])
def test_the_last_words_of_a_process_that_dies_are_shown(number):
    done = run_script(write("this needs another CPU"), f"os.kill(os.getpid(), {number})")
    assert done.returncode == -number
    assert done.stderr == "this needs another CPU"


@pytest.mark.parametrize("before", ["", "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"])
def test_errors_of_python_and_exit_codes_stay_the_same(before):
    done = run_script(before or "pass", "raise SystemExit('it ended')")
    assert (done.returncode, done.stderr) == (1, "it ended\n")
    done = run_script(before or "pass", "1 / 0")
    assert done.returncode == 1
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize("redirected", [">&-", "2>&-", "2> /dev/full", "< /dev/null"])
def test_a_stream_that_is_closed_or_full_changes_nothing(tmp_path, redirected):
    (tmp_path / "script.py").write_text(
        START + "    done = subprocess.run('echo lost >&2 && exit 7', shell=True)\n    sys.exit(done.returncode)\n"
    )
    # A shell whose line is lost may end with another code, but no signal may end it.
    codes = "7" if "2" not in redirected else "[1-7]"
    command = f'"$PYTHON" script.py {redirected}; case $? in {codes}) echo fine > result;; esac'
    subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert (tmp_path / "result").read_text() == "fine\n"


def test_a_program_that_stays_is_not_waited_for(tmp_path):
    with (tmp_path / "stderr").open("w+") as file:
        done = run_script(
            "print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL).pid, flush=True)",
            write("end\n"),
            stderr=file,
            timeout=30,
        )
        os.kill(int(done.stdout), signal.SIGKILL)
        file.seek(0)
        assert file.read() == "end\n"


def test_a_command_that_uses_tensorflow_prints_its_own_lines_alone(tmp_path):
    model = models.save(tmp_path / "model", {"translate": (models.identity, models.any_size())})
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    words = ["apply", str(model), str(tmp_path / "a.png"), "-o", str(tmp_path / "out")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    for settings, quiet in (({}, True), ({"TF_CPP_MIN_LOG_LEVEL": "1"}, False)):
        command = [sys.executable, "-m", "pipelines", *words, "--overwrite"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean | settings)
        assert done.returncode == 0
        assert (done.stderr == "") == quiet, done.stderr
