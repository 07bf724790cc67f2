"""The mirror of a folder in a bucket: equal to the last push, whatever fails."""

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from bucket_proxy import READ

from ganlib import remote, storage


def write(folder, **files):
    for name, data in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.partial")
        new.write_bytes(data)
        os.replace(new, path)
    return folder


def read(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["gs", "s3"])
def scheme(request):
    return request.param


@pytest.fixture
def next_second(scheme):
    """Waits until the storage's clock, which has only whole seconds in S3, shows another time."""
    return lambda: time.sleep(1.01 - time.time() % 1 if scheme == "s3" else 0.0)


@pytest.fixture
def place(bucket):
    return f"{bucket}/runs/one"


@pytest.fixture
def here(tmp_path):
    return write(tmp_path / "here", state=os.urandom(30_000), deep__er__history=b"1\n2\r\n", empty=b"")


@pytest.fixture
def there(tmp_path):
    return tmp_path / "there"


def test_what_is_pushed_is_pulled_elsewhere(place, here, there):
    storage.Mirror(place, here).push()
    assert storage.Mirror(place, there).pull()
    assert read(there) == read(here)


def sent(traffic):
    """Returns the names of the uploaded objects."""
    return [name.removeprefix("runs/one/") for name in traffic.of("upload")]


def test_where_nothing_was_pushed_there_is_nothing_to_pull(place, here, traffic):
    before = read(here)
    assert not storage.Mirror(place, here).pull()
    assert read(here) == before
    elsewhere = place.replace("bucket", "elsewhere")
    with pytest.raises(ValueError, match="no such bucket or object"):
        storage.Mirror(elsewhere, here).pull()
    with pytest.raises(ValueError, match="no such bucket or object"):
        storage.Mirror(elsewhere, here).push()
    with pytest.raises(ValueError, match="expected an address of the form gs://bucket/name or s3://bucket/name"):
        storage.Mirror("/elsewhere", here).push()


def test_only_what_changed_is_sent(place, here, there, traffic):
    mirror = storage.Mirror(place, here)
    mirror.push()
    assert len(sent(traffic)) == 4
    traffic.asked.clear()
    mirror.push()
    assert sent(traffic) == []
    write(here, state=b"other", copy=b"1\n2\r\n")
    with (here / "deep/er/history").open("ab") as file:
        file.write(b"3\n")
    (here / "empty").unlink()
    mirror.push()
    changed = {"snapshot.json"} | {f"objects/{storage.sha256(here / name)}" for name in ("state", "deep/er/history")}
    assert set(sent(traffic)) == changed
    assert sent(traffic)[-1] == "snapshot.json"
    assert storage.Mirror(place, there).pull()
    assert read(there) == read(here)


def test_a_pull_removes_other_files_and_asks_only_for_those_that_differ(place, here, there, traffic):
    write(there, state=(here / "state").read_bytes(), deep=b"a file where a folder comes", old__file=b"x", empty=b"y")
    write(there, **{".lock": b"hidden"})
    storage.Mirror(place, here).push()
    traffic.asked.clear()
    assert storage.Mirror(place, there).pull()
    assert read(there) == read(here) | {".lock": b"hidden"}
    assert sorted(os.listdir(there)) == [".lock", "deep", "empty", "state"]
    assert traffic.count("download", "/objects/") == 1  # the empty one needs no request


def test_hidden_files_are_not_pushed(place, here, there):
    write(here, **{".lock": b"", "deep/.x.partial": b"half", ".hidden/file": b""})
    storage.Mirror(place, here).push()
    assert storage.Mirror(place, there).pull()
    assert sorted(read(there)) == ["deep/er/history", "empty", "state"]


def test_a_run_resumes_elsewhere_and_comes_back(place, here, there):
    first = storage.Mirror(place, here)
    first.push()
    second = storage.Mirror(place, there)
    assert second.pull()
    write(there, state=b"further")
    second.push()
    assert first.pull()
    assert read(here) == read(there)
    write(here, state=b"further still")
    first.push()
    assert second.pull()
    assert read(there)["state"] == b"further still"


def test_a_second_writer_ends_the_first(place, here, there, traffic):
    first, second = storage.Mirror(place, here), storage.Mirror(place, there)
    first.push()
    second.pull()
    second.push()  # nothing changed, so it has not taken over yet
    write(here, state=b"first")
    first.push()
    write(there, state=b"second")
    traffic.asked.clear()
    for _ in range(2):
        with pytest.raises(storage.WriteConflict, match="another process has written there meanwhile") as caught:
            second.push()
        assert str(caught.value).endswith(f"Received: path={place!r}")
        assert sent(traffic) == []
    first.push()


