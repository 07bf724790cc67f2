"""Trains and scores all presets for the same number of images; existing rows are not repeated.

    python benchmarks/family.py --data FOLDER [--images 60000] [--only fashion_mnist/sngan/0 ...] [--table]

FOLDER has `fashion_mnist/` with the four idx files, and `cifar10/` with `train/<class>/` and `test/<class>/`. Rows are
stored in `results.jsonl` in the folder of `--work`, with sample images. The tables of all rows are printed last.
"""

import argparse
import hashlib
import json
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ganlib import pixels, storage  # before TensorFlow is imported, because it sets variables for it
from ganlib.config import RunConfig
from ganlib.data import prepare
from ganlib.data.records import PreparedDataset
from ganlib.evaluation import Reference, measure_reference
from ganlib.training import train
from pipelines.settings import resolve

import numpy as np  # isort: skip
from tutorial import BATCH, Tutorial  # isort: skip

LOSSES = ("gan", "dcgan", "lsgan", "wgan", "wgan-gp", "sngan", "r3gan", "conditional")
TUTORIAL, TUTORIAL_LONGER, EPOCHS = "tutorial", "tutorial-10-epochs", 10
LONGER = "conditional-longer"  # twice as many images
FEW, PASSES = 1000, 250  # training images of the rows on little data, and passes over them
AUGMENTATIONS = {"plain": "[]", "cutout": "[cutout]", "translation": "[translation]"}
MEASUREMENTS = 10  # in each run
INTERVALS = ("score_every", "sample_every", "checkpoint_every")
FIXED_FIELDS = {f"training.{name}" for name in ("steps", "seed", "steps_per_loop", *INTERVALS)}


@dataclass(frozen=True)
class Data:
    """A dataset, with its presets, number of seeds and settings."""

    title: str
    presets: tuple[str, ...]
    seeds: int
    base: str  # data preset
    settings: tuple[str, ...] = ()
    fraction: float = 1.0  # of --images
    samples: int | None = None  # to score; None means the number of test images


DATA = {
    "fashion_mnist": Data("Fashion-MNIST", (*LOSSES, TUTORIAL, TUTORIAL_LONGER, LONGER), 3, "fashion_mnist"),
    "cifar10": Data("CIFAR-10 subset", LOSSES, 1, "folder", ("data.size=32", "data.name=cifar10"), fraction=0.5),
    # With 360 samples, as many as test images, scores would be mostly bias and noise.
    "digits": Data(f"{FEW} digits, {PASSES} passes", tuple(AUGMENTATIONS), 3, "digits", samples=3600),
}


@dataclass(frozen=True)
class Row:
    """One training with this project or, without a config, with the tutorial's loop."""

    data: str
    preset: str
    seed: int
    images: int
    config: RunConfig | None

    @property
    def name(self) -> str:
        """Unique name of the row."""
        return f"{self.data}/{self.preset}/{self.seed}"

    @property
    def digest(self) -> str:
        """Hash of all settings that change the result."""
        sections = {} if self.config is None else self.config.to_parameters()
        relevant = {name: sections[name] for name in ("task", "model", "objective", "training") if name in sections}
        return hashlib.sha256(storage.canonical_json({"images": self.images, **relevant}).encode()).hexdigest()[:8]


