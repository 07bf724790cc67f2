"""The verb `score`: two sets of images, wherever they lie, in one feature space."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import storage
from ganlib.data import Images
from ganlib.data.notes import format_differences, range_differences
from ganlib.data.tally import Tally, differences, size_note
from ganlib.environment import escape_output, standard_keras
from ganlib.evaluation import FixedExtractor, Reference, Sample, Score, Statistics, versions
from ganlib.evaluation.measures import catalogue
from ganlib.evaluation.measures.frechet import expected_distance, frechet_distance
from ganlib.evaluation.sample import drawn_rows
from ganlib.evaluation.scores import with_floors
from ganlib.progress import Progress
from ganlib.runtime import without_autograph

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.conform import Colour
    from ganlib.evaluation import FittedExtractor

FEATURE_BYTES = 2**30  # of the features of one set that are kept; of more images only mean and covariance are
REFERENCE = "reference.json"
MIN_IMAGES = 2  # images that have a covariance


@dataclass(frozen=True)
class Scoring:
    """What the measures say of two sets of images.

    Attributes:
        scores: The measures, the main one first.
        protocol: What must be equal before two of them are compared.
        notes: Sentences to read before they are trusted, if any.
        second: Mean and covariance of the second set.
    """

    scores: list[Score]
    protocol: dict[str, Any]
    notes: list[str]
    second: Statistics

    def save(self, folder: Path) -> None:
        """Writes a folder that `Evaluation.open` and the command `compare` read."""
        rows = [asdict(score) for score in self.scores]
        with storage.atomic_folder(folder) as place:
            storage.write_json(place / "scores.json", {"scores": rows, "protocol": self.protocol, "notes": self.notes})


@dataclass(frozen=True)
class _Side:
    """One of the two sets, as far as it is known.

    Attributes:
        statistics: Mean and covariance.
        sample: Its images' features; None where there are only statistics.
        whole: Whether the sample is of all images, which it is not where they are too many.
        facts: Parts of the protocol.
        tally: What the pixels tell, where there are images.
        notes: What to know of this set before a score is trusted.
        images: Where there are images, they.
    """

    statistics: Statistics
    sample: Sample | None
    facts: dict[str, Any]
    tally: Tally | None = None
    whole: bool = True
    notes: tuple[str, ...] = ()
    images: Images | None = None


@escape_output()
@standard_keras()
@without_autograph
def score(first: str, second: str, *, space: FixedExtractor, weights: Path | None = None) -> Scoring:
    """Measures how far one set of images is from another.

    Args:
        first: Where the one lies, the generated one if one is: what `Images.at` finds.
        second: Where the other lies: the same, or an npz file with `mu` and `sigma` of the same feature space, or a
            folder that `measure_reference` wrote, whose own feature space is then used.
        space: Feature space, unless the second brings one.
        weights: File of its weights, if it takes one.

    Returns:
        The scores, their protocol, and what to know of them.

    Raises:
        ValueError: There are too few images, or such as the feature space does not take.
    """
    yardstick = Path(second).expanduser()
    if (yardstick / REFERENCE).is_file():
        return _against_reference(first, Reference.open(yardstick))
    extractor = space.load(weights)
    places = [_opened(location, extractor) for location in (first, second)]  # both, before either takes its time
    one, other = (_measured(place, extractor) for place in places)
    scores = _scores(one, other, extractor)
    protocol = {
        "measure": extractor.measure("fd"),
        "extractor_sha256": extractor.sha256,
        "resize_mode": extractor.resize_mode or "none",
        **{f"reference_{name}": value for name, value in other.facts.items()},
        **{f"generated_{name}": value for name, value in one.facts.items() if name != "sha256"},
        "versions": versions(),
    }
    return Scoring(scores, protocol, _notes(one, other, extractor), other.statistics)


def _against_reference(first: str, reference: Reference) -> Scoring:
    """Scores images by a run's own yardstick."""
    side = _measured(_opened(first, reference.extractor), reference.extractor)
    if side.sample is None:
        raise ValueError(f"expected images beside a reference, not statistics. Received: {first!r}")
    count = side.facts["count"]
    scores = [*reference.score(side.sample), *reference.class_scores(side.sample)]
    if not side.whole:
        distance = frechet_distance(side.statistics, reference.statistics)
        of_all = replace(scores[0], value=distance, error=None, count=count)
        infinity = reference.extractor.measure("fd_infinity")
        scores = [of_all, *(found for found in scores[1:] if found.name != infinity)]
    protocol = reference.protocol(count=count, generator="images", averaged="unknown", seed="unknown")
    protocol |= {"generated_size": side.facts["size"], "truncation": "unknown"}
    notes = [*side.notes, *reference.remarks(count)]
    if reference.facts.get("size") != side.facts["size"]:
        notes.append(size_note(side.facts["size"], str(reference.facts.get("size"))))
    return Scoring(scores, protocol, notes, reference.statistics)


