"""Lines that say how far long work is: one that stays in place on a terminal, short ones elsewhere."""

import itertools
import re
import subprocess
import sys
import time
import types

import pytest
from pseudo_terminal import Terminal

from ganlib import progress
from ganlib.progress import Progress, ProgressLine, duration, number
from ganlib.training.callbacks import ReportProgress
from ganlib.training.state import Best

LINE = re.compile(
    r"^train +(?P<percent>\d+)%  (?P<done>[\d,]+)/(?P<total>[\d,]+) steps  (?P<rate>\S+)/s  (?P<end>(ETA|took) \S+)"
    r"(  (?P<note>.+))?$"
)
# A training of 2,400 steps; where it stops it waits for a line of input.
TRAINING = """
import sys, time
from ganlib import progress
progress.REDRAW = 0.0
def wait():
    assert sys.stdin.readline()
with progress.on_terminal():
    shown = progress.Progress("train", total=2400, unit="steps")
    time.sleep(0.1)  # fewer than 10,000 steps a second
    shown.update(600, note="score 0.0151 (best 0.0132)", brief="score 0.0151 (0.0132)")
    wait()
    print("health: step 600: plateau", flush=True)
    print("a warning", file=sys.stderr, flush=True)
    print("half a line", end="", flush=True)
    shown.update(1200, note="score 0.0141 (best 0.0132)", brief="score 0.0141 (0.0132)")
    print(", the other half", flush=True)
    wait()
    shown.update(1800)
    wait()
    shown.update(2400)
print("done")
"""


def read(capsys):
    lines = capsys.readouterr().out.splitlines()
    matches = [LINE.match(line) for line in lines]
    assert all(matches), lines
    return [match.groupdict() for match in matches]


def line_of(**values):
    of = {"label": "train", "done": 1008, "total": 2400, "unit": "steps", "rate": 61.23, "seconds": 23.0, "due": True}
    note = {"note": "score 0.0141 (best 0.0132)", "brief": "score 0.0141 (0.0132)"}
    return ProgressLine(**{**of, **note, **values})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (48.2, "48s"),
        (59.6, "1m00s"),
        (185, "3m05s"),
        (3599.6, "1h00m"),
        (7449, "2h04m"),
        (360_000, "100h00m"),
    ],
)
def test_a_duration_reads_as_people_say_it(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01321, "0.0132"), (61.23, "61.2"), (99.96, "100"), (4042.4, "4,042"), (-12.47, "-12.5"), (0.0, "0")],
)
def test_a_number_has_three_digits_and_no_exponent(value, text):
    assert number(value) == text


def test_a_line_says_percent_count_rate_and_what_is_left(capsys):
    progress = Progress("train", total=2000, unit="steps", interval=0.0)
    time.sleep(0.05)
    progress.update(1500, note="score 0.7")
    (line,) = read(capsys)
    assert (line["percent"], line["done"], line["total"], line["note"]) == ("75", "1,500", "2,000", "score 0.7")
    assert line["end"] == "ETA 0s"
    assert 0 < float(line["rate"].replace(",", "")) <= 1500 / 0.05


def test_the_time_left_follows_from_the_mean_rate(capsys):
    progress = Progress("train", total=1000, unit="steps", interval=0.0)
    time.sleep(0.2)
    progress.update(2)
    (line,) = read(capsys)
    # At least 0.1 s a step and 998 to go: 100 s, or more on a busy machine.
    assert re.fullmatch(r"ETA \d+m\d\ds", line["end"])
    assert int(line["end"].removeprefix("ETA ").partition("m")[0]) >= 1


def test_lines_keep_their_interval_but_the_last_one_always_comes(capsys):
    progress = Progress("train", total=100, unit="steps", interval=60.0)
    for done in range(1, 101):
        progress.update(done, note=f"loss {done}" if done % 30 == 0 else "")
    (line,) = read(capsys)
    assert line["done"] == "100"
    assert line["percent"] == "100"
    assert line["end"].startswith("took ")
    assert line["note"] == "loss 90"


