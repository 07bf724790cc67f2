"""Scores one set of images against another in a feature space."""

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
from ganlib.evaluation.notes import note_reference
from ganlib.evaluation.sample import draw_rows
from ganlib.evaluation.scores import add_floors
from ganlib.progress import Progress
from ganlib.runtime import without_autograph

with epy.lazy_imports():
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ganlib.data.conform import Colour
    from ganlib.evaluation import FittedExtractor

FEATURE_BYTES = 2**30  # memory limit for the features of a set; beyond it, pairwise scores use a sample
REFERENCE = "reference.json"
MIN_IMAGES = 2  # needed for a covariance


@dataclass(frozen=True)
class Scoring:
    """The scores of two sets of images.

    Attributes:
        scores: The scores, the main one first.
        protocol: Facts that must be equal before two scores are compared.
        notes: Notes to consider before the scores are trusted, if any.
        second: Mean and covariance of the second set.
    """

    scores: list[Score]
    protocol: dict[str, Any]
    notes: list[str]
    second: Statistics

    def save(self, folder: Path) -> None:
        """Writes a folder that `Evaluation.open` and the command `compare` can read."""
        rows = [asdict(score) for score in self.scores]
        with storage.atomic_folder(folder) as place:
            storage.write_json(place / "scores.json", {"scores": rows, "protocol": self.protocol, "notes": self.notes})


@dataclass(frozen=True)
class _ImageSet:
    """One of the two sets.

    Attributes:
        statistics: Mean and covariance.
        sample: Features of the images; None if only the statistics are known.
        facts: Entries for the protocol.
        tally: Statistics of the pixels, if there are images.
        complete: Whether the sample contains all images. It does not if there are too many.
        notes: Notes on this set to consider before a score is trusted.
        images: The images, if any.
    """

    statistics: Statistics
    sample: Sample | None
    facts: dict[str, Any]
    tally: Tally | None = None
    complete: bool = True
    notes: tuple[str, ...] = ()
    images: Images | None = None


@escape_output()
@standard_keras()
@without_autograph
def score(first: str, second: str, *, space: FixedExtractor, weights: Path | None = None) -> Scoring:
    """Measures how far one set of images is from another.

    Args:
        first: Location of the first set, usually the generated images; anything that `Images.at` accepts.
        second: Location of the second set: the same, or an npz file with `mu` and `sigma` in the same feature space, or
            a folder that `measure_reference` wrote, whose feature space is then used.
        space: Feature space, unless the second set has its own.
        weights: File of its weights, if it needs one.

    Returns:
        The scores, their protocol, and notes.

    Raises:
        ValueError: There are too few images, or the feature space does not support them.
    """
    folder = Path(second).expanduser()
    if (folder / REFERENCE).is_file():
        return _score_against_reference(first, Reference.open(folder))
    extractor = space.load(weights)
    opened = [_open(location, extractor) for location in (first, second)]  # check both before the long computation
    one, other = (_measure(images, extractor) for images in opened)
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


def _score_against_reference(first: str, reference: Reference) -> Scoring:
    """Scores images against the reference of a run."""
    images = _measure(_open(first, reference.extractor), reference.extractor)
    if images.sample is None:
        raise ValueError(f"expected images to score against a reference, not statistics. Received: first={first!r}")
    count = images.facts["count"]
    scores = [*reference.score(images.sample), *reference.class_scores(images.sample)]
    if not images.complete:
        distance = frechet_distance(images.statistics, reference.statistics)
        of_all = replace(scores[0], value=distance, error=None, count=count)
        infinity = reference.extractor.measure("fd_infinity")
        scores = [of_all, *(score for score in scores[1:] if score.name != infinity)]
    protocol = reference.protocol(count=count, generator="images", averaged="unknown", seed="unknown")
    protocol |= {"generated_size": images.facts["size"], "truncation": "unknown"}
    notes = [*images.notes, *note_reference(reference, count)]
    if reference.facts.get("size") != images.facts["size"]:
        notes.append(size_note(images.facts["size"], str(reference.facts.get("size"))))
    return Scoring(scores, protocol, notes, reference.statistics)


def _open(location: str, extractor: FittedExtractor) -> _ImageSet | Images:
    """Opens a set, and checks what can be checked without reading the images."""
    path = storage.fetch(location) if location.endswith(".npz") else None
    if path is not None and _holds_statistics(path):
        statistics = Statistics.load(path)
        facts = {"sha256": storage.sha256(path), "count": statistics.count}
        return _ImageSet(statistics, None, facts, notes=_check_space(statistics, extractor, location))
    images = Images.at(location)
    if images.count < MIN_IMAGES:
        raise ValueError(f"expected at least {MIN_IMAGES} images to score. Received: {images.count} in {images.name}")
    print(f"{images.name}: {'; '.join(images.description)}", flush=True)
    return images


def _check_space(statistics: Statistics, extractor: FittedExtractor, location: str) -> tuple[str, ...]:
    """Refuses statistics of another feature space, and returns a note if a file does not name its feature space."""
    width = extractor.network.output_shape[0][-1]
    if statistics.mean.size != width:
        raise ValueError(
            f"expected statistics of {width} features, those of {extractor.name}. "
            f"Received: {statistics.mean.size} in {location!r}"
        )
    if statistics.space is None:
        return (f"{location} does not name its feature space; {extractor.name} is assumed.",)
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
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):  # the reader of images reports them
        return False


