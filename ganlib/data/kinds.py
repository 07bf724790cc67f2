"""Which files are images: by a suffix that images usually have, otherwise by their first bytes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

FIRST_BYTES = 32  # as many as are looked at
MAX_READS = 20_000  # a bucket answers some hundred a second
THREADS = 10
SHOWN_KINDS = 3
LONGEST_SUFFIX = 12
# Files with these are images, or damaged ones: a million of them are not opened to be listed.
IMAGES = "png jpg jpeg jpe jfif bmp gif webp tif tiff ppm pgm pbm pnm jp2 avif tga heic heif jxl"
# Files with these are something else, and often as many as the images that they belong to.
OTHERS = (
    "txt md rst html htm xml json jsonl csv tsv yaml yml toml log pdf svg npy npz mat pkl pt pth h5 parquet tfrecord "
    "mp4 avi mov mkv webm mp3 wav zip tar gz tgz bz2 xz 7z rar py sh"
)
BY_SUFFIX = {f".{word}": kind for words, kind in ((IMAGES, True), (OTHERS, False)) for word in words.split()}
UNSUPPORTED = {
    "HEIC": re.compile(rb"....ftyp(heic|heix|heim|heis|hevc|mif1|msf1)", re.DOTALL),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n"),
    "OpenEXR": re.compile(rb"v/1\x01"),
}
SUPPORTED = re.compile(
    rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|BM....\0\0\0\0|II[*+]\0|MM\0[*+]|RIFF....WEBP|P[1-6f]\s+[#\d]|....ftypavi[fs]|"
    rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51|\0\0\x01\0.\0...\0|8BPS\0|qoif|DDS \x7c|\x59\xa6\x6a\x95|"
    rb"\x01\xda[\0\1][\1\2]|\n[\0\2\3\5]\x01[\1\2\4\x08]|icns..",
    re.DOTALL,
)


def are_images(names: Sequence[str], start: Callable[[str], bytes]) -> list[bool]:
    """Says of each file whether it is an image; a damaged one counts too.

    Args:
        names: Names of the files.
        start: Returns the first bytes of a file, `FIRST_BYTES` or all that it has; is called by several threads.
    """
    verdicts = [BY_SUFFIX.get(name[name.rfind(".") :].lower()) for name in names]
    unknown = [index for index, verdict in enumerate(verdicts) if verdict is None]
    # Beyond so many, a file counts as an image: who opens it finds out, and says so.
    sampled = unknown[:MAX_READS]
    if sampled:
        with ThreadPoolExecutor(THREADS) as pool:
            for index, first in zip(sampled, pool.map(start, [names[i] for i in sampled]), strict=True):
                verdicts[index] = is_image(first)
    return [verdict is not False for verdict in verdicts]


def is_image(first: bytes) -> bool:
    """Says whether the first bytes of a file are those of an image, of one that is not read here too."""
    return SUPPORTED.match(first) is not None or unsupported_format(first) is not None


def unsupported_format(first: bytes) -> str | None:
    """Returns the name of an image format that may not be read here, if the first bytes are those of one."""
    return next((name for name, pattern in UNSUPPORTED.items() if pattern.match(first)), None)


def suffix(name: str) -> str:
    """Returns the suffix of a name in small letters, with its point; empty if there is none, or a whole sentence."""
    base = name[name.rfind("/") + 1 :]
    found = base[base.rfind(".") :].lower() if "." in base else ""
    return found if len(found) <= LONGEST_SUFFIX else ""


def count_by_suffix(names: Sequence[str]) -> str:
    """Returns how many files of each kind there are, such as `2 .txt, 1 .mp4`."""
    found = Counter(suffix(name) or "without a suffix" for name in names).most_common()
    told = ", ".join(f"{count} {kind}" for kind, count in found[:SHOWN_KINDS])
    return f"{told}, {sum(count for _, count in found[SHOWN_KINDS:])} others" if len(found) > SHOWN_KINDS else told