def main() -> None:
    """Trains and scores the missing rows and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the datasets")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-family"), help="folder for results")
    parser.add_argument(
        "--images", type=int, default=60_000, help="real images for a discriminator; half as many in colour"
    )
    parser.add_argument("--only", nargs="*", default=[], help="rows, such as fashion_mnist/sngan/0 or fashion_mnist")
    parser.add_argument("--set", action="append", default=[], help="further setting for all rows of this project")
    parser.add_argument("--table", action="store_true", help="only print the tables of existing rows")
    options = parser.parse_args()
    results = options.work / "results.jsonl"
    if not options.table:
        try:
            missing = plan(options, storage.read_lines(results))
            references = {data: make_reference(data, options) for data in dict.fromkeys(row.data for row in missing)}
        except (ValueError, OSError) as error:
            parser.error(str(error))
        for row in missing:
            result = train_and_score(row, *references[row.data], options.work)
            outcome = {"name": row.name, "digest": row.digest, **result}
            storage.append_line(results, outcome)
            print(f"RESULT {json.dumps(outcome)}", flush=True)
    print(tables(storage.read_lines(results)))


def plan(options: argparse.Namespace, done: list[dict]) -> list[Row]:
    """Returns the requested rows that do not exist.

    Raises:
        ValueError: An option is not valid, or existing rows have other settings.
    """
    for path in (assignment.partition("=")[0].strip() for assignment in options.set):
        if path in FIXED_FIELDS or path.partition(".")[0] in ("data", "evaluation", "export"):
            raise ValueError(
                "expected a field of task, model, objective or training that the benchmark does not set itself "
                f"({', '.join(sorted(FIXED_FIELDS))}). Received: --set {path}"
            )
    rows = [row for data in DATA for row in rows_of(data, options)]
    selected = [
        row for row in rows if not options.only or any(f"{row.name}/".startswith(f"{o}/") for o in options.only)
    ]
    if not selected:
        known = dict.fromkeys(f"{row.data}/{row.preset}" for row in rows)
        raise ValueError(f"expected rows of {', '.join(known)}. Received: --only {' '.join(options.only)}")
    known = {line["name"]: line["digest"] for line in done}
    stale = [row.name for row in selected if known.get(row.name, row.digest) != row.digest]
    if stale:
        raise ValueError(f"rows with other settings: {', '.join(stale)}. Use another --work or delete their lines")
    return [row for row in selected if row.name not in known]


def rows_of(data: str, options: argparse.Namespace) -> list[Row]:
    """Returns all rows of a dataset."""
    facts, rows = DATA[data], []
    for preset in facts.presets:
        images = FEW * PASSES if preset in AUGMENTATIONS else round(options.images * facts.fraction)
        images *= {LONGER: 2, TUTORIAL_LONGER: EPOCHS}.get(preset, 1)
        for seed in range(1 if preset == TUTORIAL_LONGER else facts.seeds):
            config = None if preset in (TUTORIAL, TUTORIAL_LONGER) else make_config(data, preset, images, seed, options)
            rows.append(Row(data, preset, seed, images, config))
    return rows


def make_config(data: str, row_preset: str, images: int, seed: int, options: argparse.Namespace) -> RunConfig:
    """Returns the config of a row."""
    preset, extra = {LONGER: "conditional"}.get(row_preset, row_preset), []
    if row_preset in AUGMENTATIONS:
        preset, extra = "dcgan", [f"data.train_images={FEW}", f"training.augmentation={AUGMENTATIONS[row_preset]}"]
    config = resolve(
        chosen=[DATA[data].base, preset], assignments=[*source_settings(data, options), *extra, *options.set]
    )
    steps = images // images_per_step(config)
    interval = -(-steps // MEASUREMENTS)
    changed = {"seed": seed, "steps": steps, "steps_per_loop": min(50, interval), **dict.fromkeys(INTERVALS, interval)}
    return config.model_copy(update={"training": config.training.model_copy(update=changed)})


def images_per_step(config: RunConfig) -> int:
    """Returns the number of real images for the discriminator in a step."""
    return config.training.batch_size * config.objective.discriminator_steps


def source_settings(data: str, options: argparse.Namespace) -> list[str]:
    """Returns the settings of the data source."""
    path = [] if data == "digits" else [f"data.source.path={options.data / data}"]
    return [*path, *DATA[data].settings]


def make_reference(data: str, options: argparse.Namespace) -> tuple[PreparedDataset, Reference]:
    """Returns the whole dataset and its reference, which are made once.

    Raises:
        ValueError: The images cannot be used.
    """
    work = options.work / f"reference-{data}"
    if not (work / "reference").exists():
        config = resolve(chosen=[DATA[data].base], assignments=source_settings(data, options))
        measure_reference(prepare_once(config, work / "dataset"), config.evaluation, work / "reference")
    return PreparedDataset.open(work / "dataset"), Reference.open(work / "reference")


def prepare_once(config: RunConfig, folder: Path) -> PreparedDataset:
    """Returns the prepared images of a config."""
    if not folder.exists():
        prepare(config.data, folder)
    return PreparedDataset.open(folder)


def train_and_score(row: Row, dataset: PreparedDataset, reference: Reference, work: Path) -> dict:
    """Trains a row and returns scores and times."""
    picture = work / f"{row.name.replace('/', '-')}.png"
    facts = {"accuracy": reference.extractor.facts["test_accuracy"]}
    if DATA[row.data].samples is None:
        facts["floor"] = reference.floor(reference.sample_count(None))
    if row.config is None:
        return {**facts, **train_tutorial(row, dataset, reference, picture)}
    if row.preset in AUGMENTATIONS:
        dataset = prepare_once(row.config, work / f"few-{FEW}")
    output = picture.with_suffix("")
    shutil.rmtree(f"{output}.home", ignore_errors=True)  # not resumed, because the time is measured
    model = train(
        dataset,
        reference,
        task=row.config.task,
        architecture=row.config.model,
        objective=row.config.objective,
        config=row.config.training,
        output=output,
    )
    seconds, measure = np.cumsum(training_seconds(model.history)), f"training/{reference.measure}"
    curve = [(float(at), line[measure]) for at, line in zip(seconds, model.history, strict=True) if measure in line]
    per_1000 = 1000 * seconds[-1] / (row.config.training.steps * images_per_step(row.config))
    events = [(event["event"], event["reaction"]) for event in model.events]
    outcome = {**facts, "seconds": seconds[-1], "pace": per_1000, "curve": curve, "events": events}
    for generator in ("best", "last"):
        batches = list(model.sampler(generator).batches(DATA[row.data].samples or reference.sample_count(None), seed=1))
        features, probabilities = reference.extractor.all_outputs(samples.images for samples in batches)
        outcome[generator] = reference.distance_of(features)
        if row.config.task.conditional:
            requested = np.concatenate([samples.labels for samples in batches])
            outcome[f"{generator}_agreement"] = float((probabilities.argmax(axis=1) == requested).mean())
    sheet = model.sampler("last").sheet(seed=1)
    pixels.save_grid(sheet.images, picture, columns=sheet.columns)
    shutil.rmtree(f"{output}.home")
    shutil.rmtree(output)
    return outcome


def training_seconds(history: list[dict]) -> list[float]:
    """Returns the training time between the lines of a history, without scores and sample images."""
    steps = [0, *(line["step"] for line in history)]
    return [
        (after - before) / line["speed/steps_per_second"]
        for before, after, line in zip(steps, steps[1:], history, strict=False)
    ]


def train_tutorial(row: Row, dataset: PreparedDataset, reference: Reference, picture: Path) -> dict:
    """Trains and scores the tutorial's loop."""
    baseline, steps = Tutorial(dataset.load("train")[0], seed=row.seed), row.images // BATCH
    baseline.train(1)  # traces the graph before the time is measured
    began = time.perf_counter()
    baseline.train(steps - 1)
    seconds = time.perf_counter() - began
    samples = baseline.samples(reference.sample_count(None), seed=1)
    pixels.save_grid(samples[:100], picture, columns=10)
    distance = reference.distance([samples])
    return {"seconds": seconds, "pace": 1000 * seconds / ((steps - 1) * BATCH), "best": distance, "last": distance}


