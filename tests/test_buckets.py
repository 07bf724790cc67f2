"""Folders in a bucket are published, fetched, and read image by image, despite faults."""

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from bucket_proxy import READ

from ganlib import remote, storage
from ganlib.data import ImageFolder

FILES = {
    "model/saved.pb": os.urandom(50_000),
    "model/variables/0": os.urandom(70_001),
    "README.md": b"a\r\nb\n",
    "0": b"",
}
MANIFEST = ".published.json"
FAULTS = [
    ("status", {"status": 503, "times": 3}),
    ("status", {"status": 429, "times": 3}),
    ("cut", {"times": 2}),
    ("cut_request", {}),
    ("lose", {}),
    ("spoil", {"action": "download"}),
    ("spoil_request", {"action": "upload"}),
]


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def read(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put(objects, files):
    for name, data in files.items():
        objects.blob(name).upload_from_string(data)


def stored(objects):
    return {blob.name: blob.download_as_bytes() for blob in objects.list_blobs() if not blob.name.endswith("/")}


def one_line(error, location):
    text = str(error.value)
    assert "\n" not in text
    assert re.search("Received: path='(gs|s3)://bucket/", text)
    return text


@pytest.fixture(params=["gs", "s3"])
def scheme(request):
    return request.param


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("GAN_PIPELINES_CACHE", str(folder))
    return folder


@pytest.fixture
def hurried(monkeypatch):
    """Shortens the timeouts, so that lasting faults end soon."""
    monkeypatch.setattr(remote.bucket, "TIMEOUT", 0.3)


@pytest.fixture
def model(tmp_path):
    return write(tmp_path / "model", FILES)


@pytest.fixture
def there(bucket):
    return f"{bucket}/there"


# Publishing.


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_is_published_under_plain_names_and_fetched_as_it_was(model, there, objects, end):
    storage.publish(model, there + end)
    assert set(stored(objects)) == {f"there/{name}" for name in (*FILES, MANIFEST)}
    assert objects.get_blob("there/README.md").content_type == "text/markdown"
    for location in (there, f"{there}/"):
        assert read(storage.fetch(location)) == FILES


def test_a_bucket_itself_can_be_the_folder(model, bucket, objects):
    storage.publish(model, bucket)
    assert set(stored(objects)) == {*FILES, MANIFEST}
    assert read(storage.fetch(bucket)) == FILES


def test_a_file_is_published_as_an_object(tmp_path, there, objects):
    for data in (b"old", b"new"):
        (tmp_path / "file").write_bytes(data)
        storage.publish(tmp_path / "file", there)
        assert stored(objects) == {"there": data}
    with pytest.raises(ValueError, match=r"expected the address of an object, (gs|s3)://bucket/name"):
        storage.publish(tmp_path / "file", f"{there}/")


def test_only_what_changed_is_sent_and_what_is_gone_is_removed_but_nothing_of_others(model, there, objects, traffic):
    storage.publish(model, there)
    put(objects, {"there/notes.txt": b"of somebody else", "thereafter/x": b"beside it"})
    (model / "README.md").write_bytes(b"other")
    (model / "model/saved.pb").unlink()
    traffic.asked.clear()
    storage.publish(model, there)
    assert traffic.of("upload") == [f"there/{MANIFEST}", "there/README.md", f"there/{MANIFEST}"]
    assert {"there/notes.txt", "thereafter/x"} < set(stored(objects))
    assert read(storage.fetch(there)) == read(model)


def test_a_published_folder_that_was_fetched_can_be_published_again(model, there, bucket):
    storage.publish(model, there)
    storage.publish(storage.fetch(there), f"{bucket}/again")
    assert read(storage.fetch(f"{bucket}/again")) == FILES


@pytest.mark.parametrize("scheme", ["gs"])  # the rule is that of all kinds of storage
@pytest.mark.parametrize(
    "name", ["a\nb", os.fsdecode(b"\xff"), f"{'d' * 250}/" * 4 + "x"], ids=["line", "bytes", "long"]
)
def test_a_name_that_is_not_valid_for_an_object_is_refused_before_anything_is_sent(model, there, objects, name):
    write(model, {name: b"x"})
    with pytest.raises(ValueError, match=r"expected a name .*Received: file="):
        storage.publish(model, there)
    assert stored(objects) == {}


def test_a_killed_publication_is_not_taken_as_complete_and_can_be_repeated(model, there, objects, traffic):
    storage.publish(model, there)
    old = storage.fetch(there)
    write(model, dict.fromkeys(FILES, b"new"))
    write(model, {"more": b"of the one that is killed"})
    waiting = traffic.fail("wait", action="upload", name="there/model/saved.pb", seconds=1.0)
    program = (
        "import sys\nfrom pathlib import Path\nfrom ganlib import storage\nstorage.publish(Path(sys.argv[1]), {!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", program.format(there), model], stdout=subprocess.DEVNULL)
    while not waiting.met:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    for refused in (lambda: ImageFolder(path=there).listing(), lambda: remote.list_folder(there)):
        with pytest.raises(storage.RemoteError, match="it is still being written, or that was interrupted") as caught:
            refused()
        one_line(caught, there)
    old.rename(old.with_name("elsewhere"))
    with pytest.raises(storage.RemoteError, match="it is still being written, or that was interrupted"):
        storage.fetch(there)
    (model / "more").unlink()
    storage.publish(model, there)
    assert read(storage.fetch(there)) == dict.fromkeys(FILES, b"new")
    assert "there/more" not in stored(objects)


