"""Files from real servers: a TLS server with a self-signed certificate, and an emulator of Google's storage."""

import base64
import contextlib
import gzip
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import zipfile

import google_crc32c
import numpy as np
import pytest
from PIL import Image
from web_server import DATA, MODIFIED, SECONDS, Cut, Quiet, certificate

from ganlib import remote, storage
from ganlib.data import Archive, Arrays, ImageFolder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own for the test, and no proxy for local addresses."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("GAN_PIPELINES_CACHE", str(folder))
    monkeypatch.setenv("no_proxy", "*")
    return folder


@pytest.fixture
def bucket(objects):
    """The emulator's bucket, through Google's own client."""
    return objects


@contextlib.contextmanager
def storage_of(handler, monkeypatch):
    """Replaces Google's storage by a server of the test."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{running.server_port}")
        try:
            yield
        finally:
            running.shutdown()
            thread.join()


def put(bucket, name, data):
    bucket.blob(name).upload_from_string(data)
    return f"gs://{bucket.name}/{name}"


def refused(location, message, kind=ValueError):
    """Asserts that a location is refused in one line, and that nothing is left in the cache."""
    with pytest.raises(kind) as caught:
        storage.fetch(location)
    text = str(caught.value)
    assert message in text
    assert text.endswith(f"Received: path={location!r}")
    assert "\n" not in text
    folder = storage.cache_folder()
    assert not folder.exists() or os.listdir(folder) == []


# Both kinds of servers.


@pytest.fixture(params=["https", "gs"])
def place(request):
    """Returns a function that stores data under a name and returns its address."""
    if request.param == "gs":
        bucket = request.getfixturevalue("bucket")
        return lambda name, data: put(bucket, name, data)
    server = request.getfixturevalue("server")

    def put_there(name, data):
        server.files[f"/{name}"] = data
        return f"{server.url}/{name}"

    return put_there


@pytest.mark.parametrize("size", [0, 1, 2_000_000, len(DATA)])
def test_a_file_arrives_whole_under_its_own_name(place, cache, size, capsys):
    location = place(f"some/where/file-{size}.npz", DATA[:size])
    path = storage.fetch(location)
    assert path.read_bytes() == DATA[:size]
    assert path.parent == cache
    assert path.name.endswith(f"-file-{size}.npz")
    assert os.listdir(cache) == [path.name]
    assert path.stat().st_mode & 0o777 == 0o644
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"fetch: {location}"
    megabytes = -(-size // 10**6)
    assert [line.split("  ")[0:2] for line in lines] == [["fetch 100%", f"{megabytes}/{megabytes} MB"]] * (size > 0)


def test_a_second_fetch_uses_the_cached_file(place, capsys):
    location = place("second.npz", DATA)
    path = storage.fetch(location)
    before = path.stat()
    capsys.readouterr()
    assert storage.fetch(location) == path
    assert capsys.readouterr().out == f"fetch: {location} is cached in {path}\n"
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_with_another_size_is_fetched_again(place):
    path = storage.fetch(place("changed.npz", DATA))
    assert storage.fetch(place("changed.npz", DATA[:100])) == path
    assert path.read_bytes() == DATA[:100]


def test_the_cached_file_has_the_time_of_the_remote_one(place, cache):
    location = place("time.npz", DATA)
    path = storage.fetch(location)
    before = path.stat().st_mtime_ns
    path.unlink()
    assert storage.fetch(location).stat().st_mtime_ns == before


def test_files_of_one_name_are_distinct_in_the_cache(place, cache):
    one, two = place("a/same.npz", b"one"), place("b/same.npz", b"two")
    assert (storage.fetch(one).read_bytes(), storage.fetch(two).read_bytes()) == (b"one", b"two")
    assert len(os.listdir(cache)) == 2


def test_a_file_that_is_not_there_is_named(place):
    place("there.npz", b"x")
    refused(place("there.npz", b"x").replace("there", "gone"), "no such ")


def test_a_file_larger_than_the_free_disk_is_refused_before_it_is_fetched(place, monkeypatch):
    location = place("large.npz", DATA)
    free = storage.shutil.disk_usage("/")._replace(free=len(DATA) - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    with pytest.raises(OSError, match=f"expected {len(DATA)} bytes of free disk space in .*, free={len(DATA) - 1}$"):
        storage.fetch(location)


@pytest.mark.parametrize("name", ["grüß dich.npz", "a+b&c=d.npz"])
def test_a_name_with_other_letters_is_fetched(bucket, cache, name):
    path = storage.fetch(put(bucket, f"x/{name}", b"data"))
    assert path.read_bytes() == b"data"
    assert path.suffix == ".npz"


# https://


def test_an_address_with_spaces_and_other_letters_is_asked_for_in_the_webs_way(server):
    server.files["/gr%C3%BC%C3%9F%20dich%2B1.npz"] = b"data"
    path = storage.fetch(f"{server.url}/grüß dich%2B1.npz?download=1#top")
    assert path.read_bytes() == b"data"
    assert path.name.endswith("-grüß_dich_1.npz")
    assert server.asked == ["/gr%C3%BC%C3%9F%20dich%2B1.npz?download=1"]


def test_a_file_with_a_later_time_is_fetched_again(server):
    path = storage.fetch(f"{server.url}/data.npz")
    assert path.stat().st_mtime == SECONDS
    server.files["/data.npz"] = DATA[::-1]
    server.modified = MODIFIED.replace("30 GMT", "31 GMT")
    assert storage.fetch(f"{server.url}/data.npz").read_bytes() == DATA[::-1]
    assert path.stat().st_mtime == SECONDS + 1


@pytest.mark.parametrize("header", ["", "yesterday", "Tue, 99 Mar 2026 10:20:30 GMT"])
def test_a_file_without_a_time_is_identified_by_address_and_size(server, header):
    server.modified = header
    path = storage.fetch(f"{server.url}/data.npz")
    server.files["/data.npz"] = DATA[::-1]
    assert storage.fetch(f"{server.url}/data.npz").read_bytes() == DATA
    path.unlink()
    assert storage.fetch(f"{server.url}/data.npz").read_bytes() == DATA[::-1]


def test_a_file_without_a_known_size_arrives_whole(server, capsys):
    assert storage.fetch(f"{server.url}/chunked").read_bytes() == DATA
    assert capsys.readouterr().out == f"fetch: {server.url}/chunked\n"


def test_a_server_may_redirect_to_another_address(server):
    assert storage.fetch(f"{server.url}/moved").read_bytes() == DATA
    assert server.asked == ["/moved", "/data.npz"]


@pytest.mark.parametrize(
    ("path", "message", "kind"),
    [
        ("missing", "no such file (404)", ValueError),
        ("forbidden", "access is denied (403)", ValueError),
        ("login", "the server requires a login (401)", ValueError),
        ("broken", "the server answers 500 Internal Server Error", OSError),
        ("cut", f"the download ended after 1000 of {len(DATA)} bytes", OSError),
        ("endless", "the server does not report the size of the file", OSError),
        ("downgrade", "the server redirects to an address without https://", ValueError),
    ],
)
def test_a_servers_error_is_reported_in_one_line(server, path, message, kind):
    refused(f"{server.url}/{path}", message, kind)


def test_an_untrusted_certificate_is_refused(server, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate(tmp_path)))
    refused(f"{server.url}/data.npz", "the server's certificate is not trusted: ", OSError)
    assert server.asked == []


def test_a_certificate_of_another_host_is_refused(server):
    location = f"https://127.0.0.1:{server.server_port}/data.npz"
    refused(location, "the server's certificate is not trusted: ", OSError)
    assert server.asked == []


@pytest.mark.parametrize(
    ("location", "message", "kind"),
    [
        ("https://host.invalid/x.npz", "host not found", OSError),
        ("https://localhost:1/x.npz", "the server cannot be reached: ", OSError),
        ("https:///x.npz", "the server cannot be reached: no host given", OSError),
        ("https://[/x.npz", "not an address: ", ValueError),
        ("http://localhost/x.npz", "http:// is refused, because the file could be changed on the way", ValueError),
        ("ftp://localhost/x.npz", "expected a local path, https://, gs:// or s3://", ValueError),
        ("gs://", "expected an address of the form gs://bucket/name", ValueError),
        ("gs://a b/folder/", "expected an address of the form gs://bucket/name", ValueError),
        ("gs:///folder/", "expected an address of the form gs://bucket/name", ValueError),
    ],
)
def test_an_address_that_leads_nowhere_is_refused(location, message, kind):
    refused(location, message, kind)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="without a user and password") as caught:
        storage.fetch("https://me:secret@localhost/x.npz")
    assert "secret" not in str(caught.value)


def test_the_cached_file_is_used_while_the_server_cannot_be_reached(server, capsys):
    path = storage.fetch(f"{server.url}/data.npz")
    away = f"{server.url}/data.npz".replace(str(server.server_port), "1")
    path.rename(path.with_name(storage.hashlib.sha256(away.encode()).hexdigest()[:16] + "-data.npz"))
    capsys.readouterr()
    assert storage.fetch(away).read_bytes() == DATA
    line = capsys.readouterr().out
    assert line.startswith("fetch: the server cannot be reached: ")
    assert "using the earlier download" in line
    assert line.count("\n") == 1


def test_a_changed_file_that_arrives_in_part_is_an_error_and_leaves_the_old_one(server, monkeypatch):
    path = storage.fetch(f"{server.url}/data.npz")
    server.modified = MODIFIED.replace("30 GMT", "31 GMT")
    server.files["/data.npz"] = Cut(DATA)
    with pytest.raises(OSError, match="ended after 1000 of"):
        storage.fetch(f"{server.url}/data.npz")
    assert path.read_bytes() == DATA
    assert os.listdir(path.parent) == [path.name]


def test_a_killed_download_leaves_no_file_that_could_be_taken_as_complete(server, cache):
    program = "import sys\nfrom ganlib import storage\nstorage.fetch(sys.argv[1])"
    process = subprocess.Popen([sys.executable, "-c", program, f"{server.url}/slow"], stdout=subprocess.DEVNULL)
    assert server.half.wait(60)
    deadline = time.monotonic() + 30
    while not [path for path in cache.glob(".*.partial") if path.stat().st_size] and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert sorted((path.name[0], path.suffix) for path in cache.iterdir()) == [(".", ".lock"), (".", ".partial")]
    server.go_on.set()
    assert storage.fetch(f"{server.url}/data.npz").read_bytes() == DATA  # the lock is free


@pytest.mark.parametrize("before", ["nothing", "an older file"])
def test_of_two_processes_one_downloads_and_the_other_waits(server, cache, before):
    server.files["/late"] = DATA[:10]
    if before == "an older file":
        storage.fetch(f"{server.url}/late")
    server.files["/late"] = DATA
    program = "import sys\nfrom ganlib import storage\nprint(storage.fetch(sys.argv[1]).stat().st_size)"
    command = [sys.executable, "-c", program, f"{server.url}/late"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    output = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert [text.splitlines()[-1] for text in output] == [str(len(DATA))] * 3
    assert sum(f"fetch: {server.url}/late\n" in text for text in output) == 1
    [left] = os.listdir(cache)
    assert left.endswith("-late")


def test_an_address_is_no_folder_of_downloads(server, monkeypatch):
    monkeypatch.setenv("GAN_PIPELINES_CACHE", "gs://bucket/cache")
    with pytest.raises(ValueError, match=r"^expected a folder, .* Received: GAN_PIPELINES_CACHE='gs://bucket/cache'$"):
        storage.fetch(f"{server.url}/data.npz")


def test_a_file_that_fails_the_check_is_not_cached(server, cache):
    def refuse(path):
        assert path.read_bytes() == DATA
        raise OSError("not this one")

    with pytest.raises(OSError, match="not this one"):
        storage.fetch(f"{server.url}/data.npz", check=refuse)
    assert os.listdir(cache) == []


# gs://


def test_an_object_with_other_bytes_of_the_same_size_is_fetched_again(bucket):
    path = storage.fetch(put(bucket, "bytes.npz", DATA))
    storage.fetch(put(bucket, "bytes.npz", DATA[::-1]))
    assert path.read_bytes() == DATA[::-1]


def test_an_object_written_again_with_the_same_bytes_is_not_fetched_again(bucket, capsys):
    path = storage.fetch(put(bucket, "again.npz", DATA))
    inode = path.stat().st_ino
    storage.fetch(put(bucket, "again.npz", DATA))
    assert path.stat().st_ino == inode
    assert capsys.readouterr().out.endswith(f" is cached in {path}\n")


def test_a_cached_file_that_was_damaged_is_fetched_again(bucket):
    location = put(bucket, "cached.npz", DATA)
    path = storage.fetch(location)
    path.write_bytes(DATA[::-1])
    assert storage.fetch(location).read_bytes() == DATA


def test_an_object_that_arrives_damaged_again_and_again_is_noticed(bucket, traffic):
    location = put(bucket, "damaged.npz", DATA)
    traffic.fail("spoil", action="download", name="damaged.npz", times=3)
    refused(location, "the transferred bytes have a wrong checksum", OSError)


def test_an_object_that_arrives_damaged_is_fetched_again(bucket, traffic):
    location = put(bucket, "damaged.npz", DATA)
    traffic.fail("spoil", action="download", name="damaged.npz", times=2)
    assert storage.fetch(location).read_bytes() == DATA


def test_a_packed_object_arrives_as_it_is_stored(left_connections, monkeypatch):
    packed = gzip.compress(DATA[:1000])
    checksum = base64.b64encode(google_crc32c.Checksum(packed).digest()).decode()
    known = {"bucket": "bucket", "name": "packed", "size": str(len(packed)), "crc32c": checksum, "generation": "1"}

    class Packed(Quiet):  # the emulator does not report an encoding
        def do_GET(self):  # noqa: N802  # the base class' name
            media = "alt=media" in self.path
            data = packed if media else json.dumps(known | {"timeCreated": "2026-03-03T10:20:30.123Z"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            if media:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(data)

    with storage_of(Packed, monkeypatch):
        path = storage.fetch("gs://bucket/packed")
    assert path.read_bytes() == packed
    assert path.stat().st_mtime_ns == SECONDS * 10**9 + 123_000_000


def test_a_bucket_that_is_not_there_is_named(bucket):
    refused("gs://nowhere/data.npz", "no such bucket")


def test_missing_credentials_are_reported_in_one_line(monkeypatch, tmp_path):
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    refused("gs://bucket/data.npz", "no credentials: expected those of `gcloud auth application-default login`")


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (401, "no credentials", ValueError),  # if none were sent
        (403, "access is denied (403)", ValueError),
        (400, "cannot", OSError),
    ],
)
def test_a_storage_that_refuses_is_reported_in_one_line(left_connections, monkeypatch, code, message, kind):
    class Refusing(Quiet):
        def do_GET(self):  # noqa: N802  # the base class' name
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with storage_of(Refusing, monkeypatch):
        refused("gs://bucket/data.npz", message, kind)


def test_a_storage_that_cannot_be_reached_is_reported_in_one_line(left_connections, monkeypatch):
    monkeypatch.setattr(remote.bucket, "TIMEOUT", 0.5)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    refused("gs://bucket/data.npz", "cannot be read: ", OSError)


def test_the_libraries_of_buckets_are_not_imported_for_other_files(tmp_path):
    program = (
        "import sys\nfrom ganlib import storage\nstorage.fetch(sys.argv[1])\n"
        "assert not [name for name in sys.modules if name.startswith(('google.', 'botocore'))]"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# Sources.


def test_arrays_and_an_archive_are_read_from_a_server(place, tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (8, 9, 9), np.uint8)
    np.savez(tmp_path / "data.npz", images=images)
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        for index, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "image.png")
            file.write(tmp_path / "image.png", f"{index}.png")
    for make, name in ((Arrays, "data.npz"), (Archive, "data.zip")):
        source = make(path=place(name, (tmp_path / name).read_bytes()))
        listing = source.listing()
        assert source.listing().checksum(with_times=True) == listing.checksum(with_times=True)
        for index in range(8):
            with listing.read(index) as image:
                np.testing.assert_array_equal(np.asarray(image), images[index])


def test_a_web_server_has_no_folder_of_images():
    with pytest.raises(ValueError, match="expected a local folder or a folder of a bucket, gs:"):
        ImageFolder(path="https://localhost/images").listing()


@pytest.mark.parametrize(
    ("own", "users", "expected"),
    [("/a/b", "/c", "/a/b"), (None, "/c", "/c/gan-pipelines"), (None, None, "/home/me/.cache/gan-pipelines")],
)
def test_the_cache_is_where_the_environment_says(monkeypatch, own, users, expected):
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in (("GAN_PIPELINES_CACHE", own), ("XDG_CACHE_HOME", users)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    assert str(storage.cache_folder()) == expected
