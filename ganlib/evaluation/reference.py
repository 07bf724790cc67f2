"""The yardstick of a dataset: its feature space, the real images' statistics in it, and the floor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage
from ganlib.evaluation.config import EvaluationConfig
from ganlib.evaluation.extractors import FittedExtractor
from ganlib.evaluation.frechet import frechet_distance
from ganlib.evaluation.neighbours import median_nearest
from ganlib.evaluation.statistics import Statistics

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.records import PreparedDataset


PAIRWISE_LIMIT = 10_000  # images of which all distances to each other are taken
NEIGHBOURS = 500  # images whose distances to each other tell whether they are alike
INDISTINCT = 1e-5  # a distance or variance of features that is rounding
HARDLY_LEARNED = 0.25  # share of the way from guessing to perfection below which a feature space is doubtful


@dataclass(frozen=True)
class Reference:
    """Everything a generated image is measured against.

    Attributes:
        extractor: The feature space.
        statistics: Of all real training images.
        train_features: Of as many real training images as there are test images, at most `PAIRWISE_LIMIT`, or all;
            float32 [M, D].
        test_features: Of the real test images, float32 [N, D].
        facts: Dataset and protocol facts that each score repeats.
    """

    extractor: FittedExtractor
    statistics: Statistics
    train_features: NDArray[np.float32]
    test_features: NDArray[np.float32]
    facts: dict[str, Any]

    @property
    def measure(self) -> str:
        """Name of the distance in this space; `fid` is reserved for the canonical Inception network."""
        return f"fd_{self.extractor.name}"

    def remarks(self, count: int) -> list[str]:
        """Sentences that people must know before they trust a score of `count` images, if any."""
        said = []
        width = self.test_features.shape[1]
        if count < width:
            said.append(
                f"A score of {count} images in {width} features: the distance and its floor are mostly bias, and "
                "compare only at equal counts."
            )
        accuracy, chance = self.extractor.facts["test_accuracy"], self.extractor.facts["chance"]
        if accuracy <= chance + HARDLY_LEARNED * (1.0 - chance):
            said.append(
                f"The feature extractor has hardly learned (test accuracy {accuracy:.3f}, chance {chance:.3f}): its "
                "distances say little. More training images or epochs may help."
            )
        return said

    @property
    def summary(self) -> dict[str, Any]:
        """What a KFP artifact of this reference says of it."""
        count = len(self.test_features)
        return {
            "measure": self.measure,
            "extractor_sha256": self.extractor.sha256,
            "extractor_test_accuracy": self.extractor.facts["test_accuracy"],
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
        count = min(len(features), len(self.test_features), NEIGHBOURS)
        variance = _share(Statistics.of([features]).covariance.trace(), self.statistics.covariance.trace())
        nearest = _share(median_nearest(features[:count]), median_nearest(self.test_features[:count]))
        return variance, nearest

    def sample_count(self, wanted: int | None) -> int:
        """Returns how many samples to score: as wanted, but no more than the floor can be measured with."""
        available = len(self.test_features)
        return available if wanted is None else min(wanted, available)

    def floor(self, count: int) -> float:
        """Returns the distance of `count` real test images to the real training images.

        Raises:
            ValueError: There are fewer of them.
        """
        if count > len(self.test_features):
            raise ValueError(f"expected at most {len(self.test_features)} test images. Received: count={count}")
        return self.distance_of(self.test_features[:count])

    def protocol(self, *, count: int, generator: str, seed: int) -> dict[str, Any]:
        """Returns what must be equal for two scores to be comparable, and where they came from."""
        return {
            "measure": self.measure,
            "extractor_sha256": self.extractor.sha256,
            **self.facts,
            "generated_count": count,
            "generator": generator,
            "seed": seed,
        }

    def save(self, folder: Path) -> None:
        """Writes the reference into a folder."""
        self.extractor.save(folder)
        self.statistics.save(folder / "statistics.npz")
        for name, features in (("train", self.train_features), ("test", self.test_features)):
            with storage.whole_file(folder / f"{name}_features.npy") as temporary, temporary.open("wb") as file:
                np.save(file, features, allow_pickle=False)
        storage.write_json(folder / "reference.json", self.facts)

    @classmethod
    def open(cls, folder: str | Path) -> Reference:
        """Opens a folder that `measure_reference` wrote.

        Raises:
            ValueError: The folder holds no reference.
        """
        folder = Path(folder)
        facts = storage.read_json(folder / "reference.json")
        train, test = (np.load(folder / f"{name}_features.npy", allow_pickle=False) for name in ("train", "test"))
        return cls(FittedExtractor.load(folder), Statistics.load(folder / "statistics.npz"), train, test, facts)


def _share(generated: float, real: float) -> float:
    """Returns generated / real; 1 where real images themselves do not differ, and nothing can be told."""
    return float(generated / real) if real > INDISTINCT else 1.0


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
    kept: list[NDArray[np.float32]] = []
    wanted = min(dataset.count("test"), PAIRWISE_LIMIT)

    def of_training() -> Iterator[NDArray[np.float32]]:
        for features, _ in extractor.outputs(images for images, _ in dataset.read("train")):
            if sum(map(len, kept)) < wanted:
                kept.append(features)  # the first ones, for the preparation has shuffled them
            yield features

    statistics = Statistics.of(of_training())
    train = np.concatenate(kept)[:wanted]
    test, _ = extractor.all_outputs(images for images, _ in dataset.read("test"))
    facts = {
        "dataset": dataset.name,
        "dataset_sha256": dataset.checksum,
        "reference_split": "train",
        "reference_count": statistics.count,
        "resize": dataset.manifest["preparation"]["resize"],
    }
    reference = Reference(extractor, statistics, train, test, facts)
    with storage.whole_folder(output) as folder:
        reference.save(folder)
    accuracy = extractor.facts["test_accuracy"]
    print(f"{reference.measure}: test accuracy {accuracy:.4f}, floor {reference.floor(len(test)):.4f}", flush=True)
    for remark in reference.remarks(reference.sample_count(config.samples)):
        print(f"note: {remark}", flush=True)
    return reference
