"""A folder that is kept in a bucket: equal to what was pushed last, whatever fails."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ganlib import storage


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
    """Returns the names of the objects that were sent."""
    return [asked.split()[-1].removeprefix("runs/one/") for asked in traffic.asked if asked.startswith("POST")]


def test_where_nothing_was_pushed_there_is_nothing_to_pull(place, here, traffic):
    before = read(here)
    assert not storage.Mirror(place, here).pull()
    assert read(here) == before
    with pytest.raises(ValueError, match="no such bucket or object"):
        storage.Mirror("gs://elsewhere/one", here).pull()
    with pytest.raises(ValueError, match="no such bucket or object"):
        storage.Mirror("gs://elsewhere/one", here).push()
    with pytest.raises(ValueError, match="expected an address of the form gs://bucket/name"):
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
    assert traffic.count("/objects/") == 1  # the empty one needs no asking


def test_hidden_files_stay_at_home(place, here, there):
    write(here, **{".lock": b"", "deep/.x.partial": b"half", ".hidden/file": b""})
    storage.Mirror(place, here).push()
    assert storage.Mirror(place, there).pull()
    assert sorted(read(there)) == ["deep/er/history", "empty", "state"]


def test_a_run_goes_on_elsewhere_and_comes_back(place, here, there):
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
    second.push()  # nothing changed: it has taken over nothing yet
    write(here, state=b"first")
    first.push()
    write(there, state=b"second")
    traffic.asked.clear()
    for _ in range(2):
        with pytest.raises(storage.TakenOver, match="another process has written there meanwhile") as caught:
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
    waiting = traffic.fail("wait", path="snapshot.json", method="POST", seconds=1.0)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(first.push)
        while not waiting.met:
            time.sleep(0.01)
        second.push()
        with pytest.raises(storage.TakenOver):
            slow.result()
    with pytest.raises(storage.TakenOver):
        first.push()
    assert first.pull()
    assert read(here)["state"] == b"second"


def test_a_first_push_does_not_go_over_what_another_left(place, here, there):
    storage.Mirror(place, here).push()
    with pytest.raises(storage.TakenOver):
        storage.Mirror(place, write(there, state=b"mine")).push()
    assert storage.Mirror(place, there).pull()
    assert read(there) == read(here)


FAULTS = [
    ("status", {"status": 503, "times": 3}),
    ("status", {"status": 429, "times": 3}),
    ("status", {"status": 500}),
    ("cut", {}),
    ("cut", {"times": 3}),
    ("cut_request", {}),
    ("lose", {}),
    ("spoil", {"path": "/o/runs/one/objects"}),
]


@pytest.mark.parametrize(("kind", "settings"), FAULTS, ids=lambda value: str(value).replace("'", ""))
def test_a_passing_fault_is_outlived(place, here, there, traffic, kind, settings):
    for method in ("POST", "GET"):
        fault = traffic.fail(kind, method=method, **({"path": "objects"} | settings))
        for mirror in (storage.Mirror(place, here), storage.Mirror(place, there)):
            if method == "POST" and mirror.folder == here:
                if not mirror.pull():
                    mirror.push()
            elif method == "GET" and mirror.folder == there:
                assert mirror.pull()
        assert fault.met == fault.times or kind == "spoil"
    assert read(there) == read(here)


def test_a_request_that_is_damaged_on_its_way_is_sent_again(place, here, there, traffic):
    fault = traffic.fail("spoil_request", method="POST", path=storage.sha256(here / "state"))
    storage.Mirror(place, here).push()
    assert fault.met == 1
    assert storage.Mirror(place, there).pull()
    assert read(there) == read(here)
