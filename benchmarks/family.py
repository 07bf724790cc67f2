"""Every preset at an equal number of images seen, a row at a time; what is done already is not done again.

    python benchmarks/family.py --data FOLDER [--images 60000] [--only fashion_mnist/sngan/0 ...] [--table]

FOLDER holds `fashion_mnist/` with the four idx files, and `cifar10/` with `train/<class>/` and `test/<class>/`. Rows go
to `results.jsonl` in the folder of `--work`, a picture of each beside it; the tables of all rows come last.
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

from ganlib import pixels, storage  # before anything that imports TensorFlow, whose settings it makes
from ganlib.config import RunConfig
from ganlib.data import prepare
from ganlib.data.records import PreparedDataset
from ganlib.evaluation import Reference, measure_reference
from ganlib.training import train
from pipelines.settings import resolve

import numpy as np  # isort: skip
from tutorial import BATCH, Tutorial  # isort: skip

GAMES = ("gan", "dcgan", "lsgan", "wgan", "wgan-gp", "sngan", "r3gan", "conditional")
TUTORIAL, TUTORIAL_LONGER, EPOCHS = "tutorial", "tutorial-10-epochs", 10
LONGER = "conditional-longer"  # twice as many images
FEW, PASSES = 1000, 250  # training images of the rows on little data, and how often each is seen
AUGMENTATIONS = {"plain": "[]", "cutout": "[cutout]", "translation": "[translation]"}
MEASUREMENTS = 10  # of a run
RHYTHMS = ("score_every", "sample_every", "checkpoint_every")
OURS = {f"training.{name}" for name in ("steps", "seed", "steps_per_loop", *RHYTHMS)}


@dataclass(frozen=True)
class Data:
    """A data set of real images: what is played on it, how often, and how it is judged."""

    title: str
    games: tuple[str, ...]
    seeds: int
    preset: str
    settings: tuple[str, ...] = ()
    share: float = 1.0  # of --images
    samples: int | None = None  # that are scored, where not as many as there are test images


DATA = {
    "fashion_mnist": Data("Fashion-MNIST", (*GAMES, TUTORIAL, TUTORIAL_LONGER, LONGER), 3, "fashion_mnist"),
    "cifar10": Data("CIFAR-10 subset", GAMES, 1, "folder", ("data.size=32", "data.name=cifar10"), share=0.5),
    # The 360 test images would leave mostly bias and noise.
    "digits": Data(f"{FEW} digits, {PASSES} passes", tuple(AUGMENTATIONS), 3, "digits", samples=3600),
}


@dataclass(frozen=True)
class Row:
    """One training, by the project's loop or, without a config, by the tutorial's."""

    data: str
    game: str
    seed: int
    images: int
    config: RunConfig | None

    @property
    def name(self) -> str:
        """Tells it from all others."""
        return f"{self.data}/{self.game}/{self.seed}"

    @property
    def digest(self) -> str:
        """Of everything that is set and changes its result."""
        parts = {} if self.config is None else self.config.to_parameters()
        played = {name: parts[name] for name in ("task", "model", "objective", "training") if name in parts}
        return hashlib.sha256(storage.canonical_json({"images": self.images, **played}).encode()).hexdigest()[:8]


def main() -> None:
    """Trains and scores whatever row is missing, then prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the real data sets")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-family"), help="where results are kept")
    parser.add_argument("--images", type=int, default=60_000, help="that a discriminator sees; half as many in colour")
    parser.add_argument("--only", nargs="*", default=[], help="rows such as fashion_mnist/sngan/0, or fashion_mnist")
    parser.add_argument("--set", action="append", default=[], help="further setting of all rows of ours")
    parser.add_argument("--table", action="store_true", help="print the tables of what is there, and stop")
    options = parser.parse_args()
    results = options.work / "results.jsonl"
    if not options.table:
        try:
            todo = planned(options, storage.read_lines(results))
            yardsticks = {data: yardstick(data, options) for data in dict.fromkeys(row.data for row in todo)}
        except (ValueError, OSError) as error:
            parser.error(str(error))
        for row in todo:
            outcome = {"name": row.name, "digest": row.digest, **measured(row, *yardsticks[row.data], options.work)}
            storage.append_line(results, outcome)
            print(f"RESULT {json.dumps(outcome)}", flush=True)
    print(tables(storage.read_lines(results)))


