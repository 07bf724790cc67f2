"""What a reader must know of prepared images, in sentences made of their manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ganlib.data.conform import NARROW_RANGE
from ganlib.data.tally import MIN_DIFFERENCE
from ganlib.data.value_range import ValueRange, number

LOSSY = ("JPEG", "MPO", "WEBP", "AVIF")  # formats that leave marks of their own in the pixels


def notes(manifest: Mapping[str, Any]) -> list[str]:
    """Returns the sentences; a manifest of an earlier version tells less."""
    found, splits = [], manifest["splits"]
    values = ValueRange(*manifest["value_range"]) if manifest.get("value_range") else None
    if values is not None:
        found.append(scale_note(values))
    if manifest.get("values_used"):
        low, high = manifest["values_used"]
        found += range_notes(low, high, values)
    lost = {
        remark: count for remark, count in manifest.get("remarks", {}).items() if not values or remark != values.remark
    }
    found += [f"{count} images: {remark}." for remark, count in lost.items()]
    if among := manifest.get("test_among_train"):
        found.append(f"{among} of {splits['test']['count']} test images are training images too, pixel for pixel.")
    if repeated := manifest.get("train_repeated"):
        found.append(f"{repeated} of {splits['train']['count']} training images repeat others, pixel for pixel.")
    train, test = (splits[split].get("formats", {}) for split in ("train", "test"))
    return found + format_differences(train, test, "training images", "test images")


def scale_note(values: ValueRange) -> str:
    """Returns the sentence by which pixels are mapped back to numbers of the originals."""
    those = {None: "originals", "integers": "originals of more than 8 bits", "floats": "floating-point originals"}
    return f"0..255 stands for {values.text} of the {those[values.of]}."


def range_notes(low: int, high: int, values: ValueRange | None) -> list[str]:
    """Returns a note where images use a small share of their range.

    Args:
        low: Lowest value that any has, on the scale 0..255.
        high: Highest value.
        values: The range that was scaled to 0..255, if there was one.
    """
    if not 0 <= high - low < NARROW_RANGE:
        return []
    ends = [number(low), number(high)]
    if values:  # half a step of 8 bits further, so that no value of the originals is beyond them
        least, most = max(values.low, values.original(low - 0.5)), min(values.high, values.original(high + 0.5))
        whole = values.span >= 255  # numbers of the originals are integers, or far apart
        ends = [number(math.floor(least) if whole else least), number(math.ceil(most) if whole else most)]
    spread = f"; data.value_range=[{', '.join(ends)}] would spread them" if low < high else ""
    return [f"The values use {(high - low) / 255:.0%} of their range, {'..'.join(ends)}{spread}."]


def range_differences(first: ValueRange | None, second: ValueRange | None) -> list[str]:
    """Returns a note where the values of two sets of images were read in two ranges."""
    told = ["0..255" if values is None else values.text for values in (first, second)]
    if told[0] == told[1]:
        return []
    return [
        f"Values are read in two ranges, {told[0]} and {told[1]}, each as 0..255: a brightness need not be the same."
    ]


def format_differences(first: Mapping[str, int], second: Mapping[str, int], name: str, other: str) -> list[str]:
    """Returns a note where two sets of images were kept in formats that leave other marks.

    Args:
        first: How many images of one set there are of each format.
        second: Likewise of the other set.
        name: What the one set is called.
        other: What the other is called.
    """
    shares = [{kind: count / sum(counts.values()) for kind, count in counts.items()} for counts in (first, second)]
    lossy = [sum(share.get(kind, 0.0) for kind in LOSSY) for share in shares]
    if not all(shares) or abs(lossy[0] - lossy[1]) <= MIN_DIFFERENCE:
        return []
    told = [", ".join(f"{kind} {part:.0%}" for kind, part in sorted(share.items())) for share in shares]
    return [f"File formats differ: {name} {told[0]}; {other} {told[1]}. The scores see what JPEG leaves."]
