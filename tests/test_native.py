"""What native code logs while it starts stays off the terminal, and all else arrives."""

import os
import signal
import subprocess
import sys

import exported_models as models
import pytest

START = """
import os, sys
from pipelines.command.native import without_native_noise
with without_native_noise():
"""


def run_script(body, **options):
    lines = "".join(f"    {line}\n" for line in body)
    return subprocess.run([sys.executable, "-c", START + lines], capture_output=True, text=True, check=False, **options)


def test_information_and_warnings_of_native_code_are_dropped_and_nothing_else():
    noise = [
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        "I0000 00:00:1795855265.492129   12722 port.cc:153] oneDNN custom operations are on.",
        "W0000 00:00:1795855265.492129   12722 loader.cc:8] slow",
        "2026-11-28 08:00:00.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] AVX2",
    ]
    kept = ["E0000 00:00:1795855265.492129   12722 cuda.cc:1] no device", "libthing: cannot open", "I am a sentence"]
    texts = [f"os.write(2, {(line + chr(10)).encode()!r})" for line in noise + kept]
    done = run_script([*texts, f"sys.stderr.write({noise[1]!r} + chr(10))", "print('out')"])
    assert done.returncode == 0
    assert done.stdout == "out\n"
    assert sorted(done.stderr.splitlines()) == sorted([*kept, noise[1]])  # Python's own is not native


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGKILL])
def test_the_last_words_of_a_process_that_dies_are_shown(number):
    done = run_script(["os.write(2, b'needs instructions that this CPU has not')", f"os.kill(os.getpid(), {number})"])
    assert done.returncode == -number
    assert done.stderr == "needs instructions that this CPU has not"


def test_an_error_of_python_and_its_exit_code_are_the_same_as_ever():
    done = run_script(["raise SystemExit('it ended')"])
    assert (done.returncode, done.stderr) == (1, "it ended\n")
    assert run_script(["1 / 0"]).stderr.endswith("ZeroDivisionError: division by zero\n")


def test_a_program_that_stays_is_not_waited_for_long(tmp_path):
    body = ["import subprocess", "subprocess.Popen(['sleep', '60'])", "os.write(2, b'end' + bytes([10]))"]
    lines = "".join(f"    {line}\n" for line in body)
    with (tmp_path / "stderr").open("w+") as file:
        subprocess.run([sys.executable, "-c", START + lines], stdout=file, stderr=file, check=True, timeout=30)
        file.seek(0)
        assert file.read() == "end\n"


def test_commands_that_use_tensorflow_print_their_own_lines_alone(tmp_path):
    model = models.save(tmp_path / "model", {"translate": (models.identity, models.any_size())})
    words = ["apply", str(model), str(tmp_path / "none"), "-o", str(tmp_path / "out")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *words], capture_output=True, text=True, check=False, env=clean
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"error: no such file or folder. Received: path='{tmp_path / 'none'}'"]