def test_a_published_folder_in_which_a_file_was_changed_or_lost_is_refused(model, there, objects):
    storage.publish(model, there)
    put(objects, {"there/README.md": b"other"})
    with pytest.raises(storage.RemoteError, match="expected a completely published folder"):
        storage.fetch(there)
    objects.blob("there/README.md").delete()
    with pytest.raises(storage.RemoteError, match="expected a completely published folder"):
        storage.fetch(there)


def test_of_two_that_publish_at_once_no_mixture_is_taken_as_complete(model, there, tmp_path, traffic):
    other = write(tmp_path / "other", dict.fromkeys((*FILES, "more"), b"other"))
    waiting = traffic.fail("wait", action="upload", name="there/model/saved.pb", seconds=30)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(storage.publish, model, there)
        while not waiting.met:
            time.sleep(0.01)
        storage.publish(other, there)
        waiting.go_on.set()
        with pytest.raises(storage.WriteConflict) as caught:
            slow.result()
    one_line(caught, there)
    assert read(storage.fetch(there)) == read(other)
    storage.publish(model, there)
    assert read(storage.fetch(there)) == FILES


def test_what_another_program_writes_meanwhile_is_noticed(model, there, objects, traffic):
    storage.publish(model, there)
    waiting = traffic.fail("wait", action="upload", name=MANIFEST, seconds=30)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(storage.publish, model, there)
        while not waiting.met:
            time.sleep(0.01)
        put(objects, {"there/README.md": b"on no condition"})
        waiting.go_on.set()
        with pytest.raises(storage.WriteConflict, match="another process publishes there"):
            slow.result()
    with pytest.raises(storage.RemoteError, match="it is still being written, or that was interrupted"):
        storage.fetch(there)


@pytest.mark.parametrize(("kind", "settings"), FAULTS, ids=lambda value: str(value).replace("'", ""))
def test_publishing_and_fetching_survive_a_transient_fault(model, there, traffic, kind, settings):
    for action in [settings["action"]] if "action" in settings else ["upload", "download"]:
        traffic.fail(kind, **settings | {"action": action, "name": "there/model"})
    storage.publish(model, there)
    assert read(storage.fetch(there)) == FILES
    assert all(fault.met == fault.times for fault in traffic.faults)


@pytest.mark.parametrize("kind", ["status", "cut_request", "lose"])
def test_removing_what_is_gone_survives_a_transient_fault(model, there, objects, traffic, kind):
    storage.publish(model, there)
    (model / "README.md").unlink()
    fault = traffic.fail(kind, action="delete")
    storage.publish(model, there)
    assert fault.met == 1
    assert "there/README.md" not in stored(objects)


@pytest.mark.parametrize("status", [503, 429, 403, 401])
def test_a_lasting_fault_while_publishing_is_one_line_and_nothing_is_taken_as_complete(
    model, there, scheme, traffic, hurried, status
):
    traffic.fail("status", action="upload", name="there/model", status=status, times=1000)
    began = time.monotonic()
    with pytest.raises(OSError if status in (503, 429) else ValueError) as caught:
        storage.publish(model, there)
    assert time.monotonic() - began < 5
    message = {
        503: "cannot be written: the server answers 503, for 0.3 s",
        429: "cannot be written: the server answers 429, for 0.3 s",
        403: "access is denied (403)",
        401: {"gs": "no credentials: expected those of", "s3": "access is denied (401)"}[scheme],
    }
    assert message[status] in one_line(caught, there)
    with pytest.raises(storage.RemoteError, match="it is still being written, or that was interrupted"):
        storage.fetch(there)


# Fetching.


def test_a_folder_that_nobody_published_is_fetched_too(objects, there):
    put(objects, {f"there/{name}": data for name, data in FILES.items()} | {"there/empty/": b"", "there/": b""})
    path = storage.fetch(there)
    assert read(path) == FILES
    assert path.name.endswith("-there")