@pytest.mark.parametrize(("hours", "fewest", "most"), [(0.05, 15, 20), (2, 80, 120), (24, 300, 400)])
def test_a_log_gets_a_line_every_ten_seconds_and_later_less_often(capsys, monkeypatch, hours, fewest, most):
    clock = types.SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    seconds = round(3600 * hours)
    shown = Progress("train", total=seconds, unit="steps")
    told = []
    for second in range(5, seconds + 1, 5):
        clock.now = 1000.0 + second
        shown.update(second)
        if capsys.readouterr().out:
            told.append(second)
    assert told[:2] == [10, 20]
    assert fewest <= len(told) <= most
    assert max(later - earlier for earlier, later in itertools.pairwise(told)) <= 300


def test_after_a_resume_the_rate_counts_only_what_was_done_since(capsys):
    progress = Progress("train", total=2_000_000, unit="steps", start=1_000_000, interval=0.0)
    time.sleep(0.1)
    progress.update(1_000_010)
    (line,) = read(capsys)
    assert line["percent"] == "50"
    assert float(line["rate"]) <= 10 / 0.1
    assert re.fullmatch(r"ETA \d+h\d\dm", line["end"])


def test_the_rate_is_that_since_the_line_before_the_last_one_and_at_the_end_the_mean(capsys, monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    shown = Progress("train", total=1000, unit="steps", interval=10.0)
    for now, done in ((10.0, 100), (20.0, 200), (30.0, 220), (40.0, 240), (50.0, 1000)):
        clock.now = now
        shown.update(done)
    assert [line["rate"] for line in read(capsys)] == ["10", "10", "6", "2", "20"]


def test_work_that_is_nothing_at_all_is_complete(capsys):
    Progress("train", total=0, unit="steps").update(0)
    (line,) = read(capsys)
    assert line["end"].startswith("took ")


def test_what_fits_is_shown_and_no_number_is_cut():
    assert line_of().text(100) == "train  42%  1,008/2,400 steps  61.2/s  ETA 23s  score 0.0141 (best 0.0132)"
    assert line_of().text(79) == line_of().text(100)
    assert line_of().text(70) == "train  42%  61.2 steps/s  ETA 23s  score 0.0141 (best 0.0132)"
    assert line_of().text(39) == "42% 61.2/s 23s score 0.0141 (0.0132)"
    assert line_of(seconds=7440.0).text(39) == "42% 61.2/s 2h04m score 0.0141 (0.0132)"
    whole = {*line_of().text(200).replace("(", " ").replace(")", " ").split(), "42%", "61.2", "61.2/s", "steps/s"}
    for width in range(200):
        text = line_of().text(width)
        assert len(text) <= width
        assert {*text.replace("(", " ").replace(")", " ").split()} <= whole


def test_a_long_label_is_cut_and_wide_letters_count_twice():
    assert line_of(label="features of " + "photos" * 20).text(79).startswith("features of photosphotosph  42%  ")
    wide = line_of(label="\u5199\u771f" * 30, note="", brief="").text(60)
    assert wide.startswith("\u5199\u771f" * 5 + "  42%")


def test_values_pass_through_a_line_of_text():
    line = line_of(label='a\nlabel "of" \u5199', seconds=None)
    text = line.to_json()
    assert text[0] == progress.MARK
    assert text.isascii()
    assert "\n" not in text
    assert ProgressLine.from_json(text[1:]) == line


@pytest.mark.parametrize("columns", [80, 40])
def test_a_line_stays_in_place_below_all_others(columns):
    with Terminal(TRAINING, columns=columns) as terminal:
        lines = terminal.read(r"0\.0132\)")
        assert len(lines) == 1
        for part in ("25%", "/s", "0.0151", "0.0132"):
            assert part in lines[0]
        terminal.type("\n")
        lines = terminal.read(r"50%.*0\.0132\)")
        text = "".join(lines[:-1])
        for part in ("health: step 600: plateau", "a warning", "half a line, the other"):
            assert text.count(part) == 1
        assert sum("%" in line for line in lines) == 1
        terminal.type("\n")
        terminal.read("75%")
        terminal.type("\n")
        lines, code = terminal.to_end()
        assert code == 0
        assert [line for line in lines if line][-1] == "done"
        (line,) = [line for line in lines if "%" in line]
        assert "100%" in line
        assert line.endswith("score 0.0141 (best 0.0132)" if columns == 80 else "score 0.0141 (0.0132)")


def test_a_line_fits_a_terminal_that_changes_its_width():
    with Terminal(TRAINING, columns=80) as terminal:
        wide = terminal.read(r"0\.0132\)")[-1]
        assert "600/2,400 steps" in wide
        terminal.resize(40)
        terminal.type("\n")
        narrow = terminal.read("50%.*")[-1]
        assert len(narrow) < 40
        terminal.resize(120)
        terminal.type("\n")
        assert "1,800/2,400 steps" in terminal.read("75%.*steps.*2\\)")[-1]


def test_ctrl_c_leaves_no_half_of_a_line():
    code = TRAINING.replace("with progress", "try:\n  with progress").replace("\n    ", "\n      ")
    code = code.replace(
        '\nprint("done")', '\nexcept KeyboardInterrupt:\n  print("error: interrupted", file=sys.stderr)'
    )
    with Terminal(code, columns=80, echo=True) as terminal:
        terminal.read(r"0\.0132\)")
        terminal.type("\x03")
        lines, status = terminal.to_end()
    assert status == 0
    assert [line for line in lines if line] == ["error: interrupted"]


@pytest.mark.parametrize("where", ["a file", "a terminal that erases nothing"])
def test_elsewhere_short_lines_are_written_without_any_control_character(where, tmp_path):
    code = TRAINING.replace("assert sys.stdin.readline()", "pass").replace(
        "2400)\nprint", '2400, note="score 0.0141 (best 0.0132), " + "and more " * 20)\nprint'
    )
    if where == "a file":
        with (tmp_path / "log.txt").open("w") as file:
            subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
        text = (tmp_path / "log.txt").read_text()
    else:
        with Terminal(code, columns=120, environment={"TERM": "dumb"}) as terminal:
            terminal.to_end()
            text = terminal.written.replace("\r\n", "\n")
    assert "\x1b" not in text
    assert "\r" not in text
    (line,) = [line for line in text.splitlines() if "%" in line]
    assert re.match(r"train 100%  [\d,]+/s  0s", line)  # without the note, which is too long
    assert len(line) <= 100


def test_training_says_once_what_a_step_is_and_what_the_score_is(capsys):
    measure = "training/fd_digits_classifier"
    report = ReportProgress(steps=2400, start=0, discriminator_steps=5, measure=measure, minutes=None)
    report._progress = Progress("train", total=2400, unit="steps", interval=0.0)
    state = types.SimpleNamespace(best=Best())
    report(100, {}, state)
    state.best = Best(0.0132, 200, {})
    report(200, {measure: 0.0132}, state)
    report(300, {}, state)
    report(400, {measure: 0.01411}, state)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "train: 2,400 steps, 5 discriminator updates each",
        "train: the score is fd_digits_classifier; lower is better",
    ]
    notes = [LINE.match(line)["note"] for line in lines[2:]]
    assert notes == [None, *["score 0.0132 (best 0.0132)"] * 2, "score 0.0141 (best 0.0132)"]
    assert all(len(line) <= 80 for line in lines)