def test_of_two_writers_that_push_at_the_same_time_one_fails(place, here, there, traffic):
    first, second = storage.Mirror(place, here), storage.Mirror(place, there)
    first.push()
    second.pull()
    write(here, state=b"first")
    write(there, state=b"second")
    waiting = traffic.fail("wait", action="upload", name="snapshot.json", seconds=30)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(first.push)
        while not waiting.met:
            time.sleep(0.01)
        second.push()
        waiting.go_on.set()
        with pytest.raises(storage.WriteConflict):
            slow.result()
    with pytest.raises(storage.WriteConflict):
        first.push()
    assert first.pull()
    assert read(here)["state"] == b"second"


def test_a_first_push_does_not_overwrite_what_another_process_left(place, here, there):
    storage.Mirror(place, here).push()
    with pytest.raises(storage.WriteConflict):
        storage.Mirror(place, write(there, state=b"mine")).push()
    assert storage.Mirror(place, there).pull()
    assert read(there) == read(here)


FAULTS = [
    ("status", {"status": 503, "times": 3}),
    ("status", {"status": 429, "times": 3}),
    ("cut", {"times": 3}),
    ("cut_request", {}),
    ("lose", {}),
]


@pytest.mark.parametrize("name", ["objects/", "snapshot.json"])
@pytest.mark.parametrize(("kind", "settings"), FAULTS, ids=lambda value: str(value).replace("'", ""))
def test_a_transient_fault_is_survived(place, here, there, traffic, kind, settings, name):
    for action in ("upload", READ):
        traffic.fail(kind, action=action, name=f"runs/one/{name}", **settings)
    storage.Mirror(place, here).push()
    assert storage.Mirror(place, there).pull()
    assert read(there) == read(here)
    assert all(fault.met == fault.times for fault in traffic.faults)


@pytest.mark.parametrize("name", ["objects/", "snapshot.json"])
def test_a_damaged_download_is_repeated(place, here, there, traffic, name):
    storage.Mirror(place, here).push()
    fault = traffic.fail("spoil", action="download", name=f"runs/one/{name}", times=2)
    assert storage.Mirror(place, there).pull()
    assert read(there) == read(here)
    assert fault.met == 2


def test_a_damaged_upload_is_repeated(place, here, there, traffic):
    fault = traffic.fail("spoil_request", action="upload", name=storage.sha256(here / "state"))
    storage.Mirror(place, here).push()
    assert fault.met == 1
    assert storage.Mirror(place, there).pull()
    assert read(there) == read(here)


@pytest.fixture
def hurried(monkeypatch):
    """Shortens the timeouts, so that lasting faults end soon."""
    monkeypatch.setattr(remote.bucket, "TIMEOUT", 0.3)


def one_line(caught):
    text = str(caught.value)
    assert "\n" not in text
    assert re.search("Received: path='(gs|s3)://bucket/runs/one", text)
    return text


