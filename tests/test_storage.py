"""Atomic files and folders, even if the process that writes them is killed."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

from ganlib import files, storage


def start(code, *arguments):
    """Starts a process that imports the real module; returns once it has printed `ready`."""
    program = f"import sys, time\nfrom pathlib import Path\nfrom ganlib import storage\n{code}"
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def fail_after(_done, error):
    raise error


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_file_appears_only_if_its_block_succeeds(tmp_path):
    target = tmp_path / "new" / "file.txt"
    with storage.atomic_file(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == target.parent  # a rename between two disks would not be atomic
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["file.txt"]


def test_a_failing_block_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="boom"), storage.atomic_file(target) as temporary:
        fail_after(temporary.write_text("half"), RuntimeError("boom"))
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_written_file_can_be_read_by_others(tmp_path):
    storage.write_json(tmp_path / "file.json", [])
    assert (tmp_path / "file.json").stat().st_mode & 0o777 == 0o644
    with storage.atomic_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o755


def test_a_folder_replaces_the_old_one_atomically(tmp_path):
    target = tmp_path / "out"
    (target / "deep").mkdir(parents=True)
    (target / "deep" / "old.txt").write_text("old")
    with storage.atomic_folder(target) as temporary:
        (temporary / "new").mkdir()
        (temporary / "new" / "file.txt").write_text("new")
        assert (target / "deep" / "old.txt").exists()
    assert [path.relative_to(target).as_posix() for path in target.rglob("*")] == ["new", "new/file.txt"]
    assert os.listdir(tmp_path) == ["out"]


def test_a_failing_block_leaves_the_old_folder_and_nothing_else(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), storage.atomic_folder(target) as temporary:
        fail_after((temporary / "new.txt").write_text("half"), KeyboardInterrupt())
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(target) == ["old.txt"]


def test_a_folder_does_not_take_the_place_of_a_file(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(NotADirectoryError), storage.atomic_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").read_text() == "a file"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("old", [True, False], ids=["over an old one", "anew"])
@pytest.mark.parametrize("kind", ["atomic_file", "atomic_folder"])
def test_a_killed_writer_leaves_the_old_or_nothing(tmp_path, kind, old):
    target = tmp_path / "target"
    inside = target / "data" if kind == "atomic_folder" else target
    if old:
        inside.parent.mkdir(exist_ok=True)
        inside.write_text("old")
    writer = start(
        f"with storage.{kind}(Path(sys.argv[1])) as temporary:\n"
        "    (temporary / 'data' if temporary.is_dir() else temporary).write_text('half')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)",
        target,
    )
    kill(writer)
    assert visible(tmp_path) == (["target"] if old else [])
    if old:
        assert inside.read_text() == "old"
    with getattr(storage, kind)(target) as temporary:  # the leftovers of the killed process do not matter
        (temporary / "data" if temporary.is_dir() else temporary).write_text("new")
    assert inside.read_text() == "new"


def test_a_reader_never_sees_half_a_file_while_it_is_rewritten(tmp_path):
    target = tmp_path / "file.json"
    storage.write_json(target, ["a"] * 5000)
    writer = start(
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for letter in 'ab':\n"
        "        storage.write_json(Path(sys.argv[1]), [letter] * 5000)",
        target,
    )
    seen = set()
    end = time.monotonic() + 20
    while seen != {"a", "b"} and time.monotonic() < end:
        value = storage.read_json(target)
        assert value in (["a"] * 5000, ["b"] * 5000)
        seen.add(value[0])
    kill(writer)
    assert seen == {"a", "b"}


def test_a_file_and_a_folder_are_published_atomically(tmp_path):
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "file.bin").write_bytes(bytes(range(256)))
    target = tmp_path / "away" / "target"
    (target / "stale").mkdir(parents=True)
    storage.publish(source, target)
    assert [path.relative_to(target).as_posix() for path in target.rglob("*")] == ["deep", "deep/file.bin"]
    storage.publish(source / "deep" / "file.bin", tmp_path / "away" / "file.bin")
    assert (tmp_path / "away" / "file.bin").read_bytes() == bytes(range(256))
    assert sorted(os.listdir(tmp_path / "away")) == ["file.bin", "target"]


def test_fetch_returns_the_path_of_a_local_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    assert storage.fetch("~/data") == tmp_path / "data"
    assert storage.fetch(str(tmp_path / "data")) == tmp_path / "data"


@pytest.mark.parametrize(
    ("location", "wrong"),
    [
        ("missing/folder", "no such file or folder"),
        ("az://bucket/data", "expected a local path, https://, gs:// or s3://"),
    ],
)
def test_fetch_reports_what_it_cannot_reach(location, wrong):
    with pytest.raises(ValueError, match=f"{wrong}.*Received: path='{location}'") as caught:
        storage.fetch(location)
    assert "\n" not in str(caught.value)


def test_a_second_process_fails_because_the_folder_is_locked(tmp_path):
    holder = start(
        "with storage.lock_folder(Path(sys.argv[1]), timeout=0):\n    print('ready', flush=True)\n    time.sleep(60)",
        tmp_path / "home",
    )
    try:
        with (
            pytest.raises(OSError, match=r"another process works in this folder. Received: folder=.*home"),
            storage.lock_folder(tmp_path / "home", timeout=0),
        ):
            pytest.fail("two users at a time")
    finally:
        kill(holder)
    with storage.lock_folder(tmp_path / "home", timeout=0):  # the lock ended with the killed process
        pass


def test_a_waiting_process_gets_the_lock_when_the_other_one_ends_and_reports_that_it_waits(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(files, "NOTICE_SECONDS", 0.1)
    holder = start(
        "with storage.lock_folder(Path(sys.argv[1]), timeout=0):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(0.7)\n"
        "    (Path(sys.argv[1]) / 'done').touch()",
        tmp_path,
    )
    with storage.lock_folder(tmp_path, timeout=30):
        assert (tmp_path / "done").exists()
    assert capsys.readouterr().out == f"waiting for another process that works in {tmp_path}\n"
    assert holder.wait() == 0
    holder.stdout.close()


def test_json_that_is_written_reads_back(tmp_path):
    value = {"text": "gr\u00fc\u00df\u2028dich", "numbers": [1, 0.1, None]}
    storage.write_json(tmp_path / "file.json", value)
    assert storage.read_json(tmp_path / "file.json") == value


def test_json_that_is_absent_or_broken_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"expected the file file.json. Received: folder='.*', which is empty; "):
        storage.read_json(tmp_path / "file.json")
    (tmp_path / "file.json").write_text('{"half": ')
    with pytest.raises(ValueError, match=r"not a JSON file: .* Received: path='.*file.json'$") as caught:
        storage.read_json(tmp_path / "file.json")
    assert "\n" not in str(caught.value)


def test_equal_values_have_one_text():
    assert (
        storage.canonical_json({"b": [1, 2], "a": None})
        == storage.canonical_json({"a": None, "b": [1, 2]})
        == '{"a":null,"b":[1,2]}'
    )


def test_appended_lines_read_back_in_order(tmp_path):
    path = tmp_path / "history.jsonl"
    assert storage.read_lines(path) == []
    rows = [{"step": 1, "note": "line\nbreak \u2028 \x85"}, {"step": 2}]
    for row in rows:
        storage.append_line(path, row)
    assert storage.read_lines(path) == rows
    storage.write_lines(path, rows[1:])
    assert storage.read_lines(path) == [{"step": 2}]


@pytest.mark.parametrize("unfinished", ['{"step": 2, "lo', '{"step": 2}'])
def test_an_unfinished_last_line_is_dropped(tmp_path, unfinished):
    path = tmp_path / "history.jsonl"
    path.write_text('{"step": 1}\n' + unfinished)
    assert storage.read_lines(path) == [{"step": 1}]


@pytest.mark.parametrize("before", ["", '{"step": 1}\n'])
def test_a_line_appended_after_an_unfinished_one_takes_its_place(tmp_path, before):
    path = tmp_path / "history.jsonl"
    path.write_text(before + '{"step": 2, "lo')
    storage.append_line(path, {"step": 2})
    storage.append_line(path, {"step": 3})
    assert path.read_text() == before + '{"step": 2}\n{"step": 3}\n'


def test_an_appending_process_that_is_killed_leaves_only_complete_lines(tmp_path):
    path = tmp_path / "history.jsonl"
    writer = start(
        "print('ready', flush=True)\n"
        "for step in range(10**9):\n"
        "    storage.append_line(Path(sys.argv[1]), {'step': step, 'filler': 'x' * 3000})",
        path,
    )
    while len(storage.read_lines(path)) < 20:
        assert writer.poll() is None
        time.sleep(0.01)
    kill(writer)
    rows = storage.read_lines(path)
    assert [row["step"] for row in rows] == list(range(len(rows)))


def test_the_checksum_is_that_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc" * 100_000)
    assert storage.sha256(tmp_path / "file") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_partial_files_of_killed_processes_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / ".folder.z3.partial").mkdir()
    others = [tmp_path / "step-1.npz", tmp_path / "notes.partial", tmp_path / "below" / ".film.x1.partial"]
    for path in [*others, tmp_path / ".step-2.npz.y2.partial"]:
        path.write_text("x")
    storage.remove_partial_files(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(others)
    storage.remove_partial_files(tmp_path / "absent")


@pytest.mark.parametrize("value", [float("nan"), [1.0, float("inf")], {"a": {"b": -float("inf")}}])
def test_a_number_that_is_not_json_is_refused_and_the_file_stays(tmp_path, value):
    path = tmp_path / "file.json"
    storage.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match=r"^expected finite numbers only\. Received: path='.*file\.json'"):
        storage.write_json(path, value)
    assert storage.read_json(path) == {"a": 1}
