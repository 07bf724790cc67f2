"""What a person sees of the steps, and what the file keeps."""

import io

import pytest
from pseudo_terminal import Terminal

from ganlib import progress
from ganlib.progress import ProgressLine
from pipelines.local.terminal import StepLog, step_log

DUMP = """Looking for component `prepare_data` in --component_module_path `/tmp/x/ephemeral_component.py`
[KFP Executor 2026-01-01 00:00:00,000 INFO]: Got executor_input:
{
    "inputs": {
        "parameterValues": {}
    }
}
"""


def written(*pieces):
    file, terminal = io.StringIO(), io.StringIO()
    log = StepLog(file, terminal)
    for piece in pieces:
        assert log.write(piece) == len(piece)
    return file.getvalue(), terminal.getvalue()


def test_a_line_worth_reading_goes_to_both_and_a_line_of_noise_to_the_file_only():
    noise = "I0000 00:00:1700000000.000000  1 port.cc:153] oneDNN custom operations are on\n"
    file, terminal = written(
        "prepare 100%\n", noise, "    [KFP Executor 2026 INFO]: Setup\n", "-" * 40 + "\n", "done\n"
    )
    assert terminal == "prepare 100%\ndone\n"
    assert file == "prepare 100%\n" + noise + "    [KFP Executor 2026 INFO]: Setup\n" + "-" * 40 + "\ndone\n"


@pytest.mark.parametrize(
    "noise",
    [
        "E0000 00:00:1700000000.000000  1 cuda_dnn.cc:8310] Unable to register cuDNN factory",
        "I1127 18:40:01.123456  123 gpu_device.cc:2022] Created device",
        "2026-11-27 18:40:01.123456: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on",
        "2026-11-27 18:40:01.123456: W external/local_xla/xla/tsl/framework/cpu_allocator_impl.cc:83] Allocation",
    ],
)
def test_what_tensorflow_says_of_itself_is_left_to_the_file(noise):
    error = "2026-11-27 18:40:01.123456: E tensorflow/core/out_of_memory.cc:1] why"
    file, terminal = written(f"    {noise}\n    {error}\n")
    assert terminal == f"{error}\n"
    assert noise in file


RUN = """18:49:30.090 - INFO - Running pipeline: 'gan-training'
--------------------
18:49:30.107 - INFO - Executing task 'prepare-data'
18:49:30.108 - INFO - Streamed logs:

    prepare 100%
    

18:49:38.353 - INFO - Task 'prepare-data' finished with status SUCCESS
18:49:38.354 - INFO - Task 'prepare-data' outputs:
    dataset: Dataset( name='dataset',
                      uri='/x')
--------------------
18:49:38.379 - INFO - Executing task 'train-gan'
18:49:38.379 - INFO - Streamed logs:

    train 100%
    

18:49:52.774 - INFO - Task 'train-gan' finished with status SUCCESS
18:49:52.776 - WARNING - Failed to read cache entry x
18:49:52.777 - INFO - Cache entry for key x references missing artifact y
18:49:52.778 - INFO - Pipeline 'gan-training' finished with status SUCCESS
"""  # noqa: W293  # as KFP writes it


def test_of_kfps_own_lines_those_remain_that_say_which_step_begins_or_what_is_unusual():
    file, terminal = written("data: 20 images\n", RUN)
    assert file == "data: 20 images\n" + RUN
    assert terminal.splitlines() == [
        "data: 20 images",
        "",
        "18:49:30  prepare_data",
        "prepare 100%",
        "",
        "18:49:38  train_gan",
        "train 100%",
        "",
        "18:49:52.776 - WARNING - Failed to read cache entry x",
        "18:49:52.777 - INFO - Cache entry for key x references missing artifact y",
    ]


def test_why_a_step_failed_is_left_to_the_last_line_of_the_command():
    begins, dashes = "18:49:38.379 - INFO - Executing task 'train-gan'\n", "-" * 20
    own = "    error: train_gan: expected more\n    error: train_gang is another word\n    \n\n"
    task, status = "\x1b[96m'train-gan'\x1b[0m", "\x1b[91mFAILURE\x1b[0m"
    ends = f"18:49:52.774 - ERROR - Task {task} finished with status {status}\n{dashes}\n"
    file, terminal = written(begins, own, ends)
    assert "error: train_gan: expected more" in file
    assert "FAILURE" in file
    assert terminal.splitlines() == ["", "18:49:38  train_gan", "error: train_gang is another word"]


