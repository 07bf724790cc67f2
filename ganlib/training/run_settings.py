"""The settings of a run, and what is recorded of it before its first step."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import __version__
from ganlib.models import ImageToImage
from ganlib.tracking import flatten
from ganlib.trained import without_places
from ganlib.training.config import TrainConfig
from ganlib.training.strategy import resolve_compilation, resolve_precision

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.data import PreparedDataset
    from ganlib.evaluation import Reference
    from ganlib.models import Architecture
    from ganlib.objectives import Objective
    from ganlib.tasks import Task
    from ganlib.tracking import Tracker

SCORE_SAMPLES = 1000  # in a score during training, or as many as there are test images if they are fewer


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What `train` was given, and what follows from it."""

    dataset: PreparedDataset
    reference: Reference
    task: Task
    architecture: Architecture
    objective: Objective
    config: TrainConfig
    strategy: tf.distribute.Strategy

    @property
    def settings(self) -> dict[str, Any]:
        """The sections of the config that training reads."""
        sections = {"task": self.task, "model": self.architecture, "objective": self.objective, "training": self.config}
        return {name: section.to_parameter() for name, section in sections.items()}

    @functools.cached_property
    def resolved(self) -> dict[str, Any]:
        """The choices made on this machine for settings such as `auto`."""
        return {
            "precision": resolve_precision(self.config.precision, self.strategy.num_replicas_in_sync),
            "replicas": self.strategy.num_replicas_in_sync,
            "compiled": resolve_compilation(self.config.compile, self.strategy.num_replicas_in_sync),
            "tensorflow": tf.__version__,
        }

    @property
    def origin(self) -> dict[str, Any]:
        """Version of the code, and checksums of the images and the reference."""
        checksums = {"dataset": self.dataset.checksum, "reference": self.reference.extractor.sha256}
        checksums["reference_images"] = self.reference.facts["dataset_sha256"]
        split = {"evaluation.reference_split": self.reference.split}
        # Without distances, so that runs from before there was a choice can be resumed.
        chosen = {} if self.task.best_measure == "distance" else {"best_measure": self.task.best_measure}
        own = {"ganlib": __version__, "data.flip": self.dataset.flip, **self.task.origin(self.dataset)}
        return {**own, **checksums, **split, **chosen}

    @functools.cached_property
    def score_count(self) -> int:
        """Samples in a score during training."""
        requested = self.config.score_samples or min(SCORE_SAMPLES, self.reference.sample_count(None))
        limits = [self.task.sample_limit(self.dataset, name) or requested for name in self.task.scored]
        count = min(requested, max(limits))
        if count < requested and self.config.score_samples:
            print(f"note: samples are made from {count} held-out images, so a score has no more of them", flush=True)
        return count

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """What `model.json` holds."""
        settings = self.settings
        settings["training"].pop("home", None)  # a path on this machine, not a property of the model
        return {
            "config": {"data": data_settings(self.dataset), **settings},
            "dataset": self.dataset.name,
            "dataset_sha256": self.dataset.checksum,
            "image_shape": list(self.dataset.image_shape),
            **self._sizes,
            "classes": list(self.dataset.classes),
            "class_shares": self.dataset.class_shares,
            "score_protocol": self.reference.protocol(
                count=self.score_count, generator="current", averaged=True, seed=self.config.seed
            )
            | self.task.protocol(self.dataset),
            "best_measure": self.task.best_measure,
            "score_floor": self.reference.floor(self.score_count),
            "score_floor_count": self.reference.floor_count(self.score_count),
            **self.resolved,
        }

    @property
    def _sizes(self) -> dict[str, Any]:
        """The sizes of images that the networks take, if they make images from images."""
        if not isinstance(self.architecture, ImageToImage):
            return {}
        multiple = self.architecture.multiple_at(self.dataset.batch_shape)
        return {"sizes": {"multiple_of": multiple, "minimum": self.architecture.smallest_at(self.dataset.batch_shape)}}


def record_settings(
    tracker: Tracker, facts: Mapping[str, Any], dataset: PreparedDataset, *, tags: Mapping[str, str] | None = None
) -> None:
    """Records the settings, the data set and the devices of a run.

    Args:
        tracker: Where it is recorded.
        facts: What `model.json` will hold.
        dataset: The training images.
        tags: Further tags.
    """
    tracker.params(without_places(flatten(facts["config"])))
    known = {name: str(facts[name]) for name in ("dataset", "precision", "replicas", "tensorflow")}
    tracker.tags({**known, **(tags or {})})
    counts = {split: dataset.count(split) for split in ("train", "test")}
    tracker.dataset(
        name=dataset.name,
        digest=dataset.checksum,
        source=str(dataset.manifest["source"].get("path", dataset.name)),
        profile={**counts, "image_shape": list(dataset.image_shape), "classes": len(dataset.classes)},
    )


def data_settings(dataset: PreparedDataset) -> dict[str, Any]:
    """Returns the settings of the section `data` that the manifest holds, without the paths of the images."""
    source = {
        name: value
        for name, value in dataset.manifest["source"].items()
        if name not in ("path", "labels", "target_path")
    }
    return {"name": dataset.name, "source": source, **dataset.manifest["preparation"]}
