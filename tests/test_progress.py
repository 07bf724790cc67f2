"""Lines that tell how far long work is."""

import re
import time

import pytest

from ganlib.progress import Progress, duration

LINE = re.compile(
    r"^train +(?P<percent>\d+)%  (?P<done>\d+)/(?P<total>\d+) steps  (?P<rate>\S+) steps/s  (?P<end>(ETA|took) \S+)"
    r"(  (?P<note>.+))?$"
)


def read(capsys):
    lines = capsys.readouterr().out.splitlines()
    matches = [LINE.match(line) for line in lines]
    assert all(matches), lines
    return [match.groupdict() for match in matches]


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


def test_a_line_says_percent_count_rate_and_what_is_left(capsys):
    progress = Progress("train", total=200, unit="steps", interval=0.0)
    time.sleep(0.05)
    progress.update(50, note="loss 0.7")
    (line,) = read(capsys)
    assert (line["percent"], line["done"], line["total"], line["note"]) == ("25", "50", "200", "loss 0.7")
    assert line["end"] == "ETA 0s"
    assert 0 < float(line["rate"]) <= 50 / 0.05


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
        progress.update(done)
    (line,) = read(capsys)
    assert line["done"] == "100"
    assert line["percent"] == "100"
    assert line["end"].startswith("took ")


def test_after_a_resume_the_rate_counts_only_what_was_done_since(capsys):
    progress = Progress("train", total=2_000_000, unit="steps", start=1_000_000, interval=0.0)
    time.sleep(0.1)
    progress.update(1_000_010)
    (line,) = read(capsys)
    assert line["percent"] == "50"
    assert float(line["rate"]) <= 10 / 0.1
    assert re.fullmatch(r"ETA \d+h\d\dm", line["end"])


def test_each_line_gives_the_rate_since_the_line_before(capsys):
    progress = Progress("train", total=10_000, unit="steps", interval=0.0)
    progress.update(5_000)
    time.sleep(0.1)
    progress.update(5_001)
    first, second = read(capsys)
    assert float(second["rate"]) <= 10 < float(first["rate"])


def test_work_that_is_nothing_at_all_is_complete(capsys):
    Progress("train", total=0, unit="steps").update(0)
    (line,) = read(capsys)
    assert line["end"].startswith("took ")