def test_the_dump_of_a_steps_inputs_is_left_out_up_to_its_end():
    dump = "".join(f"    {line}\n" for line in DUMP.splitlines())
    file, terminal = written(dump, "    train 10%\n")
    assert terminal.endswith("train 10%\n")
    assert "parameterValues" not in terminal
    assert "executor_input" not in terminal
    assert "parameterValues" in file


def test_the_long_lines_of_a_steps_outputs_are_left_to_the_file():
    begins = "12:00:00.000 - INFO - Task \x1b[96m'train-gan'\x1b[0m outputs:\n"
    told = "    trained: Model( name='trained',\n                    uri='/x')\n"
    file, terminal = written(begins, told, "12:00:00.000 - INFO - Executing task 'evaluate-gan'\n", "    error: why\n")
    assert terminal == "\n12:00:00  evaluate_gan\nerror: why\n"
    assert "trained: Model(" in file


def test_pieces_of_a_line_are_put_together():
    file, terminal = written("tra", "in 1", "0%\nev", "aluate", "\n")
    assert file == terminal == "train 10%\nevaluate\n"


def test_an_error_of_a_step_is_never_hidden():
    _, terminal = written(
        "    error: prepare_data: 3 of 3 images cannot be used\n", "    Traceback (most recent call last):\n"
    )
    assert terminal.count("\n") == 2


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [Screen(), io.StringIO()])
def test_colours_reach_a_screen_and_nothing_else(terminal):
    file = io.StringIO()
    StepLog(file, terminal).write("12:00:00.000 - INFO - Executing task \x1b[96m'train-gan'\x1b[0m\n")
    assert file.getvalue() == "12:00:00.000 - INFO - Executing task 'train-gan'\n"
    assert ("\x1b[96m" in terminal.getvalue()) == terminal.isatty()


def test_a_dump_that_ends_otherwise_hides_nothing_after_it():
    dump = "".join(f"    {line}\n" for line in DUMP.splitlines()[:-1])
    for line in ("12:00:00.000 - ERROR - Task 'prepare-data' failed\n", "    error: prepare_data: no images\n"):
        _, terminal = written(dump, line, "    train 10%\n")
        assert terminal.endswith(f"{line.lstrip()}train 10%\n")


def test_a_last_line_without_an_end_is_not_lost(tmp_path, capsys):
    with step_log(tmp_path / "log.txt"):
        print("first\nlast", end="")
    assert capsys.readouterr().out == (tmp_path / "log.txt").read_text() == "first\nlast\n"


def test_blank_lines_in_a_row_become_one():
    file, terminal = written("a\n\n\n\nb\n")
    assert terminal == "a\n\nb\n"
    assert file == "a\n\n\n\nb\n"


def test_standard_output_goes_through_the_log_and_the_file_grows_from_run_to_run(tmp_path, capsys):
    for word in ("first", "second"):
        with step_log(tmp_path / "log.txt"):
            print(word)
            print("[KFP Executor] hidden")
        print("outside")
    assert capsys.readouterr().out == "first\noutside\nsecond\noutside\n"
    kept = (tmp_path / "log.txt").read_text()
    assert kept == "first\n[KFP Executor] hidden\nsecond\n[KFP Executor] hidden\n"


def progress_of(done, *, due=True):
    values = {"label": "train", "total": 200, "unit": "steps", "rate": 61.2, "seconds": 3.0}
    return ProgressLine(done=done, due=due, **values, note="score 0.0141 (best 0.0132)", brief="").to_json()


def test_without_a_terminal_a_line_of_progress_comes_where_it_is_due():
    file, terminal = written(f"    {progress_of(20, due=False)}\n    {progress_of(50)}\n    {progress_of(200)}\n")
    lines = ["train  25%  50/200 steps  61.2/s  ETA 3s", "train 100%  200/200 steps  61.2/s  took 3s"]
    assert terminal == "".join(f"{line}  score 0.0141 (best 0.0132)\n" for line in lines)
    assert file == "".join(f"    {line}\n" for line in terminal.splitlines())