def test_what_is_here_is_not_fetched_again(objects, there, traffic, capsys):
    put(objects, {f"there/{name}": data for name, data in FILES.items()})
    path = storage.fetch(there)
    assert storage.fetch(f"{there}/") == path
    assert capsys.readouterr().out.endswith(f"{there}/ is cached in {path}\n")
    put(objects, {"there/README.md": b"other", "there/new": b"new"})
    objects.blob("there/0").delete()
    (path / "model/saved.pb").write_bytes(b"damaged")
    traffic.asked.clear()
    assert storage.fetch(there) == path
    expected = FILES | {"README.md": b"other", "new": b"new"}
    del expected["0"]
    assert read(path) == expected
    assert traffic.count("download") == 3
    assert [name for name in os.listdir(path.parent) if not name.startswith(".")] == [path.name]


def test_the_cached_folder_is_used_while_the_storage_cannot_be_reached(objects, there, monkeypatch, hurried, capsys):
    put(objects, {f"there/{name}": data for name, data in FILES.items()})
    path = storage.fetch(there)
    for name in ("STORAGE_EMULATOR_HOST", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for location in (there, f"{there}/"):
        assert storage.fetch(location) == path
        assert f"using the earlier download {path}" in capsys.readouterr().out
    with pytest.raises(OSError, match="cannot be read: "):
        storage.fetch(there.replace("there", "else"))


def test_a_fetch_that_was_killed_before_it_removed_the_old_folder_can_be_repeated(objects, there):
    put(objects, {"there/file": b"first"})
    path = storage.fetch(there)
    write(path.with_name(f".{path.name}.arriving") / "old", {"file": b"older", "deep/er": b"older"})
    for data in (b"second", b"third"):
        put(objects, {"there/file": data})
        assert read(storage.fetch(there)) == {"file": data}


def test_a_folder_that_is_no_longer_complete_is_refused_whatever_was_fetched_before(model, there, objects):
    storage.publish(model, there)
    cached = storage.fetch(there)
    put(objects, {"there/README.md": b"other"})
    with pytest.raises(remote.IncompleteFolder, match="expected a completely published folder") as caught:
        storage.fetch(there)
    one_line(caught, there)
    assert read(cached) == FILES


def test_an_object_and_a_folder_of_one_name_are_distinct(objects, there):
    put(objects, {"there": b"object", "there/file": b"in the folder"})
    assert storage.fetch(there).read_bytes() == b"object"
    assert read(storage.fetch(f"{there}/")) == {"file": b"in the folder"}
    assert storage.fetch(there).read_bytes() == b"object"


def test_a_listing_of_many_pages_is_read_to_its_end(objects, there, traffic):
    traffic.page = 3
    put(objects, {f"there/{index:02d}": bytes([index]) for index in range(10)})
    assert read(storage.fetch(there)) == {f"{index:02d}": bytes([index]) for index in range(10)}


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "failed"])
def test_an_interrupted_download_is_resumed(objects, there, cache, traffic, monkeypatch, killed):
    files = {f"{index}": os.urandom(1000) for index in range(20)} | {"large": os.urandom(3_000_000)}
    put(objects, {f"there/{name}": data for name, data in files.items()})
    traffic.asked.clear()
    if killed:
        broken = traffic.fail("cut", action="download", name="there/large")
        waiting = traffic.fail("wait", action="download", name="there/large", seconds=2)
        process = subprocess.Popen([sys.executable, "-c", f"from ganlib import storage\nstorage.fetch('{there}')"])
        while not (broken.met and waiting.met and traffic.count("download") >= 22):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.3)
        process.kill()
        process.wait()
    else:
        traffic.fail("cut", action="download", name="there/large")
        traffic.fail("status", action="download", name="there/large", times=1000)
        monkeypatch.setattr(remote.bucket, "TIMEOUT", 1.0)  # in which the small ones arrive
        with pytest.raises(OSError, match=r"cannot be read: the server answers 503, for 1 s"):
            storage.fetch(there)
        traffic.faults.clear()
    assert [name for name in os.listdir(cache) if not name.startswith(".")] == []
    traffic.asked.clear()
    assert read(storage.fetch(there)) == files
    downloads = traffic.of("download")
    assert len(downloads) == 1
    assert int(re.search(r"there/large bytes=(\d+)-", downloads[0]).group(1)) > 0


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/x", "a//x", "./x", "a/.", "a\0b", "a\nb", "x" * 300, "file/x"], ids=repr
)
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written(monkeypatch, cache, name):
    items = [
        remote.Object(f"there/{name}", 1, 0, "AAAAAA==", version="1"),
        remote.Object("there/file", 1, 0, "AAAAAA==", version="1"),
    ]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")  # no request is sent
    monkeypatch.setattr(remote.gs.GoogleBucket, "list_objects", lambda *_, **__: iter(items))
    with pytest.raises(ValueError, match="expected object names that are valid as file names") as caught:
        storage.fetch("gs://bucket/there/")
    assert str(caught.value).endswith(f"Received: path='gs://bucket/there/', object={name!r}")
    assert os.listdir(cache) == []


