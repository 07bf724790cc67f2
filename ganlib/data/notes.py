"""Notes on prepared images, written from their manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ganlib.data.conform import NARROW_RANGE, TARGET_REMARK
from ganlib.data.tally import MIN_DIFFERENCE
from ganlib.data.value_range import ValueRange, number

LOSSY = ("JPEG", "MPO", "WEBP", "AVIF")  # formats that leave compression artefacts in the pixels


def notes(manifest: Mapping[str, Any]) -> list[str]:
    """Returns the notes. A manifest of an earlier version gives fewer."""
    texts, splits = [], manifest["splits"]
    values = ValueRange(*manifest["value_range"]) if manifest.get("value_range") else None
    if values is not None:
        texts.append(scale_note(values))
    if manifest.get("values_used"):
        low, high = manifest["values_used"]
        texts += range_notes(low, high, values)
    lost = {
        remark: count for remark, count in manifest.get("remarks", {}).items() if not values or remark != values.remark
    }
    if manifest.get("paired"):
        texts += _target_notes(manifest, lost)
    texts += [f"{count} images: {remark}." for remark, count in lost.items()]
    if among := manifest.get("test_among_train"):
        texts.append(f"{among} of {splits['test']['count']} test images are also training images, pixel for pixel.")
    if repeated := manifest.get("train_repeated"):
        texts.append(f"{repeated} of {splits['train']['count']} training images repeat others, pixel for pixel.")
    train, test = (splits[split].get("formats", {}) for split in ("train", "test"))
    return texts + format_differences(train, test, "training images", "test images")


def _target_notes(manifest: Mapping[str, Any], lost: dict[str, int]) -> list[str]:
    """Returns the notes on the range of the targets, and removes the remark on it from the conversions."""
    texts = []
    values = ValueRange(*manifest["target_value_range"]) if manifest.get("target_value_range") else None
    if values is not None:
        texts.append(f"Of the targets, {scale_note(values)}")
        lost.pop(f"{TARGET_REMARK}{values.remark}", None)
    if manifest.get("target_values_used"):
        low, high = manifest["target_values_used"]
        texts.append(f"The targets use {(high - low) / 255:.0%} of 0..255, {low}..{high}.")
    return texts


def scale_note(values: ValueRange) -> str:
    """Returns the note that says which values of the originals 0..255 correspond to."""
    originals = {None: "originals", "integers": "originals of more than 8 bits", "floats": "floating-point originals"}
    return f"0..255 stands for {values.text} of the {originals[values.of]}."


def range_notes(low: int, high: int, values: ValueRange | None) -> list[str]:
    """Returns a note if the images use only a small share of their range.

    Args:
        low: Lowest value of all images, on the scale 0..255.
        high: Highest value.
        values: The range that was scaled to 0..255, if any.
    """
    if not 0 <= high - low < NARROW_RANGE:
        return []
    ends = [number(low), number(high)]
    if values:  # widened by half a step of 8 bits, so that they enclose all values of the originals
        least, most = max(values.low, values.original(low - 0.5)), min(values.high, values.original(high + 0.5))
        whole = values.span >= 255  # values of the originals are integers, or far apart
        ends = [number(math.floor(least) if whole else least), number(math.ceil(most) if whole else most)]
    spread = f"; data.value_range=[{', '.join(ends)}] would spread them" if low < high else ""
    return [f"The values use {(high - low) / 255:.0%} of their range, {'..'.join(ends)}{spread}."]


def range_differences(first: ValueRange | None, second: ValueRange | None) -> list[str]:
    """Returns a note if the values of two sets of images have different ranges."""
    ranges = ["0..255" if values is None else values.text for values in (first, second)]
    if ranges[0] == ranges[1]:
        return []
    both = " and ".join(ranges)
    return [f"The ranges of values differ, {both}, each scaled to 0..255: equal pixels need not mean equal brightness."]


def format_differences(first: Mapping[str, int], second: Mapping[str, int], name: str, other: str) -> list[str]:
    """Returns a note if two sets of images were stored in formats with different compression artefacts.

    Args:
        first: Number of images of each format in the first set.
        second: The same for the second set.
        name: Name of the first set, for the note.
        other: Name of the second set.
    """
    shares = [{kind: count / sum(counts.values()) for kind, count in counts.items()} for counts in (first, second)]
    lossy = [sum(share.get(kind, 0.0) for kind in LOSSY) for share in shares]
    if not all(shares) or abs(lossy[0] - lossy[1]) <= MIN_DIFFERENCE:
        return []
    texts = [", ".join(f"{kind} {part:.0%}" for kind, part in sorted(share.items())) for share in shares]
    return [f"File formats differ: {name} {texts[0]}; {other} {texts[1]}. Compression artefacts affect the scores."]