def planned(options: argparse.Namespace, done: list[dict]) -> list[Row]:
    """The rows that were asked for and are not there.

    Raises:
        ValueError: An option cannot be used, or rows that are there were made with other settings.
    """
    for path in (assignment.partition("=")[0].strip() for assignment in options.set):
        if path in OURS or path.partition(".")[0] in ("data", "evaluation", "export"):
            raise ValueError(
                "expected a field of task, model, objective or training that the benchmark does not set itself "
                f"({', '.join(sorted(OURS))}). Received: --set {path}"
            )
    rows = [row for data in DATA for row in rows_of(data, options)]
    chosen = [row for row in rows if not options.only or any(f"{row.name}/".startswith(f"{o}/") for o in options.only)]
    if not chosen:
        known = dict.fromkeys(f"{row.data}/{row.game}" for row in rows)
        raise ValueError(f"expected rows of {', '.join(known)}. Received: --only {' '.join(options.only)}")
    known = {line["name"]: line["digest"] for line in done}
    stale = [row.name for row in chosen if known.get(row.name, row.digest) != row.digest]
    if stale:
        raise ValueError(f"made with other settings: {', '.join(stale)}. Take another --work or delete their lines")
    return [row for row in chosen if row.name not in known]


def rows_of(data: str, options: argparse.Namespace) -> list[Row]:
    """All rows on a data set."""
    facts, rows = DATA[data], []
    for game in facts.games:
        images = FEW * PASSES if game in AUGMENTATIONS else round(options.images * facts.share)
        images *= {LONGER: 2, TUTORIAL_LONGER: EPOCHS}.get(game, 1)
        for seed in range(1 if game == TUTORIAL_LONGER else facts.seeds):
            config = None if game in (TUTORIAL, TUTORIAL_LONGER) else configured(data, game, images, seed, options)
            rows.append(Row(data, game, seed, images, config))
    return rows


