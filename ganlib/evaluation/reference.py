"""The reference of a dataset: its feature space, the real images' statistics in it, and the floor."""

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
APART = "apart.npz"
REFERENCES = {"test": "the test images", "all": "all real images"}
NEIGHBOURS = 500  # images whose distances to each other tell whether they are alike
INDISTINCT = 1e-5  # a distance or variance of features that is rounding
HARDLY_LEARNED = 0.25  # share of the way from guessing to perfection below which a feature space is doubtful
DAMAGES = (ValueError, LookupError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Reference:
    """Everything a generated image is measured against.

    Attributes:
        extractor: The feature space.
        statistics: Of all real images of the reference split.
        train: The first real training images, which the preparation has shuffled: `catalogue.PAIRWISE_LIMIT` of them.
        test: The real test images.
        facts: Dataset and protocol facts that each score repeats.
        test_closeness: How much nearer than others the nearest training image of each test image is, float64 [N]; None
            where there are too few training images to tell.
        known_floors: Scores of the first so many held-out images, by their number.
        apart: Statistics of the training images alone, where `statistics` are of the test images too.
    """

    extractor: FittedExtractor
    statistics: Statistics
    train: Sample
    test: Sample
    facts: dict[str, Any]
    test_closeness: NDArray[np.float64] | None = None
    known_floors: dict[int, list[Score]] = field(default_factory=dict)
    apart: Statistics | None = None

    @property
    def measure(self) -> str:
        """Name of the distance in this space; `fid` is reserved for the canonical Inception network."""
        return self.extractor.measure("fd")

    @property
    def split(self) -> ReferenceSplit:
        """Which real images generated ones are held against."""
        split: ReferenceSplit = self.facts.get("reference_split", "train")
        return split

    @functools.cached_property
    def real(self) -> Sample:
        """Single images of the reference split, for the measures that compare such."""
        return self._of_all() if self.split == "all" else self.test if self.split == "test" else self.train

    @property
    def held_out(self) -> Sample:
        """Real images that stand for generated ones in the floors; what they are held against has none of them."""
        return self.train if self.split == "test" else self.test

    @property
    def beside(self) -> Sample:
        """Single real images that the floors are held against: `real` without those of `held_out`."""
        return self.train if self.split == "all" else self.real

    def _of_all(self) -> Sample:
        """Draws from both splits, from each in proportion to its size."""
        total = self.statistics.count or 0
        count = min(total, catalogue.PAIRWISE_LIMIT)
        tests = round(count * len(self.test) / total)
        parts = (self.train.first(count - tests), self.test.draw(tests))
        labels = [part.labels for part in parts if part.labels is not None]
        features = np.concatenate([part.features for part in parts])
        both = Sample(features, None, np.concatenate(labels) if len(labels) == len(parts) else None)
        return both.take(np.random.default_rng(streams.key("reference order")).permutation(len(both)))

    def remarks(self, count: int) -> list[str]:
        """Sentences that people must know before they trust a score of `count` images, if any."""
        said, beside = [], self.floor_count(count)
        width = self.test.features.shape[1]
        if self.split != "train":
            others = "training images beside test" if self.split == "test" else "test images beside training"
            said.append(f"The reference is of {REFERENCES[self.split]}: the floors are of {others} images.")
        if beside < count:
            said.append(
                f"The floors are of {beside} real images beside {count} generated ones, for the reference has no more: "
                "as many real images as generated ones would have a smaller distance."
            )
        if count < width:
            said.append(
                f"A score of {count} images in {width} features: the distance and its floor are mostly bias, and "
                "compare only at equal counts."
            )
        elif (few := min(beside, self.statistics.count or beside)) < width:
            said.append(
                f"Only {few} real images in {width} features: the distance or its floor is mostly bias, and compares "
                "only at equal counts."
            )
        accuracy, chance = self.extractor.facts.get("test_accuracy", 1.0), self.extractor.facts.get("chance", 0.0)
        if accuracy <= chance + HARDLY_LEARNED * (1.0 - chance):
            said.append(
                f"The feature extractor has hardly learned (test accuracy {accuracy:.3f}, chance {chance:.3f}): its "
                "distances say little. More training images or epochs may help."
            )
        return said

    @property
    def summary(self) -> dict[str, Any]:
        """What a KFP artifact of this reference says of it."""
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
        """Returns how much images vary, and how far apart neighbours are, as shares of what real ones do.

        Args:
            features: Of the images, [N, D].

        Returns:
            The trace of the covariance over that of the real images of the reference; the median distance to the
            nearest other image over that of as many real test images.
        """
        count = min(len(features), len(self.test), NEIGHBOURS)
        variance = _share(Statistics.of([features]).covariance.trace(), self.statistics.covariance.trace())
        nearest = _share(median_nearest(features[:count]), median_nearest(self.test.features[:count]))
        return variance, nearest

    def sample_count(self, wanted: int | None) -> int:
        """Returns how many samples to score: as many as wanted, or else as there are test images."""
        return len(self.test) if wanted is None else wanted

    def floor_count(self, count: int) -> int:
        """Returns how many real images the floors of `count` generated ones are of: as many, or all that there are."""
        return min(count, len(self.held_out))

    def floor(self, count: int) -> float:
        """Returns the distance of `floor_count(count)` held-out real images to the others."""
        held_out = Statistics.of([self.held_out.features[:count]])
        return frechet_distance(held_out, self.apart or self.statistics)

    def score(self, sample: Sample) -> list[Score]:
        """Returns every measure of generated images, with those of `floor_count` held-out real images as floors."""
        count = self.floor_count(len(sample))
        floors = self.known_floors.get(count) or self.floors(count)
        return add_floors(_measured(sample, self.statistics, self.real, self.extractor), floors)

    def floors(self, count: int) -> list[Score]:
        """Returns every measure of the first `count` held-out real images beside the others."""
        return _measured(self.held_out.first(count), self.apart or self.statistics, self.beside, self.extractor)

    def class_scores(self, sample: Sample) -> list[Score]:
        """Returns what the network's answers say of generated images, with those of as many test images as floors.

        The training images may have taught the network, so they are no floor. Where there are fewer test images, the
        class score has none, for it grows with the count.
        """
        floors = catalogue.classes(self.test.first(len(sample)), self.extractor)
        if len(self.test) < len(sample):
            floors = [floor for floor in floors if floor.name != self.extractor.measure("class_score")]
        return add_floors(catalogue.classes(sample, self.extractor), floors)

    def protocol(self, *, count: int, generator: str, averaged: bool | str, seed: int | str) -> dict[str, Any]:
        """Returns what must be equal for two scores to be comparable, and where they came from.

        `generator`: `best`, `last`, `current` while it trains, or `images` where none is known; `averaged`: whether its
        weights are averages (EMA), or `unknown`.
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
        """Writes the reference into a folder."""
        self.extractor.save(folder)
        self.statistics.save(folder / "statistics.npz")
        self.train.save(folder / "train.npz")
        self.test.save(folder / "test.npz")
        if self.apart is not None:
            self.apart.save(folder / APART)
        if self.test_closeness is not None:
            with storage.atomic_file(folder / CLOSENESS) as temporary, temporary.open("wb") as file:
                np.save(file, self.test_closeness, allow_pickle=False)
        floors = {count: [asdict(score) for score in scores] for count, scores in self.known_floors.items()}
        storage.write_json(folder / "reference.json", {"format": FORMAT, "facts": self.facts, "floors": floors})

    @classmethod
    def open(cls, folder: str | Path) -> Reference:
        """Opens a folder that `measure_reference` wrote.

        Raises:
            ValueError: The folder holds no reference, a damaged one, or one of an older version.
        """
        folder = Path(folder)
        saved = storage.read_json(folder / "reference.json")
        if not isinstance(saved, dict) or saved.get("format") != FORMAT:
            raise ValueError(f"expected a reference of format {FORMAT}; measure it anew. Received: {str(folder)!r}")
        try:
            return cls._read(folder, saved)
        except DAMAGES as error:  # Keras and NumPy raise almost anything on damaged files
            told = tracking.error_summary(error) if isinstance(error, ValueError) else repr(error)
            raise ValueError(
                f"expected a whole reference; measure it anew. Received: folder={str(folder)!r} ({told})"
            ) from error

    @classmethod
    def _read(cls, folder: Path, saved: dict[str, Any]) -> Reference:
        train, test = (Sample.load(folder / f"{split}.npz") for split in ("train", "test"))
        statistics = Statistics.load(folder / "statistics.npz")
        extractor = FittedExtractor.load(folder)
        width = extractor.network.output_shape[0][-1]
        if {(width,), statistics.mean.shape} | {part.features.shape[1:] for part in (train, test)} != {(width,)}:
            raise ValueError(f"expected features of one width, {width}")
        apart = Statistics.load(folder / APART) if saved["facts"].get("reference_split") == "all" else None
        for part in (statistics, apart):
            if part is not None and part.space != catalogue.identity(extractor):
                raise ValueError(f"expected statistics of {catalogue.identity(extractor)}, found {part.space}")
        floors = {
            int(count): [Score(**row) for row in rows]
            for count, rows in saved["floors"].items()
            if all("count" in row for row in rows)  # else they are of an older version, and measured again when needed
        }
        closeness = np.load(folder / CLOSENESS, allow_pickle=False) if (folder / CLOSENESS).exists() else None
        return cls(extractor, statistics, train, test, dict(saved["facts"]), closeness, floors, apart)


def _measured(sample: Sample, statistics: Statistics, real: Sample, extractor: FittedExtractor) -> list[Score]:
    distances = catalogue.distances(sample.features, statistics, extractor)
    return distances + catalogue.pairwise(sample.features, real.features, extractor)


def _share(generated: float, real: float) -> float:
    """Returns generated / real; 1 where real images themselves do not differ, and nothing can be told."""
    return float(generated / real) if real > INDISTINCT else 1.0
