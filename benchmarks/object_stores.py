"""Compares ways to reach S3: ours (on botocore), boto3's transfers, and obstore; on moto's server on this machine.

    python benchmarks/object_stores.py [--rounds 5]

Each round sends and fetches one large file and many small ones with each library, in turn, so that a busy machine slows
all of them. What is printed: the median seconds of each, and the median of their ratios to ours in the same round; and
the memory (MB) that a process needs at most for one large file, beyond that for a small one. Needs requirements/dev.txt
and obstore of requirements/peers.txt.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
LARGE, SMALL, COUNT, THREADS = 128 * 2**20, 10_000, 200, 10
ACCESS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


class Ours:
    """The buckets of ganlib: conditions, checksums, resumption."""

    def __init__(self):
        from ganlib.remote import connection
        from ganlib.remote.file import crc32c

        self.bucket, self.crc32c = connection.connect("s3://bucket")[0], crc32c

    def send(self, path, name):
        """Sends a file."""
        self.bucket.upload(path, name, replaces=self.bucket.find(name), crc32c=self.crc32c(path))

    def fetch(self, name, path):
        """Fetches an object."""
        from ganlib.remote.folder import download_object

        path.unlink(missing_ok=True)
        download_object(self.bucket, self.bucket.find(name), path)


class Boto3:
    """The transfers of boto3: parts in parallel, no conditions, no resumption."""

    def __init__(self):
        import boto3

        self.client = boto3.client("s3", region_name="us-east-1")

    def send(self, path, name):
        """Sends a file."""
        self.client.upload_file(str(path), "bucket", name)

    def fetch(self, name, path):
        """Fetches an object."""
        self.client.download_file("bucket", name, str(path))


class Obstore:
    """The Rust library: conditions only where an object goes in one request, no checksum that is kept or verified."""

    def __init__(self):
        import obstore
        from obstore.store import S3Store

        config = {"endpoint": os.environ["AWS_ENDPOINT_URL_S3"]}
        self.store, self.module = S3Store("bucket", config=config, client_options={"allow_http": True}), obstore

    def send(self, path, name):
        """Sends a file."""
        with path.open("rb") as file:
            self.module.put(self.store, name, file)

    def fetch(self, name, path):
        """Fetches an object."""
        with path.open("wb") as file:
            for data in self.module.get(self.store, name).stream():
                file.write(data)


LIBRARIES = {"ours": Ours, "boto3": Boto3, "obstore": Obstore}


def measure(library, name, folder):
    """Returns the seconds of each task with a library, whose objects begin with its name."""
    large, small = [folder / "large"], [folder / f"small-{index}" for index in range(COUNT)]

    def send(path):
        library.send(path, f"{name}/{path.name}")

    def fetch(path):
        library.fetch(f"{name}/{path.name}", folder / f"back-{path.name}")

    found = {}
    for size, paths in (("large", large), ("small", small)):
        for word, work in (("send", send), ("fetch", fetch)):
            began = time.perf_counter()
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(work, paths))
            found[f"{word} {size}"] = time.perf_counter() - began
    if (folder / "back-large").read_bytes() != large[0].read_bytes():
        raise SystemExit(f"{name}: other bytes came back")
    return found


def print_memory(library, name, folder):
    """Prints the peak memory of this process for a large file beyond that for a small one, in MB."""
    peaks = []
    for file in ("small-0", "large"):
        library.send(folder / file, f"{name}/{file}")
        library.fetch(f"{name}/{file}", folder / f"memory-{name}")
        peaks.append(
            int(Path("/proc/self/status").read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0]) / 1024
        )
    print(round(peaks[1] - peaks[0]))


def compare(rounds, folder):
    """Prints medians and ratios."""
    (folder / "large").write_bytes(os.urandom(LARGE))
    for index in range(COUNT):
        (folder / f"small-{index}").write_bytes(os.urandom(SMALL))
    libraries = {name: make() for name, make in LIBRARIES.items()}
    every = [{name: measure(library, name, folder) for name, library in libraries.items()} for _ in range(rounds + 1)]
    found = every[1:]  # the first one warms up
    for task in found[0]["ours"]:
        for name in libraries:
            median = statistics.median(each[name][task] for each in found)
            ratio = statistics.median(each[name][task] / each["ours"][task] for each in found)
            print(f"{task:12} {name:8} {median:7.2f} s  {ratio:5.2f}")
    for name in libraries:
        command = [sys.executable, __file__, "--memory", name, "--folder", folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"memory       {name:8} {done.stdout.strip():>7} MB")


def main():
    """Starts the server and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", choices=LIBRARIES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.memory:
        print_memory(LIBRARIES[words.memory](), words.memory, words.folder)
        return
    import s3_buckets

    with s3_buckets.emulator() as port, contextlib.ExitStack() as stack:
        s3_buckets.create(port, "bucket")
        os.environ.update(ACCESS, AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{port}")
        compare(words.rounds, Path(stack.enter_context(tempfile.TemporaryDirectory())))


if __name__ == "__main__":
    main()