def _opened(location: str, extractor: FittedExtractor) -> _Side | Images:
    """Finds a set, and refuses what can be seen to be wrong without looking at the images."""
    path = storage.fetch(location) if location.endswith(".npz") else None
    if path is not None and _holds_statistics(path):
        statistics = Statistics.load(path)
        facts = {"sha256": storage.sha256(path), "count": statistics.count}
        return _Side(statistics, None, facts, notes=_check_space(statistics, extractor, location))
    images = Images.at(location)
    if images.count < MIN_IMAGES:
        raise ValueError(f"expected at least {MIN_IMAGES} images to score. Received: {images.count} in {images.name}")
    print(f"{images.name}: {'; '.join(images.description)}", flush=True)
    return images


def _check_space(statistics: Statistics, extractor: FittedExtractor, location: str) -> tuple[str, ...]:
    """Refuses statistics of another feature space, and returns a note where a file does not tell its own."""
    width = extractor.network.output_shape[0][-1]
    if statistics.mean.size != width:
        raise ValueError(
            f"expected statistics of {width} features, those of {extractor.name}. "
            f"Received: {statistics.mean.size} in {location!r}"
        )
    if statistics.space is None:
        return (f"{location} does not tell its feature space; it is taken for {extractor.name}.",)
    if statistics.space != catalogue.identity(extractor):
        raise ValueError(
            f"expected statistics of the feature space {catalogue.identity(extractor)}. "
            f"Received: {statistics.space} in {location!r}"
        )
    return ()


def _holds_statistics(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as file:
            return not {"mu.npy", "sigma.npy"}.isdisjoint(file.namelist())
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):  # of which the reader of images tells
        return False


def _measured(images: _Side | Images, extractor: FittedExtractor) -> _Side:
    """Reads images once: their features, as many as are kept, their statistics and a hash of their pixels."""
    if isinstance(images, _Side):
        return images
    kept: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    most = FEATURE_BYTES // (4 * extractor.network.output_shape[0][-1])
    whole = images.count <= most
    chosen = np.zeros(images.count, bool)
    chosen[drawn_rows(images.count, most if whole else catalogue.PAIRWISE_LIMIT)] = True
    tally, seen = Tally(), 0
    progress = Progress(f"features of {images.name}", total=images.count, unit="images")

    def read() -> Iterator[NDArray[np.uint8]]:
        for batch in images.batches(_colour(extractor)):
            catalogue.check_shape(batch.shape[1:], extractor)
            tally.add(batch)
            yield batch

    def features() -> Iterator[NDArray[np.float32]]:
        nonlocal seen
        for found, probabilities in extractor.outputs(read()):
            rows = chosen[seen : seen + len(found)]
            kept.append((found[rows], probabilities[rows]))
            seen += len(found)
            progress.update(seen)
            yield found

    try:
        statistics = Statistics.of(features())
    except ValueError as error:
        raise ValueError(f"{error} in {images.name}") from error
    facts = {"sha256": tally.sha256, "count": statistics.count, "size": tally.size_text}
    sample = Sample(*(np.concatenate(arrays) for arrays in zip(*kept, strict=True)))
    notes = images.notes
    if tally.identical:
        notes.append(f"All images of {images.name} are the same picture.")
    if not whole:
        notes.append(f"Of {images.name}, {len(sample)} images, drawn at random, stand for all but in the distance.")
    if images.values is not None:
        facts["values"] = images.values.text
    statistics = replace(statistics, space=catalogue.identity(extractor))
    return _Side(statistics, sample, facts, tally, whole, tuple(notes), images)