def configured(data: str, game: str, images: int, seed: int, options: argparse.Namespace) -> RunConfig:
    """The settings of one of our rows."""
    preset, extra = {LONGER: "conditional"}.get(game, game), []
    if game in AUGMENTATIONS:
        preset, extra = "dcgan", [f"data.train_images={FEW}", f"training.augmentation={AUGMENTATIONS[game]}"]
    config = resolve(chosen=[DATA[data].preset, preset], assignments=[*source(data, options), *extra, *options.set])
    steps = images // images_a_step(config)
    rhythm = -(-steps // MEASUREMENTS)
    changed = {"seed": seed, "steps": steps, "steps_per_loop": min(50, rhythm), **dict.fromkeys(RHYTHMS, rhythm)}
    return config.model_copy(update={"training": config.training.model_copy(update=changed)})


def images_a_step(config: RunConfig) -> int:
    """Real images that the discriminator sees in a step."""
    return config.training.batch_size * config.objective.discriminator_steps


def source(data: str, options: argparse.Namespace) -> list[str]:
    """Settings that say where the images lie and what becomes of them."""
    place = [] if data == "digits" else [f"data.source.path={options.data / data}"]
    return [*place, *DATA[data].settings]


def yardstick(data: str, options: argparse.Namespace) -> tuple[PreparedDataset, Reference]:
    """The whole data set and its reference, made once.

    Raises:
        ValueError: The images cannot be used.
    """
    work = options.work / f"yardstick-{data}"
    if not (work / "reference").exists():
        config = resolve(chosen=[DATA[data].preset], assignments=source(data, options))
        measure_reference(prepared(config, work / "dataset"), config.evaluation, work / "reference")
    return PreparedDataset.open(work / "dataset"), Reference.open(work / "reference")


def prepared(config: RunConfig, folder: Path) -> PreparedDataset:
    """The images of a config, prepared once."""
    if not folder.exists():
        prepare(config.data, folder)
    return PreparedDataset.open(folder)


def measured(row: Row, dataset: PreparedDataset, reference: Reference, work: Path) -> dict:
    """Trains one row and returns its scores and times."""
    picture = work / f"{row.name.replace('/', '-')}.png"
    facts = {"accuracy": reference.extractor.facts["test_accuracy"]}
    if DATA[row.data].samples is None:
        facts["floor"] = reference.floor(reference.sample_count(None))
    if row.config is None:
        return {**facts, **tutorial(row, dataset, reference, picture)}
    if row.game in AUGMENTATIONS:
        dataset = prepared(row.config, work / f"few-{FEW}")
    output = picture.with_suffix("")
    shutil.rmtree(f"{output}.home", ignore_errors=True)  # begun anew, not resumed: the time is measured
    model = train(
        dataset,
        reference,
        task=row.config.task,
        architecture=row.config.model,
        objective=row.config.objective,
        config=row.config.training,
        output=output,
    )
    seconds, measure = np.cumsum(row_seconds(model.history)), f"training/{reference.measure}"
    curve = [(float(at), line[measure]) for at, line in zip(seconds, model.history, strict=True) if measure in line]
    pace = 1000 * seconds[-1] / (row.config.training.steps * images_a_step(row.config))
    events = [(event["event"], event["reaction"]) for event in model.events]
    outcome = {**facts, "seconds": seconds[-1], "pace": pace, "curve": curve, "events": events}
    for kept in ("best", "last"):
        drawn = list(model.sampler(kept).batches(DATA[row.data].samples or reference.sample_count(None), seed=1))
        features, probabilities = reference.extractor.all_outputs(images for images, _ in drawn)
        outcome[kept] = reference.distance_of(features)
        if row.config.task.conditional:
            asked = np.concatenate([labels for _, labels in drawn])
            outcome[f"{kept}_agreement"] = float((probabilities.argmax(axis=1) == asked).mean())
    pixels.save_grid(model.sampler("last").sheet(seed=1), picture, columns=10)
    shutil.rmtree(f"{output}.home")
    shutil.rmtree(output)
    return outcome


def row_seconds(history: list[dict]) -> list[float]:
    """Seconds of training, without scores and pictures, of each line of a history."""
    steps = [0, *(line["step"] for line in history)]
    return [
        (after - before) / line["speed/steps_per_second"]
        for before, after, line in zip(steps, steps[1:], history, strict=False)
    ]


def tutorial(row: Row, dataset: PreparedDataset, reference: Reference, picture: Path) -> dict:
    """Trains and scores the tutorial's loop."""
    baseline, steps = Tutorial(dataset.load("train")[0], seed=row.seed), row.images // BATCH
    baseline.train(1)  # traces the graph, which is not held against it
    began = time.perf_counter()
    baseline.train(steps - 1)
    seconds = time.perf_counter() - began
    drawn = baseline.samples(reference.sample_count(None), seed=1)
    pixels.save_grid(drawn[:100], picture, columns=10)
    distance = reference.distance([drawn])
    return {"seconds": seconds, "pace": 1000 * seconds / ((steps - 1) * BATCH), "best": distance, "last": distance}


def tables(found: list[dict]) -> str:
    """The results as Markdown: every game, little data, labels, and how the games stand to the tutorial's loop."""
    grouped: dict[str, dict[str, list[dict]]] = {data: {} for data in DATA}
    for line in found:
        data, game, _ = line["name"].split("/")
        grouped[data].setdefault(game, []).append(line)
    judged = [data for data in DATA if data != "digits" and grouped[data]]
    titles = ["preset", "objective", "model", *(cell for data in judged for cell in (DATA[data].title, "s per 1,000"))]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for game in (*GAMES, LONGER, TUTORIAL, TUTORIAL_LONGER):
        members = [grouped[data].get(game, []) for data in judged]
        if any(members):
            cells = [cell for lines_of in members for cell in (scores(lines_of), pace(lines_of))]
            lines.append(f"| `{game}` | {' | '.join([*parts(game), *cells])} |")
    floors = [number(next(iter(grouped[data].values()))[0]["floor"]) for data in judged]
    lines.append(f"| real images | | | {' |  | '.join(floors)} |  |")
    if grouped["digits"]:
        lines += ["", f"| {DATA['digits'].title} | score |", "|---|---|"]
        lines += [f"| {kind} | {scores(members)} |" for kind, members in grouped["digits"].items()]
    return "\n".join([*lines, "", *labels_met(grouped), *against_the_tutorial(grouped["fashion_mnist"])])


def parts(game: str) -> tuple[str, str]:
    """The objective and the networks of a preset, as they are set."""
    if game not in GAMES:
        return "", ""
    config = resolve(chosen=[game], assignments=[])
    norm = getattr(config.model, "discriminator_norm", "none")
    return f"`{config.objective.kind}`", f"`{config.model.kind}`" + (f", {norm} norm" if norm != "none" else "")


def scores(members: list[dict]) -> str:
    """A cell: the best score, the last one where it is another, and the problem that was met."""
    if not members:
        return ""
    best, last = (spread([line[kept] for line in members]) for kept in ("best", "last"))
    met = [{f"{problem}, {reaction}" for problem, reaction in line.get("events", [])} for line in members]
    counts = {what: sum(what in one for one in met) for what in sorted(set().union(*met))}
    told = [what if len(met) == 1 else f"{what} ({count} of {len(met)})" for what, count in counts.items()]
    return "; ".join([best if best == last else f"{best}, then {last}", *told])


def pace(members: list[dict]) -> str:
    """A cell: seconds of training for a thousand images."""
    return f"{statistics.median(line['pace'] for line in members):.1f}" if members else ""


def labels_met(grouped: dict[str, dict[str, list[dict]]]) -> list[str]:
    """How often the classifier sees the class that was asked for, beside how often it is right on real images."""
    return [
        f"- `{game}` on {DATA[data].title}: {told(members, 'best_agreement', '{:.1%}'.format)} of the labels met "
        f"(real test images {members[0]['accuracy']:.1%}), in {told(members, 'seconds', '{:.0f} s'.format)}"
        for data, games in grouped.items()
        for game, members in games.items()
        if "best_agreement" in members[0]
    ]


def against_the_tutorial(games: dict[str, list[dict]]) -> list[str]:
    """How every preset stands to the tutorial's loop: distance at an equal budget, time to its score of ten epochs."""
    if not {TUTORIAL, TUTORIAL_LONGER} <= set(games):
        return []
    goal, seconds = (games[TUTORIAL_LONGER][0][name] for name in ("last", "seconds"))
    theirs = statistics.mean(line["last"] for line in games[TUTORIAL])
    lines = [f"\nThe tutorial's loop: {number(theirs)}; {number(goal)} after {EPOCHS} epochs, in {seconds:.0f} s."]
    for game in sorted(set(GAMES) & set(games)):
        # Scores on the way are of fewer samples, which makes them larger: the times are no shorter than they were.
        reached = [next((at for at, score in line["curve"] if score <= goal), None) for line in games[game]]
        times = ", ".join("never" if at is None else f"1/{seconds / at:.0f}" for at in reached)
        ours = statistics.mean(line["best"] for line in games[game])
        lines.append(f"- `{game}`: {ours / theirs:.2f} of its distance; its score of {EPOCHS} epochs in {times}")
    return lines


def told(members: list[dict], name: str, form: Callable[[float], str]) -> str:
    """The values of all seeds."""
    return ", ".join(form(line[name]) for line in members)


def spread(values: list[float]) -> str:
    """Mean and half the range, to the digits that say something."""
    mean = number(statistics.mean(values))
    if len(values) == 1:
        return mean
    digits = len(mean.partition(".")[2])
    return f"{mean} ± {(max(values) - min(values)) / 2:.{digits}f}"


def number(value: float) -> str:
    """One digit after the point from ten on, two below."""
    return f"{value:.{1 if value >= 10 else 2}f}"


if __name__ == "__main__":
    main()