@pytest.mark.parametrize("name", ["objects/", "snapshot.json"])
@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (503, OSError, "cannot be written: the server answers 503, for 0.3 s"),
        (429, OSError, "cannot be written: the server answers 429, for 0.3 s"),
        (403, ValueError, "access is denied (403)"),
        ("cut_request", OSError, "cannot be written: "),
        ("wait", OSError, "cannot be written: "),
        ("spoil_request", OSError, "the transferred bytes have a wrong checksum"),
    ],
)
def test_a_lasting_fault_of_a_push_leaves_the_old_snapshot(
    place, here, there, traffic, hurried, fault, error, message, name, monkeypatch
):
    mirror = storage.Mirror(place, here)
    mirror.push()
    before = read(here)
    if fault == "wait":
        monkeypatch.setattr(remote.bucket, "WRITE_TIMEOUT", 0.5)
    write(here, state=os.urandom(30_000), more=os.urandom(30_000))
    settings = {"seconds": 0.8} if fault == "wait" else {"status": fault} if isinstance(fault, int) else {}
    kind = "status" if isinstance(fault, int) else fault
    traffic.fail(kind, action="upload", name=f"runs/one/{name}", times=1000, **settings)
    began = time.monotonic()
    with pytest.raises(error) as caught:
        mirror.push()
    assert time.monotonic() - began < 5
    assert message in one_line(caught)
    traffic.faults.clear()
    monkeypatch.setattr(remote.bucket, "WRITE_TIMEOUT", 60.0)
    if fault != "wait":  # with this fault, the storage writes it but does not answer
        assert storage.Mirror(place, there).pull()
        assert read(there) == before
    mirror.push()
    assert storage.Mirror(place, there).pull()
    assert read(there) == read(here)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (503, OSError, "cannot be read: the server answers 503, for 0.3 s"),
        (403, ValueError, "access is denied (403)"),
        (404, ValueError, "no such bucket or object"),
        ("cut_request", OSError, "cannot be read: "),
        ("spoil", OSError, "the transferred bytes have a wrong checksum"),
    ],
)
def test_a_lasting_fault_of_a_pull_leaves_the_folder_as_it_was(
    place, here, there, traffic, hurried, fault, error, message
):
    storage.Mirror(place, here).push()
    write(there, state=b"mine", other=b"other")
    settings = {"status": fault} if isinstance(fault, int) else {}
    kind = "status" if isinstance(fault, int) else fault
    path = f"runs/one/objects/{storage.sha256(here / 'state')}"
    traffic.fail(kind, action="download", name=path, times=1000, **settings)
    mirror = storage.Mirror(place, there)
    with pytest.raises(error) as caught:
        mirror.pull()
    assert message in one_line(caught)
    visible = {name: data for name, data in read(there).items() if not name.startswith(".")}
    assert visible == {"state": b"mine", "other": b"other"}
    traffic.faults.clear()
    with pytest.raises(storage.WriteConflict):  # a run that continues after a failed pull does not overwrite the copy
        mirror.push()
    assert mirror.pull()
    assert read(there) == read(here)
    mirror.push()


def run(code, *words):
    """Starts a process without output that imports the real module."""
    program = f"import sys\nfrom pathlib import Path\nfrom ganlib import storage\n{code}"
    return subprocess.Popen([sys.executable, "-c", program, *map(str, words)], stdout=subprocess.DEVNULL)


def kill_at(process, fault):
    while not fault.met:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()


def test_a_killed_push_leaves_the_old_snapshot_and_the_next_one_resumes(place, here, there, traffic):
    storage.Mirror(place, here).push()
    before = read(here)
    write(here, **{f"new{index}": os.urandom(1000) for index in range(30)})
    last = traffic.fail("wait", action="upload", name=storage.sha256(here / "new9"), seconds=0.6)
    program = (
        "mirror = storage.Mirror(sys.argv[1], Path(sys.argv[2]))\nassert mirror.pull()\n"
        "mirror.folder = Path(sys.argv[3])\nmirror.push()"
    )
    kill_at(run(program, place, there, here), last)
    assert storage.Mirror(place, there).pull()
    assert read(there) == before
    mirror = storage.Mirror(place, there)
    mirror.pull()
    write(there, **{name: data for name, data in read(here).items() if name.startswith("new")})
    traffic.asked.clear()
    mirror.push()
    assert len(sent(traffic)) < 31
    assert storage.Mirror(place, here).pull()
    assert read(here) == read(there)


def test_a_killed_pull_is_resumed(place, here, there, traffic):
    write(here, large=os.urandom(3_000_000))
    storage.Mirror(place, here).push()
    digest = storage.sha256(here / "large")
    traffic.fail("cut", action="download", name=digest)
    waiting = traffic.fail("wait", action="download", name=digest, seconds=0.6)
    kill_at(run("storage.Mirror(sys.argv[1], Path(sys.argv[2])).pull()", place, there), waiting)
    traffic.asked.clear()
    assert storage.Mirror(place, there).pull()
    [asked] = traffic.of("download", digest)
    assert int(asked.rpartition("bytes=")[2].rstrip("-")) > 0
    assert read(there) == read(here)


def stored(objects):
    return {blob.name.rpartition("/")[2] for blob in objects.list_blobs(prefix="runs/one/objects/")}


