"""One class of prepared images, as a data set of its own: a domain of an unpaired translation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from etils import epy

with epy.lazy_imports():
    import tensorflow as tf

OF_ALL = ("test_among_train", "train_repeated", "values_used", "target_values_used")  # counted over all classes
SHOWN_CLASSES = 10
FILTER_BATCH = 32  # records whose labels are read at once, which takes a third of the time of one after the other


def class_manifest(manifest: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns the manifest of the images of one class. It names the same files; `only_label` is the class.

    Args:
        manifest: The manifest of all images.
        name: Name of the class.

    Raises:
        ValueError: There is no such class, or a split has no image of it.
    """
    classes = manifest["classes"]
    if name not in classes:
        shown = ", ".join(classes[:SHOWN_CLASSES]) + ", ..." * (len(classes) > SHOWN_CLASSES) or "none"
        raise ValueError(f"expected one of the classes of {manifest['name']!r}: {shown}. Received: class={name!r}")
    splits = {}
    for split, facts in manifest["splits"].items():
        count = facts["classes"][name]
        if not count:
            raise ValueError(f"expected {split} images of every class used. Received: class={name!r}, images=0")
        counts = {other: count if other == name else 0 for other in classes}
        splits[split] = {"count": count, "classes": counts, "shards": facts["shards"]}
    others = {key: value for key, value in manifest.items() if key not in OF_ALL}
    whole = f"{manifest['sha256']} class {name}"
    return {
        **others,
        "sha256": hashlib.sha256(whole.encode()).hexdigest(),
        "splits": splits,
        "only_label": classes.index(name),
    }


def with_label(records: tf.data.Dataset, label: int) -> tf.data.Dataset:
    """Returns those of some serialized records that have a label. Their pixels are not decoded."""

    def select(serialized: tf.Tensor) -> tf.Tensor:
        parsed = tf.io.parse_example(serialized, {"label": tf.io.FixedLenFeature([], tf.int64)})
        return tf.boolean_mask(serialized, parsed["label"] == label)

    return records.batch(FILTER_BATCH).map(select).unbatch()
