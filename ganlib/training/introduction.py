"""What MLflow gets to know of a run before its first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ganlib.tracking import flattened

if TYPE_CHECKING:
    from ganlib.data import PreparedDataset
    from ganlib.tracking import Tracker


def record_settings(tracker: Tracker, facts: Mapping[str, Any], dataset: PreparedDataset) -> None:
    """Records the settings, the data set and the devices of a run.

    Args:
        tracker: Where it is recorded.
        facts: What `model.json` will hold.
        dataset: The training images.
    """
    tracker.params(flattened(facts["config"]))
    tracker.tags({name: str(facts[name]) for name in ("dataset", "precision", "replicas", "tensorflow")})
    counts = {split: dataset.count(split) for split in ("train", "test")}
    tracker.dataset(
        name=dataset.name,
        digest=dataset.checksum,
        source=str(dataset.manifest["source"].get("path", dataset.name)),
        profile={**counts, "image_shape": list(dataset.image_shape), "classes": len(dataset.classes)},
    )


def data_settings(dataset: PreparedDataset) -> dict[str, Any]:
    """Returns the settings of the section `data` that the manifest holds, without the paths of the images."""
    source = {name: value for name, value in dataset.manifest["source"].items() if name not in ("path", "labels")}
    return {"name": dataset.name, "source": source, **dataset.manifest["preparation"]}
