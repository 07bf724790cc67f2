"""Several processes read images with the same result as one, and none of them outlives its work."""

import errno
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from strange_images import Deadly, Failing, Leaving, Plain, Slow

from ganlib.data import DataConfig, ImageFolder, image_chunks, prepare, reading, worker_pool
from ganlib.data.reading import Reader

SHAPE = image_chunks.ConformOptions((8, 8), "grey", "crop", "bicubic", 8)
TESTS = Path(__file__).parent
# Without a main guard: importing this script again would prepare again.
SCRIPT = """
from pathlib import Path
from ganlib.data import DataConfig, parts, prepare, reading
reading.MIN_WORK_SECONDS, parts.CHUNK_IMAGES = 0.0, 50
reading.cores = lambda: 2
started = []
begin = reading.WorkerPool.__init__
def counting(pool, count, *rest):
    started.append(count)
    begin(pool, count, *rest)
reading.WorkerPool.__init__ = counting
print("prepared", prepare(DataConfig(size=8), Path("dataset")).checksum, started)
"""
# Prints the processes that it started, and then reads for minutes.
LONG = f"""
import sys, threading, time
sys.path.append({str(TESTS)!r})
import psutil
from strange_images import Plain, Slow
from ganlib.data import image_chunks, reading
reading.MIN_WORK_SECONDS, reading.cores = 0.0, lambda: 2
def tell():
    while len(found := psutil.Process().children()) < 2:
        time.sleep(0.05)
    time.sleep(0.5)
    print(*(child.pid for child in found), flush=True)
threading.Thread(target=tell, daemon=True).start()
chunks = [[(Plain(), None)]] * 2 + [[(Slow(seconds=0.2), None)]] * 1000
with reading.Reader(image_chunks.ConformOptions((8, 8), "grey", "crop", "bicubic", 8), ()) as reader:
    for _ in reader.prepare_chunks(chunks, total=len(chunks)):
        pass
"""


@pytest.fixture
def two_processes(monkeypatch):
    """Uses two processes from the third chunk on."""
    monkeypatch.setattr(reading, "MIN_WORK_SECONDS", 0.0)
    monkeypatch.setattr(reading, "cores", lambda: 2)


def chunks_of(*images):
    """Returns chunks of one image each; the first two are read in this process."""
    return [[(image, None)] for image in (Plain(), Plain(), *images)]


def children():
    return [child for child in psutil.Process().children() if "ganlib.data.worker_pool" in " ".join(child.cmdline())]


def alone(chunks):
    return [image_chunks.prepare_chunk(SHAPE, chunk) for chunk in chunks]


def test_results_come_in_the_order_of_the_requests_and_not_long_before_they_are_needed(two_processes):
    chunks = chunks_of(*(Slow(shade, seconds=0.02 * (shade % 3 == 0)) for shade in range(30)))
    asked = []

    def asking():
        for chunk in chunks:
            asked.append(chunk)
            yield chunk

    with Reader(SHAPE, ()) as reader:
        actual = []
        for result in reader.prepare_chunks(asking(), total=len(chunks)):
            actual.append(result)
            assert len(asked) <= len(actual) + 1 + 2 * worker_pool.AHEAD
        assert len(children()) == 2
        assert list(reader.prepare_chunks(chunks, total=len(chunks))) == actual  # by the same processes
    assert actual == alone(chunks)
    assert children() == []


def test_few_images_are_read_without_starting_a_process(monkeypatch):
    monkeypatch.setattr(reading, "cores", lambda: 2)
    chunks = chunks_of(*(Plain(shade) for shade in range(20)))
    with Reader(SHAPE, ()) as reader:
        for _ in reader.prepare_chunks(chunks, total=len(chunks)):
            assert children() == []


@pytest.mark.parametrize(("seconds", "processes"), [(0.0, 0), (0.02, 2)])
def test_one_core_starts_processes_only_to_wait_for_a_slow_disk(monkeypatch, seconds, processes):
    monkeypatch.setattr(reading, "MIN_WORK_SECONDS", 0.0)
    monkeypatch.setattr(reading, "cores", lambda: 1)
    monkeypatch.setattr(reading, "PROCESSES_WHEN_WAITING", 2)
    chunks = [[(Slow(seconds=seconds), None)] * 10] * 4
    with Reader(SHAPE, ()) as reader:
        list(reader.prepare_chunks(chunks, total=40))
        assert len(children()) == processes


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Deadly(), "was ended by SIGKILL, perhaps for lack of memory"),
        (Leaving(), "ended with exit code 3"),
    ],
    ids=["killed", "left"],
)
def test_a_process_that_ends_early_ends_the_work_in_one_line_and_the_others_too(two_processes, image, message):
    chunks = chunks_of(*(Plain(shade) for shade in range(5)), image, *(Slow(seconds=0.1) for _ in range(30)))
    with (
        pytest.raises(RuntimeError, match=rf"^a process that read images {message}; it was reading 1$"),
        Reader(SHAPE, ()) as reader,
    ):
        list(reader.prepare_chunks(chunks, total=len(chunks)))
    assert children() == []


