"""The yardstick of a dataset: its feature space, the real images' statistics in it, and the floor."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage, tracking
from ganlib.evaluation import measures
from ganlib.evaluation.config import EvaluationConfig
from ganlib.evaluation.extractors import FittedExtractor
from ganlib.evaluation.frechet import frechet_distance
from ganlib.evaluation.memorisation import OTHERS, closeness_to_training
from ganlib.evaluation.neighbours import median_nearest
from ganlib.evaluation.sample import Sample
from ganlib.evaluation.scores import Score, versions, with_floors
from ganlib.evaluation.statistics import Statistics
from ganlib.surroundings import own_keras, printable

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.base import Split
    from ganlib.data.records import PreparedDataset

FORMAT = "gan-pipelines/reference@2"
CLOSENESS = "test_closeness.npy"
NEIGHBOURS = 500  # images whose distances to each other tell whether they are alike
INDISTINCT = 1e-5  # a distance or variance of features that is rounding
HARDLY_LEARNED = 0.25  # share of the way from guessing to perfection below which a feature space is doubtful
DAMAGES = (ValueError, LookupError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Reference:
    """Everything a generated image is measured against.

    Attributes:
        extractor: The feature space.
        statistics: Of all real training images.
        train: The first `measures.PAIRWISE_LIMIT` real training images, which the preparation has shuffled.
        test: The real test images.
        facts: Dataset and protocol facts that each score repeats.
        test_closeness: How much nearer than others the nearest training image of each test image is, float64 [N]; None
            where there are too few training images to tell.
        known_floors: Scores of the first so many test images, by their number.
    """

    extractor: FittedExtractor
    statistics: Statistics
    train: Sample
    test: Sample
    facts: dict[str, Any]
    test_closeness: NDArray[np.float64] | None = None
    known_floors: dict[int, list[Score]] = field(default_factory=dict)

    @property
    def measure(self) -> str:
        """Name of the distance in this space; `fid` is reserved for the canonical Inception network."""
        return self.extractor.measure("fd")

    def remarks(self, count: int) -> list[str]:
        """Sentences that people must know before they trust a score of `count` images, if any."""
        said = []
        width = self.test.features.shape[1]
        if count < width:
            said.append(
                f"A score of {count} images in {width} features: the distance and its floor are mostly bias, and "
                "compare only at equal counts."
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
            "floor": self.floor(count),
            "floor_count": count,
        }

    def distance(self, batches: Iterable[NDArray[np.uint8]]) -> float:
        """Returns the Frechet distance of uint8 images [n, H, W, C] to the real training images."""
        features = (features for features, _ in self.extractor.outputs(batches))
        return frechet_distance(Statistics.of(features), self.statistics)

    def features(self, batches: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Returns the features of uint8 images [n, H, W, C], float32 [N, D]."""
        return self.extractor.all_outputs(batches)[0]

    def distance_of(self, features: NDArray[np.float32]) -> float:
        """Returns the Frechet distance of features [N, D] to the real training images'."""
        return frechet_distance(Statistics.of([features]), self.statistics)

    def diversity(self, features: NDArray[np.float32]) -> tuple[float, float]:
        """Returns how much images vary, and how far apart neighbours are, as shares of what real ones do.

        Args:
            features: Of the images, [N, D].

        Returns:
            The trace of the covariance over that of the real training images; the median distance to the nearest
            other image over that of as many real test images.
        """
        count = min(len(features), len(self.test), NEIGHBOURS)
        variance = _share(Statistics.of([features]).covariance.trace(), self.statistics.covariance.trace())
        nearest = _share(median_nearest(features[:count]), median_nearest(self.test.features[:count]))
        return variance, nearest

    def sample_count(self, wanted: int | None) -> int:
        """Returns how many samples to score: as wanted, but no more than the floor can be measured with."""
        available = len(self.test)
        return available if wanted is None else min(wanted, available)

    def floor(self, count: int) -> float:
        """Returns the distance of `count` real test images to the real training images.

        Raises:
            ValueError: There are fewer of them.
        """
        if count > len(self.test):
            raise ValueError(f"expected at most {len(self.test)} test images. Received: count={count}")
        return self.distance_of(self.test.features[:count])

    def score(self, sample: Sample) -> list[Score]:
        """Returns every measure of generated images, with those of as many real test images as floors.

        Raises:
            ValueError: There are more images than test images.
        """
        floors = self.known_floors.get(len(sample)) or self.floors(len(sample))
        return with_floors(self._measured(sample), floors)

    def floors(self, count: int) -> list[Score]:
        """Returns every measure of the first `count` real test images."""
        return self._measured(self.test.first(count))

    def class_scores(self, sample: Sample) -> list[Score]:
        """Returns what the network's answers say of generated images, with those of as many test images as floors.

        Where there are not so many, the class score has none, for it grows with the count.
        """
        floors = measures.classes(self.test.first(len(sample)), self.extractor)
        if len(self.test) < len(sample):
            floors = [floor for floor in floors if floor.name != self.extractor.measure("class_score")]
        return with_floors(measures.classes(sample, self.extractor), floors)

    def _measured(self, sample: Sample) -> list[Score]:
        distances = measures.distances(sample.features, self.statistics, self.extractor)
        return distances + measures.pairwise(sample.features, self.train.features, self.extractor)

    def protocol(self, *, count: int, generator: str, seed: int) -> dict[str, Any]:
        """Returns what must be equal for two scores to be comparable, and where they came from."""
        return {
            "measure": self.measure,
            "extractor_sha256": self.extractor.sha256,
            "treatment": self.extractor.treatment or "none",
            **self.facts,
            "pairwise_count": measures.pairwise_count(count, len(self.train)),
            "generated_count": count,
            "generator": generator,
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
        if self.test_closeness is not None:
            with storage.whole_file(folder / CLOSENESS) as temporary, temporary.open("wb") as file:
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
            told = tracking.reason(error) if isinstance(error, ValueError) else repr(error)
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
        if statistics.space != measures.identity(extractor):
            raise ValueError(f"expected statistics of {measures.identity(extractor)}, found {statistics.space}")
        floors = {int(count): [Score(**row) for row in rows] for count, rows in saved["floors"].items()}
        closeness = np.load(folder / CLOSENESS, allow_pickle=False) if (folder / CLOSENESS).exists() else None
        return cls(extractor, statistics, train, test, dict(saved["facts"]), closeness, floors)


def _share(generated: float, real: float) -> float:
    """Returns generated / real; 1 where real images themselves do not differ, and nothing can be told."""
    return float(generated / real) if real > INDISTINCT else 1.0


@printable()
@own_keras()
def measure_reference(dataset: PreparedDataset, config: EvaluationConfig, output: Path) -> Reference:
    """Makes the feature space of a dataset and measures its real images in it.

    Args:
        dataset: Prepared real images.
        config: Which space.
        output: Folder to create; it appears whole or not at all.

    Returns:
        The reference, as `Reference.open(output)` would give it.
    """
    weights = None if config.inception_weights is None else storage.fetch(config.inception_weights)
    chosen = config.space(labelled=len(dataset.classes) > 1)
    extractor = chosen.fit(dataset, seed=config.seed, weights=weights)
    statistics, train = _training(extractor, dataset)
    test = Sample(*extractor.all_outputs(images for images, _ in dataset.read("test")), _labels(dataset, "test"))
    facts = {
        "dataset": dataset.name,
        "dataset_sha256": dataset.checksum,
        "reference_split": "train",
        "reference_count": statistics.count,
        "resize": dataset.manifest["preparation"]["resize"],
        "size": "x".join(map(str, dataset.image_shape[:2])),
    }
    enough = dataset.count("train") > OTHERS
    near = closeness_to_training(dataset.load("test")[0], dataset)[0] if enough else None
    reference = Reference(extractor, statistics, train, test, facts, near)
    count = reference.sample_count(config.samples)
    reference.known_floors[count] = reference.floors(count)
    with storage.whole_folder(output) as folder:
        reference.save(folder)
    accuracy = extractor.facts.get("test_accuracy")
    told = "" if accuracy is None else f"test accuracy {accuracy:.4f}, "
    print(f"{reference.measure}: {told}floor {reference.floor(len(test)):.4f}", flush=True)
    for remark in reference.remarks(count):
        print(f"note: {remark}", flush=True)
    return reference


def _training(extractor: FittedExtractor, dataset: PreparedDataset) -> tuple[Statistics, Sample]:
    """Returns the statistics of all training images, and the first of them, which the preparation has shuffled."""
    kept: list[NDArray[np.float32]] = []

    def seen() -> Iterator[NDArray[np.float32]]:
        for features, _ in extractor.outputs(images for images, _ in dataset.read("train")):
            if sum(map(len, kept)) < measures.PAIRWISE_LIMIT:
                kept.append(features)
            yield features

    statistics = replace(Statistics.of(seen()), space=measures.identity(extractor))
    features = np.concatenate(kept)[: measures.PAIRWISE_LIMIT]
    labels = _labels(dataset, "train")
    return statistics, Sample(features, None, None if labels is None else labels[: len(features)])


def _labels(dataset: PreparedDataset, split: Split) -> NDArray[np.int64] | None:
    return np.concatenate([labels for _, labels in dataset.read(split)]) if dataset.classes else None