def _colour(extractor: FittedExtractor) -> Colour:
    grey = extractor.resize_mode is None and extractor.network.input_shape[-1] == 1
    return "grey" if grey else "rgb"


def _scores(one: _Side, other: _Side, extractor: FittedExtractor) -> list[Score]:
    if one.sample is None or not one.whole:
        value = frechet_distance(one.statistics, other.statistics)
        found = [Score(extractor.measure("fd"), value, None, "Frechet distance; lower is better")]
    else:
        real = other.statistics if other.sample is None or not other.whole else other.sample.features
        found = catalogue.distances(one.sample.features, real, extractor)
    found = _with_expectation(found, one.statistics, other.statistics)
    if one.sample is not None and other.sample is not None:
        count = catalogue.pairwise_count(len(one.sample), len(other.sample))
        singles = catalogue.pairwise(one.sample.features, other.sample.features, extractor)
        found += with_floors(singles, _halves(other.sample, count, extractor))
        # The class score grows with the count.
        answers = [catalogue.classes(sample.drawn(count), extractor) for sample in (one.sample, other.sample)]
        found += with_floors(*answers)
    elif one.sample is not None:
        found += catalogue.classes(one.sample, extractor)
    return found


def _halves(sample: Sample, count: int, extractor: FittedExtractor) -> list[Score]:
    """Scores real images against others, as many as there are for both."""
    count = min(count, len(sample) // 2)
    first, second = (sample.drawn(count, start=start).features for start in (0, count))
    return catalogue.pairwise(first, second, extractor)


def _with_expectation(scores: list[Score], one: Statistics, other: Statistics) -> list[Score]:
    """Gives the distance what two samples of the second set's distribution would be expected to have as floor."""
    if one.count is None or other.count is None or min(one.count, other.count) <= other.mean.size:
        return scores
    floor = expected_distance(other, first=one.count, second=other.count)
    first = scores[0]
    return [replace(first, floor=floor), *scores[1:]]


def _notes(one: _Side, other: _Side, extractor: FittedExtractor) -> list[str]:
    notes, width = [*one.notes, *other.notes], other.statistics.mean.size
    counts = [side.statistics.count for side in (one, other) if side.statistics.count is not None]
    if counts and min(counts) <= width:
        notes.append(
            f"Of {min(counts)} images in {width} features the distance is mostly bias and compares only at equal "
            "counts; the kernel distance and the others mislead less."
        )
    if one.tally is not None and other.tally is not None:
        notes += differences(one.tally, other.tally)
    if one.images is not None and other.images is not None:
        notes += range_differences(one.images.values, other.images.values)
        notes += format_differences(one.images.formats, other.images.formats, "the first set", "the second set")
    if one.sample is not None and other.sample is not None:
        half = len(other.sample) // 2
        if half < catalogue.pairwise_count(len(one.sample), len(other.sample)):
            notes.append(f"The floors but the distance's are those of two halves of the second, {half} images each.")
    if not extractor.canonical:
        notes.append(
            f"Scores in the feature space {extractor.name} compare only with each other; FID needs the genuine weights "
            "of the Inception network (the space inception)."
        )
    return notes