def _measure(images: _ImageSet | Images, extractor: FittedExtractor) -> _ImageSet:
    """Computes features, statistics and a hash of the pixels in one pass. Stores the features of a sample at most."""
    if isinstance(images, _ImageSet):
        return images
    stored: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    limit = FEATURE_BYTES // (4 * extractor.network.output_shape[0][-1])
    complete = images.count <= limit
    chosen = np.zeros(images.count, bool)
    chosen[draw_rows(images.count, limit if complete else catalogue.PAIRWISE_LIMIT)] = True
    tally, done = Tally(), 0
    progress = Progress(f"features of {images.name}", total=images.count, unit="images")

    def read() -> Iterator[NDArray[np.uint8]]:
        for batch in images.batches(_colour(extractor)):
            catalogue.check_shape(batch.shape[1:], extractor)
            tally.add(batch)
            yield batch

    def features() -> Iterator[NDArray[np.float32]]:
        nonlocal done
        for batch, probabilities in extractor.outputs(read()):
            rows = chosen[done : done + len(batch)]
            stored.append((batch[rows], probabilities[rows]))
            done += len(batch)
            progress.update(done)
            yield batch

    try:
        statistics = Statistics.of(features())
    except ValueError as error:
        raise ValueError(f"{error} in {images.name}") from error
    facts = {"sha256": tally.sha256, "count": statistics.count, "size": tally.size_text}
    sample = Sample(*(np.concatenate(arrays) for arrays in zip(*stored, strict=True)))
    notes = images.notes
    if tally.identical:
        notes.append(f"All images of {images.name} are the same.")
    if not complete:
        notes.append(f"Of {images.name}, a random sample of {len(sample)} images is used, except for the distance.")
    if images.values is not None:
        facts["values"] = images.values.text
    statistics = replace(statistics, space=catalogue.identity(extractor))
    return _ImageSet(statistics, sample, facts, tally, complete, tuple(notes), images)


def _colour(extractor: FittedExtractor) -> Colour:
    grey = extractor.resize_mode is None and extractor.network.input_shape[-1] == 1
    return "grey" if grey else "rgb"


def _scores(one: _ImageSet, other: _ImageSet, extractor: FittedExtractor) -> list[Score]:
    if one.sample is None or not one.complete:
        value = frechet_distance(one.statistics, other.statistics)
        scores = [Score(extractor.measure("fd"), value, None, "Frechet distance; lower is better")]
    else:
        real = other.statistics if other.sample is None or not other.complete else other.sample.features
        scores = catalogue.distances(one.sample.features, real, extractor)
    scores = _add_expected_floor(scores, one.statistics, other.statistics)
    if one.sample is not None and other.sample is not None:
        count = catalogue.pairwise_count(len(one.sample), len(other.sample))
        singles = catalogue.pairwise(one.sample.features, other.sample.features, extractor)
        scores += add_floors(singles, _score_halves(other.sample, count, extractor))
        # With equal counts, because the class score grows with the count.
        class_scores = [catalogue.classes(sample.draw(count), extractor) for sample in (one.sample, other.sample)]
        scores += add_floors(*class_scores)
    elif one.sample is not None:
        scores += catalogue.classes(one.sample, extractor)
    return scores


def _score_halves(sample: Sample, count: int, extractor: FittedExtractor) -> list[Score]:
    """Scores real images against other real images, at most half of the sample on each side."""
    count = min(count, len(sample) // 2)
    first, second = (sample.draw(count, start=start).features for start in (0, count))
    return catalogue.pairwise(first, second, extractor)


def _add_expected_floor(scores: list[Score], one: Statistics, other: Statistics) -> list[Score]:
    """Adds a floor to the distance: the expected distance of two samples from the second set's distribution."""
    if one.count is None or other.count is None or min(one.count, other.count) <= other.mean.size:
        return scores
    floor = expected_distance(other, first=one.count, second=other.count)
    first = scores[0]
    return [replace(first, floor=floor), *scores[1:]]


def _notes(one: _ImageSet, other: _ImageSet, extractor: FittedExtractor) -> list[str]:
    notes, width = [*one.notes, *other.notes], other.statistics.mean.size
    counts = [side.statistics.count for side in (one, other) if side.statistics.count is not None]
    if counts and min(counts) <= width:
        notes.append(
            f"With {min(counts)} images and {width} features, the distance is mostly bias, so compare it only at equal "
            "counts. The kernel distance and the other scores are more reliable."
        )
    if one.tally is not None and other.tally is not None:
        notes += differences(one.tally, other.tally)
    if one.images is not None and other.images is not None:
        notes += range_differences(one.images.values, other.images.values)
        notes += format_differences(one.images.formats, other.images.formats, "the first set", "the second set")
    if one.sample is not None and other.sample is not None:
        half = len(other.sample) // 2
        if half < catalogue.pairwise_count(len(one.sample), len(other.sample)):
            notes.append(
                f"The floors, except the distance's, compare two halves of the second set, {half} images each."
            )
    if not extractor.canonical:
        notes.append(
            f"Scores in the feature space {extractor.name} can only be compared with each other. FID needs the "
            "original weights of the Inception network (the space inception)."
        )
    return notes
