"""Recognises image files by a known suffix, otherwise by their first bytes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

FIRST_BYTES = 32  # bytes that are read to recognise a format
MAX_READS = 20_000  # files; a bucket answers some hundred requests a second
THREADS = 10
SHOWN_KINDS = 3
LONGEST_SUFFIX = 12
# Files with these suffixes are images, possibly damaged ones. They are not opened, since there may be a million.
IMAGES = "png jpg jpeg jpe jfif bmp gif webp tif tiff ppm pgm pbm pnm jp2 avif tga heic heif jxl"
# Files with these suffixes are not images. There may be one of them per image.
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
    """Returns for each file whether it is an image. Damaged images count as images.

    Args:
        names: Names of the files.
        start: Returns the first bytes of a file: `FIRST_BYTES`, or fewer for a short file. Called by several threads.
    """
    verdicts = [BY_SUFFIX.get(name[name.rfind(".") :].lower()) for name in names]
    unknown = [index for index, verdict in enumerate(verdicts) if verdict is None]
    # Files beyond the limit count as images. If one is not, opening it reports that.
    sampled = unknown[:MAX_READS]
    if sampled:
        with ThreadPoolExecutor(THREADS) as pool:
            for index, first in zip(sampled, pool.map(start, [names[i] for i in sampled]), strict=True):
                verdicts[index] = is_image(first)
    return [verdict is not False for verdict in verdicts]


def is_image(first: bytes) -> bool:
    """Returns whether the first bytes of a file are those of an image, also of one in an unsupported format."""
    return SUPPORTED.match(first) is not None or unsupported_format(first) is not None


def unsupported_format(first: bytes) -> str | None:
    """Returns the name of the format if the first bytes are those of an image format that cannot be read."""
    return next((name for name, pattern in UNSUPPORTED.items() if pattern.match(first)), None)


def suffix(name: str) -> str:
    """Returns the suffix of a name in lower case, with its dot; empty if there is none or it is unusually long."""
    base = name[name.rfind("/") + 1 :]
    ending = base[base.rfind(".") :].lower() if "." in base else ""
    return ending if len(ending) <= LONGEST_SUFFIX else ""


def count_by_suffix(names: Sequence[str]) -> str:
    """Returns the number of files of each kind as text, such as `2 .txt, 1 .mp4`."""
    counts = Counter(suffix(name) or "without a suffix" for name in names).most_common()
    text = ", ".join(f"{count} {kind}" for kind, count in counts[:SHOWN_KINDS])
    return f"{text}, {sum(count for _, count in counts[SHOWN_KINDS:])} others" if len(counts) > SHOWN_KINDS else text