def test_a_training_with_a_time_limit_ends_at_the_steps_that_there_is_time_for(capsys):
    report = ReportProgress(steps=10_000, start=0, discriminator_steps=1, measure="training/fd_x", minutes=2.0)
    report._progress = Progress("train", total=10_000, unit="steps", interval=0.0)
    clock = types.SimpleNamespace(seconds=60.0)
    report(300, {}, types.SimpleNamespace(best=Best(), clock=clock))
    clock.seconds = 121.0  # the trainer ends it after this
    report(600, {}, types.SimpleNamespace(best=Best(), clock=clock))
    first, _, *lines = capsys.readouterr().out.splitlines()
    assert first == "train: at most 2 minutes or 10,000 steps"
    assert [line.split()[1:3] for line in lines] == [["50%", "300/600"], ["99%", "600/601"]]


def test_a_training_that_resumes_shows_the_best_score_until_it_has_another(capsys):
    report = ReportProgress(steps=2400, start=1200, discriminator_steps=1, measure="training/fd_x", minutes=None)
    report._progress = Progress("train", total=2400, unit="steps", interval=0.0)
    report(1300, {}, types.SimpleNamespace(best=Best(0.0132, 1200, {})))
    first, _, line = capsys.readouterr().out.splitlines()
    assert first == "train: 2,400 steps"
    assert LINE.match(line)["note"] == "best score 0.0132"