def test_a_folder_larger_than_the_free_disk_is_refused_before_it_is_fetched(objects, there, monkeypatch, traffic):
    put(objects, {f"there/{name}": data for name, data in FILES.items()})
    size = sum(map(len, FILES.values()))
    free = storage.shutil.disk_usage("/")._replace(free=size - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    traffic.asked.clear()
    with pytest.raises(OSError, match=f"expected {size} bytes of free disk space in .*, free={size - 1}$"):
        storage.fetch(there)
    assert traffic.count("download") == 0


def test_lasting_damage_is_reported_and_not_cached(objects, there, traffic, cache):
    put(objects, {f"there/{name}": data for name, data in FILES.items()})
    traffic.fail("spoil", action="download", name="there/model/saved.pb", times=1000)
    with pytest.raises(OSError, match="the transferred bytes have a wrong checksum") as caught:
        storage.fetch(there)
    one_line(caught, there)
    assert [name for name in os.listdir(cache) if not name.startswith(".")] == []


@pytest.mark.parametrize(("status", "kind"), [(401, ValueError), (403, ValueError), (503, OSError), (404, ValueError)])
def test_a_storage_that_does_not_list_is_reported_in_one_line(bucket, there, traffic, hurried, status, kind):
    traffic.fail("status", action=READ, status=status, times=1000)
    with pytest.raises(kind) as caught:
        storage.fetch(f"{there}/")
    assert one_line(caught, there).endswith(f"Received: path='{there}'")


def test_a_storage_that_is_silent_is_reported_in_one_line(bucket, there, traffic, hurried, monkeypatch):
    monkeypatch.setattr(remote.bucket, "READ_TIMEOUT", 0.2)
    traffic.fail("wait", action=READ, seconds=0.5, times=1000)
    with pytest.raises(OSError, match="cannot be read: ") as caught:
        storage.fetch(f"{there}/")
    one_line(caught, there)


def test_a_download_may_take_longer_than_a_request_is_repeated(objects, there, traffic, monkeypatch):
    monkeypatch.setattr(remote.bucket, "TIMEOUT", 0.1)
    data = os.urandom(1_000_000)
    put(objects, {"there": data})
    traffic.pace = 0.03  # seconds for each tenth of an answer
    broken = traffic.fail("cut", action="download", times=3)
    assert storage.fetch(there).read_bytes() == data
    assert broken.met == 3


MEMORY = """
import sys
from pathlib import Path
from ganlib import storage
def peak():  # of this program; that in `getrusage` includes the process that started it
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
source = Path(sys.argv[1])
storage.publish(source / "small", sys.argv[2] + "/small")
storage.fetch(sys.argv[2] + "/small")
before = peak()
storage.publish(source / "large", sys.argv[2] + "/large")
storage.fetch(sys.argv[2] + "/large")
print("more:", peak() - before)
"""


def test_a_large_file_is_not_held_in_memory(bucket, tmp_path):
    write(tmp_path, {"small/file": b"x", "large/file": os.urandom(2**20) * 64})
    done = subprocess.run([sys.executable, "-c", MEMORY, tmp_path, bucket], capture_output=True, text=True, check=True)
    assert int(done.stdout.partition("more:")[2]) < 40  # megabytes, of a file of 64


def test_if_one_file_fails_the_others_are_not_waited_for(objects, there, traffic):
    put(objects, {f"there/{index}": os.urandom(2_000_000) for index in range(3)})
    refused = traffic.fail("status", status=403, action="download", name="there/0", times=9)
    traffic.pace = 0.2  # seconds for each tenth of an answer
    began = time.monotonic()
    with pytest.raises(ValueError, match="access is denied"):
        storage.fetch(there)
    assert refused.met == 1
    assert time.monotonic() - began < 1.5


def test_googles_library_sends_no_requests_of_its_own(objects, bucket, traffic, tmp_path, monkeypatch):
    """Its thread would draw from Python's `random`, from which Keras draws the seeds of weights."""
    monkeypatch.delenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", raising=False)
    (tmp_path / "file").write_text("text")
    traffic.asked.clear()
    storage.publish(tmp_path / "file", f"{bucket}/file")
    time.sleep(0.3)
    assert traffic.count("bucket") == 0