def test_files_that_are_replaced_and_grow_during_a_push_can_be_pulled_after_each(place, here, there):
    ended = threading.Event()

    def work():
        with (here / "lines").open("ab") as lines:
            for number in itertools.cycle(range(1, 50)):
                write(here, tracking=bytes([number]) * 1000 * number)
                lines.write(b"%300d\n" % number)
                lines.flush()
                time.sleep(0.001)
                if ended.is_set():
                    return

    mirror, seen = storage.Mirror(place, here), []
    with ThreadPoolExecutor() as pool:
        worker = pool.submit(work)
        try:
            while not (here / "lines").exists():
                time.sleep(0.01)
            for _ in range(10):
                mirror.push()
                assert storage.Mirror(place, there).pull()
                seen.append(read(there))
        finally:
            ended.set()
        worker.result()
    assert len({files["tracking"] for files in seen}) > 5
    for files in seen:
        number = files["tracking"][0]
        assert files["tracking"] == bytes([number]) * 1000 * number
        assert (here / "lines").read_bytes().startswith(files["lines"])


def test_bytes_that_are_changed_before_they_are_sent_are_not_stored_under_their_old_hash(place, here, there, traffic):
    mirror = storage.Mirror(place, here)
    mirror.push()
    before = read(here)
    write(here, state=b"first")
    waiting = traffic.fail("wait", action=READ, name=storage.sha256(here / "state"), seconds=30)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(mirror.push)
        while not waiting.met:
            time.sleep(0.01)
        (here / "state").write_bytes(b"other")
        waiting.go_on.set()
        with pytest.raises(storage.RemoteError, match="the transferred bytes have a wrong checksum"):
            slow.result()
    assert storage.Mirror(place, there).pull()
    assert read(there) == before
    mirror.push()
    assert storage.Mirror(place, there).pull()
    assert read(there) == before | {"state": b"other"}


def test_objects_of_older_snapshots_are_removed(place, tmp_path, objects, next_second):
    mirror, digests = storage.Mirror(place, tmp_path), []
    for index in range(3):
        write(tmp_path, state=bytes([index]), same=b"same")
        digests.append(storage.sha256(tmp_path / "state"))
        mirror.push()
        if index == 0:
            next_second()
    assert stored(objects) == {*digests[1:], storage.sha256(tmp_path / "same")}


def test_what_a_second_writer_has_sent_is_not_removed_by_the_first(place, here, there, objects, traffic):
    first, second = storage.Mirror(place, here), storage.Mirror(place, there)
    for index in range(2):
        write(here, state=bytes([index]))
        first.push()
    second.pull()
    write(there, state=b"of the second")
    waiting = traffic.fail("wait", action="upload", name="snapshot.json", seconds=30)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(second.push)
        while not waiting.met:
            time.sleep(0.01)
        assert storage.sha256(there / "state") in stored(objects)
        first._remove_old_objects(*_inside(first), first._last)
        waiting.go_on.set()
        slow.result()
    assert storage.Mirror(place, here).pull()
    assert read(here)["state"] == b"of the second"


def _inside(mirror):
    bucket, path = remote.connection.connect(mirror.location)
    return bucket, f"{path}/"


def test_an_object_that_is_in_no_snapshot_is_sent_again_before_it_is_used(
    place, here, there, objects, tmp_path, next_second
):
    first, second = storage.Mirror(place, here), storage.Mirror(place, there)
    put_aside = write(there, state=b"left by a push that was killed")
    left = objects.blob(f"runs/one/objects/{storage.sha256(put_aside / 'state')}")
    left.upload_from_string(b"left by a push that was killed")
    next_second()
    first.push()
    second.pull()
    write(there, state=b"left by a push that was killed")
    second.push()
    assert [name for name in stored(objects) if name.startswith(f"{storage.sha256(there / 'state')}.")]
    assert storage.sha256(there / "state") not in stored(objects)  # removed, as it may be at any time
    assert storage.Mirror(place, tmp_path / "third").pull()
    assert read(tmp_path / "third") == read(there)


def test_a_reader_that_is_overtaken_by_pushes_uses_the_newer_snapshot(
    place, here, there, objects, traffic, next_second
):
    mirror = storage.Mirror(place, here)
    mirror.push()
    next_second()
    waiting = traffic.fail("wait", action=READ, name=storage.sha256(here / "state"), seconds=30)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(storage.Mirror(place, there).pull)
        while not waiting.met:
            time.sleep(0.01)
        for index in range(3):
            write(here, state=bytes([index]))
            mirror.push()
        waiting.go_on.set()
        assert slow.result()
    assert read(there) == read(here)


def test_a_snapshot_that_is_replaced_while_it_is_looked_up_is_read_again(place, here, there, traffic):
    mirror = storage.Mirror(place, here)
    mirror.push()
    waiting = traffic.fail("wait", action="download", name="runs/one/snapshot", seconds=30)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(storage.Mirror(place, there).pull)
        while not waiting.met:
            time.sleep(0.01)
        write(here, state=b"further")
        mirror.push()
        waiting.go_on.set()
        assert slow.result()
    assert read(there) == read(here)


