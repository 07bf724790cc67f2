"""What a person sees of the steps, and what the file keeps."""

import io

import pytest

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


def test_the_dump_of_a_steps_inputs_is_left_out_up_to_its_end():
    dump = "".join(f"    {line}\n" for line in DUMP.splitlines())
    file, terminal = written(dump, "    train 10%\n")
    assert terminal.endswith("    train 10%\n")
    assert "parameterValues" not in terminal
    assert "executor_input" not in terminal
    assert "parameterValues" in file


def test_the_long_lines_of_a_steps_outputs_are_left_to_the_file():
    begins = "12:00:00 - INFO - Task \x1b[96m'train-gan'\x1b[0m outputs:\n"
    told = "    trained: Model( name='trained',\n                    uri='/x')\n"
    file, terminal = written(begins, told, "12:00:00 - INFO - Executing task 'evaluate-gan'\n", "    error: why\n")
    assert terminal == "12:00:00 - INFO - Executing task 'evaluate-gan'\n    error: why\n"
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
    StepLog(file, terminal).write("Task \x1b[96m'train-gan'\x1b[0m finished\n")
    assert file.getvalue() == "Task 'train-gan' finished\n"
    assert ("\x1b[96m" in terminal.getvalue()) == terminal.isatty()


def test_a_dump_that_ends_otherwise_hides_nothing_after_it():
    dump = "".join(f"    {line}\n" for line in DUMP.splitlines()[:-1])
    for line in ("12:00:00 - INFO - Task 'prepare-data' finished\n", "    error: prepare_data: no images\n"):
        _, terminal = written(dump, line, "    train 10%\n")
        assert terminal.endswith(f"{line}    train 10%\n")


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
