"""The reference of a dataset: a feature space, and features of the real images in it."""

from __future__ import annotations

import functools
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage, streams, tracking
from ganlib.evaluation.config import ReferenceSplit
from ganlib.evaluation.extractors import FittedExtractor
from ganlib.evaluation.measures import catalogue
from ganlib.evaluation.measures.frechet import frechet_distance
from ganlib.evaluation.measures.neighbours import median_nearest
from ganlib.evaluation.sample import Sample
from ganlib.evaluation.scores import Score, add_floors, versions
from ganlib.evaluation.statistics import Statistics

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = "gan-pipelines/reference@3"
CLOSENESS = "test_closeness.npy"
TRAIN_STATISTICS = "train_statistics.npz"
REFERENCES = {"test": "the test images", "all": "all real images"}
NEIGHBOURS = 500  # images whose distances to each other show whether they are similar
INDISTINCT = 1e-5  # a smaller distance or variance of features is rounding
DAMAGE_ERRORS = (ValueError, LookupError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Reference:
    """Everything that generated images are compared with.

    Attributes:
        extractor: The feature space.
        statistics: Mean and covariance of all real images of the reference split.
        train: Features of the first `catalogue.PAIRWISE_LIMIT` training images, in the shuffled order of the dataset.
        test: Features of the test images.
        facts: Facts about the dataset for the protocol of every score.
        test_closeness: Closeness of each test image to the training images, float64 [N]; None if there are too few
            training images.
        known_floors: Scores of the first held-out images, by their number.
        train_statistics: Mean and covariance of the training images, if `statistics` include the test images.
    """

    extractor: FittedExtractor
    statistics: Statistics
    train: Sample
    test: Sample
    facts: dict[str, Any]
    test_closeness: NDArray[np.float64] | None = None
    known_floors: dict[int, list[Score]] = field(default_factory=dict)
    train_statistics: Statistics | None = None

    @property
    def measure(self) -> str:
        """Name of the Frechet distance in this space; `fid` is reserved for the canonical Inception network."""
        return self.extractor.measure("fd")

    @property
    def split(self) -> ReferenceSplit:
        """The real images that generated ones are compared with."""
        split: ReferenceSplit = self.facts.get("reference_split", "train")
        return split

    @functools.cached_property
    def real(self) -> Sample:
        """Features of images of the reference split, for the measures that compare single images."""
        return self._draw_from_all() if self.split == "all" else self.test if self.split == "test" else self.train

    @property
    def held_out(self) -> Sample:
        """Real images that replace the generated ones in the floors."""
        return self.train if self.split == "test" else self.test

    @property
    def floor_real(self) -> Sample:
        """Real images that `held_out` is compared with in the floors: `real` without any of `held_out`."""
        return self.train if self.split == "all" else self.real

    def _draw_from_all(self) -> Sample:
        """Draws images from both splits in proportion to their sizes."""
        total = self.statistics.count or 0
        count = min(total, catalogue.PAIRWISE_LIMIT)
        tests = round(count * len(self.test) / total)
        parts = (self.train.first(count - tests), self.test.draw(tests))
        labels = [part.labels for part in parts if part.labels is not None]
        features = np.concatenate([part.features for part in parts])
        both = Sample(features, None, np.concatenate(labels) if len(labels) == len(parts) else None)
        return both.take(np.random.default_rng(streams.key("reference order")).permutation(len(both)))

    def notes(self, count: int) -> list[str]:
        """Returns sentences to consider before a score of `count` images is trusted, if any."""
        notes, floor_count = [], self.floor_count(count)
        width = self.test.features.shape[1]
        if self.split != "train":
            pair = "training images with test" if self.split == "test" else "test images with training"
            notes.append(f"The reference consists of {REFERENCES[self.split]}. The floors compare {pair} images.")
        if floor_count < count:
            notes.append(
                f"The floors use {floor_count} real images, all that the reference has, but the scores use {count} "
                "generated ones. With the same number of real images, the floor of the distance would be lower."
            )
        if count < width:
            notes.append(
                f"With {count} images and {width} features, the distance and its floor are mostly bias, so compare "
                "them only at equal counts."
            )
        elif (few := min(floor_count, self.statistics.count or floor_count)) < width:
            notes.append(
                f"With only {few} real images and {width} features, the distance or its floor is mostly bias, so "
                "compare them only at equal counts."
            )
        return notes + self.extractor.notes

    @property
    def summary(self) -> dict[str, Any]:
        """Metadata of a KFP artifact of this reference."""
        count, accuracy = len(self.test), self.extractor.facts.get("test_accuracy")
        return {
            "measure": self.measure,
            "extractor_sha256": self.extractor.sha256,
            **({} if accuracy is None else {"extractor_test_accuracy": accuracy}),
            "reference_split": self.split,
            "floor": self.floor(count),
            "floor_count": self.floor_count(count),
        }

    def distance(self, batches: Iterable[NDArray[np.uint8]]) -> float:
        """Returns the Frechet distance of uint8 images [n, H, W, C] to the real images of the reference."""
        features = (features for features, _ in self.extractor.outputs(batches))
        return frechet_distance(Statistics.of(features), self.statistics)

    def features(self, batches: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Returns the features of uint8 images [n, H, W, C], float32 [N, D]."""
        return self.extractor.all_outputs(batches)[0]

    def distance_of(self, features: NDArray[np.float32]) -> float:
        """Returns the Frechet distance of features [N, D] to those of the real images of the reference."""
        return frechet_distance(Statistics.of([features]), self.statistics)

    def diversity(self, features: NDArray[np.float32]) -> tuple[float, float]:
        """Returns the variance of images and the distance between neighbours, relative to those of real images.

        Args:
            features: Features of the images, [N, D].

        Returns:
            The trace of the covariance, divided by that of the real images of the reference; the median distance to
            the nearest other image, divided by that of the same number of real test images.
        """
        count = min(len(features), len(self.test), NEIGHBOURS)
        variance = _ratio(Statistics.of([features]).covariance.trace(), self.statistics.covariance.trace())
        nearest = _ratio(median_nearest(features[:count]), median_nearest(self.test.features[:count]))
        return variance, nearest

    def sample_count(self, requested: int | None) -> int:
        """Returns the number of samples to score: the requested one, or the number of test images for None."""
        return len(self.test) if requested is None else requested

    def floor_count(self, count: int) -> int:
        """Returns the number of real images in the floors of `count` generated ones: as many, or all there are."""
        return min(count, len(self.held_out))

    def floor(self, count: int) -> float:
        """Returns the distance of `floor_count(count)` held-out real images to the others."""
        held_out = Statistics.of([self.held_out.features[:count]])
        return frechet_distance(held_out, self.train_statistics or self.statistics)

    def score(self, sample: Sample) -> list[Score]:
        """Returns all scores of generated images, with those of `floor_count` held-out real images as floors."""
        count = self.floor_count(len(sample))
        floors = self.known_floors.get(count) or self.floors(count)
        return add_floors(_measure(sample, self.statistics, self.real, self.extractor), floors)

    def floors(self, count: int) -> list[Score]:
        """Returns all scores of the first `count` held-out real images, compared with the other real images."""
        return _measure(
            self.held_out.first(count), self.train_statistics or self.statistics, self.floor_real, self.extractor
        )

    def class_scores(self, sample: Sample) -> list[Score]:
        """Returns the scores of the network's predictions, with those of the same number of test images as floors.

        Training images would make no fair floor, because the network may have been trained on them. If there are fewer
        test images than generated ones, the class score has no floor, because it grows with the number of images.
        """
        floors = catalogue.classes(self.test.first(len(sample)), self.extractor)
        if len(self.test) < len(sample):
            floors = [floor for floor in floors if floor.name != self.extractor.measure("class_score")]
        return add_floors(catalogue.classes(sample, self.extractor), floors)

    def protocol(self, *, count: int, generator: str, averaged: bool | str, seed: int | str) -> dict[str, Any]:
        """Returns the facts that must be equal before two scores are compared.

        Args:
            count: Number of generated images.
            generator: `best`, `last`, `current` during training, or `images` if no generator is known.
            averaged: Whether its weights are averages (EMA), or `unknown`.
            seed: Seed of the samples, or `unknown`.
        """
        return {
            "measure": self.measure,
            "extractor_sha256": self.extractor.sha256,
            "resize_mode": self.extractor.resize_mode or "none",
            **self.facts,
            "pairwise_count": catalogue.pairwise_count(count, len(self.real)),
            "generated_count": count,
            "floor_count": self.floor_count(count),
            "generator": generator,
            "averaged": averaged,
            "truncation": "none",
            "seed": seed,
            "versions": versions(),
        }

    def save(self, folder: Path) -> None:
        """Saves the reference to a folder."""
        self.extractor.save(folder)
        self.statistics.save(folder / "statistics.npz")
        self.train.save(folder / "train.npz")
        self.test.save(folder / "test.npz")
        if self.train_statistics is not None:
            self.train_statistics.save(folder / TRAIN_STATISTICS)
        if self.test_closeness is not None:
            with storage.atomic_file(folder / CLOSENESS) as temporary, temporary.open("wb") as file:
                np.save(file, self.test_closeness, allow_pickle=False)
        floors = {count: [asdict(score) for score in scores] for count, scores in self.known_floors.items()}
        storage.write_json(folder / "reference.json", {"format": FORMAT, "facts": self.facts, "floors": floors})

    @classmethod
    def open(cls, folder: str | Path) -> Reference:
        """Opens a folder that `measure_reference` wrote.

        Raises:
            ValueError: The folder contains no reference, a damaged one, or one of an older version.
        """
        folder = Path(folder)
        saved = storage.read_json(folder / "reference.json")
        if not isinstance(saved, dict) or saved.get("format") != FORMAT:
            raise ValueError(f"expected a reference of format {FORMAT}; measure it again. Received: {str(folder)!r}")
        try:
            return cls._read(folder, saved)
        except DAMAGE_ERRORS as error:  # Keras and NumPy raise almost anything on damaged files
            reason = tracking.error_summary(error) if isinstance(error, ValueError) else repr(error)
            raise ValueError(
                f"expected a complete reference; measure it again. Received: folder={str(folder)!r} ({reason})"
            ) from error

    @classmethod
    def _read(cls, folder: Path, saved: dict[str, Any]) -> Reference:
        train, test = (Sample.load(folder / f"{split}.npz") for split in ("train", "test"))
        statistics = Statistics.load(folder / "statistics.npz")
        extractor = FittedExtractor.load(folder)
        width = extractor.network.output_shape[0][-1]
        if {(width,), statistics.mean.shape} | {part.features.shape[1:] for part in (train, test)} != {(width,)}:
            raise ValueError(f"expected features of one width, {width}")
        both_splits = saved["facts"].get("reference_split") == "all"
        train_statistics = Statistics.load(folder / TRAIN_STATISTICS) if both_splits else None
        for part in (statistics, train_statistics):
            if part is not None and part.space != catalogue.identity(extractor):
                raise ValueError(f"expected statistics of {catalogue.identity(extractor)}. Received: {part.space}")
        floors = {
            int(count): [Score(**row) for row in rows]
            for count, rows in saved["floors"].items()
            if all(
                "count" in row for row in rows
            )  # older versions saved no count; their floors are measured again when needed
        }
        closeness = np.load(folder / CLOSENESS, allow_pickle=False) if (folder / CLOSENESS).exists() else None
        return cls(extractor, statistics, train, test, dict(saved["facts"]), closeness, floors, train_statistics)


def _measure(sample: Sample, statistics: Statistics, real: Sample, extractor: FittedExtractor) -> list[Score]:
    distances = catalogue.distances(sample.features, statistics, extractor)
    return distances + catalogue.pairwise(sample.features, real.features, extractor)


def _ratio(generated: float, real: float) -> float:
    """Returns generated / real, or 1 if the real images do not differ from each other."""
    return float(generated / real) if real > INDISTINCT else 1.0