def test_a_line_that_another_thread_of_the_step_began_is_not_lost():
    file, terminal = written(f"    tracking: MLflow is away{progress_of(50)}\n")
    assert "tracking: MLflow is away\n" in terminal
    assert "tracking: MLflow is away\n" in file
    assert terminal.startswith("train  25%")


@pytest.mark.parametrize("text", ["a\x1e{}", '\x1e{"label": ', "\x1e[1]", "a\x1eb"])
def test_what_another_program_prints_behind_the_mark_is_text(text):
    file, terminal = written(f"{text}\n")
    assert file == terminal == f"{text}\n"


STEP = """
import sys, time
from ganlib import progress
progress.REDRAW = 0.0
sys.stderr.write("I0000 00:00:1700000000.000000  1 port.cc:153] oneDNN custom operations are on\\n")
shown = progress.Progress("train", total=2000, unit="steps")
for step in range(100, int(sys.argv[1]) + 1, 100):
    shown.update(step, note="score 0.0141 (best 0.0132)", brief="score 0.0141 (0.0132)")
    if step == 1000:
        print("health: step 1000: plateau", flush=True)
    time.sleep(0.02)
time.sleep(float(sys.argv[2]))
"""
# What `gan-pipelines run` does with a step, by KFP's own functions.
PARENT = f"""
import logging, os, sys
from pathlib import Path
from kfp.local import logging_utils, subprocess_task_handler
from ganlib import progress
from pipelines.local import terminal
os.environ[progress.FORMAT] = "json"
try:
    with progress.on_terminal(), terminal.step_log(Path(sys.argv[1])), logging_utils.local_logger_context():
        for name, *words in (("train-gan", "1200", sys.argv[2]), ("evaluate-gan", "2000", "0")):
            logging.info(f"Executing task '{{name}}'")
            logging.info("Streamed logs:\\n")
            with logging_utils.indented_print():
                subprocess_task_handler.run_local_subprocess([sys.executable, "-c", {STEP!r}, *words])
            logging.info(f"Task '{{name}}' finished with status SUCCESS")
except KeyboardInterrupt:
    print("error: interrupted", file=sys.stderr)
"""


@pytest.mark.parametrize("columns", [80, 40])
def test_a_steps_line_stays_in_place_through_kfps_pipe_and_goes_with_the_step(tmp_path, columns):
    log = tmp_path / "log.txt"
    with Terminal(PARENT, str(log), "0", columns=columns) as screen:
        first = screen.read(r"(?s)plateau\n.*60%.*0\.0132\)")
        second = screen.read(r"(?s)evaluate_gan\n.*25%.*0\.0132\)")
        lines, code = screen.to_end()
    assert code == 0
    for during in (first, second):
        (staying,) = [line for line in during if "%" in line]
        assert during[-1] == staying
        assert all(part in staying for part in ("/s", "0.0141"))
        assert len(staying) < columns
    (complete,) = [line for line in lines if "%" in line]
    assert "100%" in complete
    for text in ("\n".join(lines), log.read_text()):
        assert text.count("100%") == 1
        assert text.count("health: step 1000: plateau") == 2
    assert "oneDNN" in log.read_text()
    assert "\x1b" not in log.read_text()
    assert not any("oneDNN" in line or "INFO" in line for line in lines)


@pytest.mark.parametrize("of", [io.StringIO, lambda: progress.Screen(io.StringIO())])
def test_steps_write_values_only_where_a_terminal_shows_them(tmp_path, monkeypatch, of):
    from pipelines.local import session

    monkeypatch.setattr("sys.stdout", of())
    inherited = session._step_environment(tmp_path / "failure.json", "sqlite:///here.db")
    assert inherited.get(progress.FORMAT) == ("json" if of is not io.StringIO else None)


def test_ctrl_c_during_a_step_leaves_no_half_of_a_line(tmp_path):
    with Terminal(PARENT, str(tmp_path / "log.txt"), "60", columns=80, echo=True) as screen:
        screen.read("60%")
        screen.type("\x03")
        lines, _ = screen.to_end()
    assert [line for line in lines if line][-1] == "error: interrupted"
    assert not any("%" in line for line in lines)