def tables(results: list[dict]) -> str:
    """Returns the results as Markdown: all presets, little data, label accuracy, and the tutorial's loop."""
    grouped: dict[str, dict[str, list[dict]]] = {data: {} for data in DATA}
    for line in results:
        data, preset, _ = line["name"].split("/")
        grouped[data].setdefault(preset, []).append(line)
    scored = [data for data in DATA if data != "digits" and grouped[data]]
    titles = ["preset", "objective", "model", *(cell for data in scored for cell in (DATA[data].title, "s per 1,000"))]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for preset in (*LOSSES, LONGER, TUTORIAL, TUTORIAL_LONGER):
        members = [grouped[data].get(preset, []) for data in scored]
        if any(members):
            cells = [cell for rows in members for cell in (scores_cell(rows), time_cell(rows))]
            lines.append(f"| `{preset}` | {' | '.join([*describe(preset), *cells])} |")
    floors = [format_number(next(iter(grouped[data].values()))[0]["floor"]) for data in scored]
    lines.append(f"| real images | | | {' |  | '.join(floors)} |  |")
    if grouped["digits"]:
        lines += ["", f"| {DATA['digits'].title} | score |", "|---|---|"]
        lines += [f"| {kind} | {scores_cell(members)} |" for kind, members in grouped["digits"].items()]
    return "\n".join([*lines, "", *label_accuracy(grouped), *compare_with_tutorial(grouped["fashion_mnist"])])