@pytest.mark.parametrize("before", [0, 5], ids=["here", "in a process"])
@pytest.mark.parametrize(
    ("error", "message"),
    [(OSError(errno.EIO, "Input/output error"), "Input/output error"), (MemoryError(), "out of memory")],
    ids=["disk", "memory"],
)
def test_a_machine_that_fails_to_read_ends_the_work_in_one_line(two_processes, error, message, before):
    plain = chunks_of(*(Plain(shade) for shade in range(before))) if before else []
    chunks = [*plain, [(Plain(), None), (Failing(error=error), None)]]
    with (
        pytest.raises(
            image_chunks.ReadError, match=rf"^an image cannot be read: {message}. Received: image=Failing\(.*\)$"
        ),
        Reader(SHAPE, ()) as reader,
    ):
        list(reader.prepare_chunks(chunks, total=len(chunks)))
    assert children() == []


def test_a_disk_that_fails_ends_the_preparation_and_skips_no_image(tmp_path, monkeypatch):
    for index in range(20):
        Plain(index).open().save(tmp_path / f"{index:02d}.png")
    real, numbers = os.pread, itertools.count()

    def failing(*arguments):
        if next(numbers) == 10:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments)

    monkeypatch.setattr(os, "pread", failing)
    config = DataConfig(source=ImageFolder(path=str(tmp_path)), size=8, max_unusable=1.0)
    with pytest.raises(
        OSError, match=r"^an image cannot be read: Input/output error. Received: image=File\(path='.*png'\)$"
    ):
        prepare(config, tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_a_failure_to_start_a_process_is_reported_and_the_started_ones_end(two_processes, monkeypatch):
    start, numbers = subprocess.Popen, itertools.count()

    def once(*arguments, **options):
        if next(numbers):
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return start(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", once)
    with (
        pytest.raises(RuntimeError, match=r"^cannot start 2 processes that read images: Resource temporarily unavail"),
        Reader(SHAPE, ()) as reader,
    ):
        list(reader.prepare_chunks(chunks_of(Plain()), total=3))
    assert children() == []


def test_a_caller_that_stops_early_leaves_no_process_behind(two_processes):
    chunks = chunks_of(*(Slow(seconds=0.1) for _ in range(30)))
    with Reader(SHAPE, ()) as reader:
        assert len(list(itertools.islice(reader.prepare_chunks(chunks, total=len(chunks)), 3))) == 3
        assert len(children()) == 2
    assert children() == []


@pytest.mark.parametrize("way", ["file", "standard input"])
def test_a_script_needs_no_guard(tmp_path, way):
    (tmp_path / "script.py").write_text(SCRIPT)
    argument = "script.py" if way == "file" else "-"
    done = subprocess.run(
        [sys.executable, argument], cwd=tmp_path, input=SCRIPT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    output = [line for line in done.stdout.splitlines() if line.startswith("prepared")]
    assert output == [f"prepared {prepare(DataConfig(size=8), tmp_path / 'here').checksum} [2]"]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=lambda end: end.name)
def test_processes_end_with_the_one_that_started_them(tmp_path, end):
    with subprocess.Popen(
        [sys.executable, "-c", LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as started:
        result = [psutil.Process(int(word)) for word in started.stdout.readline().split()]
        os.killpg(started.pid, end)  # like Ctrl-C
        _, message = started.communicate(timeout=30)
    assert len(result) == 2
    assert psutil.wait_procs(result, timeout=5)[1] == []
    assert message.count("Traceback") == (end is signal.SIGINT)  # that of this one process


@pytest.mark.parametrize(
    ("content", "expected"), [("max 100000", 6), ("200000 100000", 2), ("50000 100000", 1), ("1600000 100000", 6)]
)
def test_the_quota_of_a_container_counts(tmp_path, monkeypatch, content, expected):
    (tmp_path / "cpu.max").write_text(f"{content}\n")
    monkeypatch.setattr(reading, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert reading.cores() == expected
    (tmp_path / "cpu.max").unlink()
    assert reading.cores() == 6