def test_a_full_disk_is_reported_in_one_line(place, here, there, traffic):
    storage.Mirror(place, here).push()
    (there / ".pull").mkdir(parents=True)
    (there / ".pull" / storage.sha256(here / "state")).symlink_to("/dev/full")
    with pytest.raises(OSError, match="cannot be read: no space left on this machine's disk") as caught:
        storage.Mirror(place, there).pull()
    one_line(caught)


def test_a_folder_that_does_not_exist_is_not_pushed_as_an_empty_one(place, there, objects):
    with pytest.raises(ValueError, match="no such folder"):
        storage.Mirror(place, there).push()
    assert stored(objects) == set()


def test_a_lost_object_is_reported(place, here, there, objects):
    storage.Mirror(place, here).push()
    objects.blob(f"runs/one/objects/{storage.sha256(here / 'state')}").delete()
    with pytest.raises(ValueError, match="no such bucket or object") as caught:
        storage.Mirror(place, there).pull()
    one_line(caught)


@pytest.mark.parametrize("scheme", ["gs"])  # the rule is that of all kinds of storage
@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/x", "a//x", ".hidden", "a/.b/c", "", "a\0b", "a\nb", "x" * 300, "good/below"],
    ids=repr,
)
def test_a_snapshot_with_a_name_that_leads_elsewhere_is_refused(place, there, tmp_path, objects, name):
    digest = hashlib.sha256(b"x").hexdigest()
    objects.blob(f"runs/one/objects/{digest}").upload_from_string(b"x")
    files = {bad: {"sha256": digest, "size": 1} for bad in ("good", name)}
    snapshot = {"format": 1, "writer": "me", "after": 0, "files": files}
    objects.blob("runs/one/snapshot.json").upload_from_string(json.dumps(snapshot))
    with pytest.raises(ValueError, match="expected a snapshot that this program wrote: file ") as caught:
        storage.Mirror(place, there).pull()
    one_line(caught)
    assert sorted(os.listdir(tmp_path)) == []


@pytest.mark.parametrize("scheme", ["gs"])  # the rule is that of all kinds of storage
@pytest.mark.parametrize(
    "text",
    [
        b"no json",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"format": 1, "writer": "", "files": {"a": {"sha256": "../../etc/passwd", "size": 1}}}',
        b'{"format": 1, "writer": "", "files": {"a": {"sha256": 5}}}',
        b'{"format": 1, "writer": "", "files": []}',
        b'{"format": 2, "writer": "", "files": {}}',
    ],
)
def test_a_malformed_snapshot_is_reported_and_changes_nothing(place, here, objects, text):
    objects.blob("runs/one/snapshot.json").upload_from_string(text)
    before = read(here)
    with pytest.raises(ValueError, match="expected a snapshot that this program wrote: ") as caught:
        storage.Mirror(place, here).pull()
    one_line(caught)
    assert read(here) == before


def test_a_name_that_is_not_valid_for_an_object_is_refused_before_anything_is_sent(place, here, objects):
    write(here, **{"a\nb": b"x"})
    with pytest.raises(ValueError, match="expected a name of one line"):
        storage.Mirror(place, here).push()
    assert stored(objects) == set()


def test_a_disk_that_is_too_small_is_reported_before_anything_is_requested(place, here, there, monkeypatch, traffic):
    storage.Mirror(place, here).push()
    free = storage.shutil.disk_usage("/")._replace(free=30_004)
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    with pytest.raises(OSError, match=r"expected 30005 bytes of free disk space in .*, free=30004$"):
        storage.Mirror(place, there).pull()
    assert traffic.count("download", "runs/one/objects") == 0


def test_a_large_file_goes_in_parts_and_a_part_that_is_lost_is_sent_again(place, tmp_path, there, traffic):
    here = write(tmp_path / "here", large=os.urandom(20_000_000))
    fault = traffic.fail("cut_request", action="part", times=2)
    traffic.fail("status", action="part", status=503)
    storage.Mirror(place, here).push()
    assert fault.met == 2
    assert traffic.count("part") == 3 + 3
    traffic.fail("cut", action="download", name="runs/one/objects", times=2)
    assert storage.Mirror(place, there).pull()
    assert read(there) == read(here)