def describe(preset: str) -> tuple[str, str]:
    """Returns objective and networks of a preset."""
    if preset not in LOSSES:
        return "", ""
    config = resolve(chosen=[preset], assignments=[])
    norm = getattr(config.model, "discriminator_norm", "none")
    return f"`{config.objective.kind}`", f"`{config.model.kind}`" + (f", {norm} norm" if norm != "none" else "")


def scores_cell(members: list[dict]) -> str:
    """Returns a cell with the best score, the last one if it differs, and problems of the training."""
    if not members:
        return ""
    best, last = (spread([line[generator] for line in members]) for generator in ("best", "last"))
    problems = [{f"{problem}, {reaction}" for problem, reaction in line.get("events", [])} for line in members]
    counts = {what: sum(what in row for row in problems) for what in sorted(set().union(*problems))}
    notes = [what if len(problems) == 1 else f"{what} ({count} of {len(problems)})" for what, count in counts.items()]
    return "; ".join([best if best == last else f"{best}, then {last}", *notes])


def time_cell(members: list[dict]) -> str:
    """Returns a cell with the seconds of training for a thousand images."""
    return f"{statistics.median(line['pace'] for line in members):.1f}" if members else ""


def label_accuracy(grouped: dict[str, dict[str, list[dict]]]) -> list[str]:
    """Returns the fraction of requested classes that the classifier recognises, and its accuracy on real images."""
    return [
        f"- `{preset}` on {DATA[data].title}: label accuracy {values(members, 'best_agreement', '{:.1%}'.format)} "
        f"(real test images {members[0]['accuracy']:.1%}), in {values(members, 'seconds', '{:.0f} s'.format)}"
        for data, presets in grouped.items()
        for preset, members in presets.items()
        if "best_agreement" in members[0]
    ]


def compare_with_tutorial(presets: dict[str, list[dict]]) -> list[str]:
    """Compares presets with the tutorial's loop: distance for the same images, and time to its score of ten epochs."""
    if not {TUTORIAL, TUTORIAL_LONGER} <= set(presets):
        return []
    goal, seconds = (presets[TUTORIAL_LONGER][0][name] for name in ("last", "seconds"))
    theirs = statistics.mean(line["last"] for line in presets[TUTORIAL])
    later = f"{format_number(goal)} after {EPOCHS} epochs, in {seconds:.0f} s"
    lines = [f"\nThe tutorial's loop: {format_number(theirs)}; {later}."]
    for preset in sorted(set(LOSSES) & set(presets)):
        # Scores during training use fewer samples and are therefore higher, so the real times are not longer.
        reached = [next((at for at, score in line["curve"] if score <= goal), None) for line in presets[preset]]
        times = ", ".join("never" if at is None else f"1/{seconds / at:.0f}" for at in reached)
        ours = statistics.mean(line["best"] for line in presets[preset])
        distance = f"{ours / theirs:.0%} of its distance"
        lines.append(f"- `{preset}`: {distance}; its score of {EPOCHS} epochs in this fraction of its time: {times}")
    return lines


def values(members: list[dict], name: str, form: Callable[[float], str]) -> str:
    """Returns the values of all seeds as text."""
    return ", ".join(form(line[name]) for line in members)


def spread(numbers: list[float]) -> str:
    """Returns mean and half the range as text."""
    mean = format_number(statistics.mean(numbers))
    if len(numbers) == 1:
        return mean
    digits = len(mean.partition(".")[2])
    return f"{mean} ± {(max(numbers) - min(numbers)) / 2:.{digits}f}"


def format_number(value: float) -> str:
    """Formats a number with two decimals, or one from ten on."""
    return f"{value:.{1 if value >= 10 else 2}f}"


if __name__ == "__main__":
    main()
