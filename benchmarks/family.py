"""Every preset at an equal number of images seen, a row at a time; what is done already is not done again.

    python benchmarks/family.py --data FOLDER [--images 60000] [--only fashion_mnist/sngan/0 ...] [--table]

FOLDER holds `fashion_mnist/` with the four idx files and `cifar10_jpeg_subset.zip` with `train/<class>/` and
`test/<class>/`. Rows go to `results.jsonl` in the folder of `--work`, a picture of each beside it; the table of all
rows comes last.
"""

import argparse
import json
import shutil
import statistics
import time
import zipfile
from pathlib import Path

from ganlib import pixels, storage  # before anything that imports TensorFlow, whose settings it makes
from ganlib.data import prepare
from ganlib.data.records import PreparedDataset
from ganlib.evaluation import Reference, measure_reference
from ganlib.training import train
from pipelines.settings import resolve

import numpy as np  # isort: skip
from tutorial import Tutorial  # isort: skip

GAMES = ("gan", "dcgan", "lsgan", "wgan", "wgan-gp", "sngan", "r3gan", "conditional")
SEEDS = {"fashion_mnist": 3, "cifar10": 1}
SHARE = {"fashion_mnist": 1.0, "cifar10": 0.5}  # of --images: colour images take twice the time
SCORES = 10  # measurements of a run
TUTORIAL_EPOCHS = 10
LONGER = 2  # times the images of the other rows, after which the conditional samples show the class asked for
FEW, PASSES = 1000, 250  # images of the rows on little data, and how often each is seen
LITTLE = {
    "few": [],
    "few-cutout": ["training.augmentation=[cutout]"],
    "few-translation": ["training.augmentation=[translation]"],
}
SAMPLES = {"digits": 3600}  # instead of as many as there are test images: 360 would leave mostly bias and noise


def main() -> None:
    """Trains and scores whatever row is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real data sets")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-family"), help="where results are kept")
    parser.add_argument(
        "--images", type=int, default=60_000, help="real images that a discriminator sees; half as many colour ones"
    )
    parser.add_argument("--only", nargs="*", help="rows such as fashion_mnist/sngan/0; their beginnings are enough")
    parser.add_argument("--set", action="append", default=[], help="further setting of all rows of ours")
    parser.add_argument("--table", action="store_true", help="print the table of what is there, and stop")
    options = parser.parse_args()
    results = options.work / "results.jsonl"
    made_with = {"images": options.images, "set": options.set}
    done = {row["name"]: {key: row[key] for key in made_with} for row in storage.read_lines(results)}
    if any(known != made_with for known in done.values()):
        parser.error(f"{results} holds rows of other --images or --set. Take another --work")
    for name in [] if options.table else list(rows()):
        if name in done or (options.only and not name.startswith(tuple(options.only))):
            continue
        row = {"name": name, **made_with, **measured(name, options)}
        storage.append_line(results, row)
        print(f"RESULT {json.dumps(row)}", flush=True)
    print(table(storage.read_lines(results)))


def rows():
    """Yields data/game/seed of every row, the cheapest data first."""
    for data, seeds in SEEDS.items():
        for game in GAMES:
            yield from (f"{data}/{game}/{seed}" for seed in range(seeds))
    yield from (f"fashion_mnist/tutorial/{seed}" for seed in range(SEEDS["fashion_mnist"]))
    yield f"fashion_mnist/tutorial-{TUTORIAL_EPOCHS}-epochs/0"
    yield from (f"fashion_mnist/conditional-longer/{seed}" for seed in range(SEEDS["fashion_mnist"]))
    for kind in LITTLE:
        yield from (f"digits/{kind}/{seed}" for seed in range(3))


def measured(name: str, options: argparse.Namespace) -> dict:
    """Trains one row and returns its scores and times."""
    data, game, seed = name.split("/")
    dataset, reference = yardstick(data, options)
    picture = options.work / f"{name.replace('/', '-')}.png"
    if game.startswith("tutorial"):
        images = TUTORIAL_EPOCHS * dataset.count("train") if game != "tutorial" else options.images
        return tutorial(dataset, reference, images=images, seed=int(seed), picture=picture)
    base, extra = ("dcgan", LITTLE[game]) if game in LITTLE else (game.removesuffix("-longer"), [])
    config = resolve(
        chosen=[*preset(data), base], file=None, assignments=[*source(data, options), *extra, *options.set]
    )
    if game in LITTLE:
        dataset = few(config, options)
    training = config.training
    images = FEW * PASSES if game in LITTLE else round(options.images * SHARE[data])
    images *= LONGER if game.endswith("-longer") else 1
    steps = images // (training.batch_size * config.objective.discriminator_steps)
    rhythm = -(-steps // SCORES)
    rhythms = dict.fromkeys(("score_every", "sample_every", "checkpoint_every"), rhythm)
    changed = {"seed": int(seed), "steps": steps, "steps_per_loop": min(50, rhythm), **rhythms}
    output = options.work / name.replace("/", "-")
    shutil.rmtree(f"{output}.home", ignore_errors=True)  # begun anew, not resumed: the time is measured
    model = train(
        dataset,
        reference,
        task=config.task,
        model=config.model,
        objective=config.objective,
        config=training.model_copy(update=changed),
        output=output,
    )
    a_step = training.batch_size * config.objective.discriminator_steps
    rates = [a_step * line["speed/steps_per_second"] for line in model.history]  # the first one traces the graph
    row = {"seconds": sum(row_seconds(model.history)), "seen": steps * a_step, "rate": statistics.median(rates)}
    for kept in ("best", "last"):
        sampler, count = model.sampler(kept), SAMPLES.get(data) or reference.sample_count(None)
        drawn = list(sampler.batches(count, seed=config.evaluation.seed))
        row[kept] = reference.distance(images for images, _ in drawn)
        if config.task.conditional:
            agreed = [answers(reference, images) == labels for images, labels in drawn]
            row[f"{kept}_agreement"] = float(np.concatenate(agreed).mean())
    pixels.save_grid(sampler.sheet(seed=1), picture, columns=10)
    measure = f"training/{reference.measure}"
    curve = zip(model.history, np.cumsum(row_seconds(model.history)), strict=True)
    row["curve"] = [[round(float(at), 1), line[measure]] for line, at in curve if measure in line]
    row |= {"floor": reference.floor(count), "events": [event["event"] for event in model.events]}
    shutil.rmtree(f"{output}.home")
    shutil.rmtree(output)
    return row


def row_seconds(history) -> list[float]:
    """Seconds of training, without scores and pictures, of each line of a history."""
    steps = [0, *(line["step"] for line in history)]
    return [
        (after - before) / line["speed/steps_per_second"]
        for before, after, line in zip(steps, steps[1:], history, strict=False)
    ]


def answers(reference: Reference, images: np.ndarray) -> np.ndarray:
    """Classes that the reference's classifier sees."""
    return np.concatenate([probabilities.argmax(axis=1) for _, probabilities in reference.extractor.outputs([images])])


def tutorial(dataset, reference, *, images: int, seed: int, picture: Path) -> dict:
    """Trains and scores the tutorial's loop."""
    baseline = Tutorial(dataset.load("train")[0], seed=seed)
    baseline.train(1)  # traces the graph
    began = time.perf_counter()
    baseline.train(images // baseline.batch - 1)
    seconds = time.perf_counter() - began
    count = reference.sample_count(None)
    drawn = baseline.samples(count, seed=1)
    pixels.save_grid(drawn[:100], picture, columns=10)
    distance = reference.distance([drawn])
    scores = {"best": distance, "last": distance, "floor": reference.floor(count)}
    return {"seconds": seconds, "seen": images, "rate": images / seconds, **scores}


def preset(data: str) -> list[str]:
    """Presets below the game's."""
    return ["folder"] if data == "cifar10" else [data]


def source(data: str, options: argparse.Namespace) -> list[str]:
    """Settings that say where the images lie."""
    if data == "digits":
        return []
    if data == "fashion_mnist":
        return [f"data.source.path={options.data / 'fashion_mnist'}"]
    folder = options.work / "cifar10"
    if not folder.exists():
        with (
            storage.whole_folder(folder) as unpacked,
            zipfile.ZipFile(options.data / "cifar10_jpeg_subset.zip") as file,
        ):
            file.extractall(unpacked)  # our own archive
    return [f"data.source.path={folder}", "data.size=32", "data.name=cifar10"]


def yardstick(data: str, options: argparse.Namespace) -> tuple[PreparedDataset, Reference]:
    """The whole data set and its reference, made once."""
    work = options.work / f"yardstick-{data}"
    if not (work / "reference").exists():
        config = resolve(chosen=preset(data), file=None, assignments=source(data, options))
        measure_reference(prepare(config.data, work / "dataset"), config.evaluation, work / "reference")
    return PreparedDataset.open(work / "dataset"), Reference.open(work / "reference")


def few(config, options: argparse.Namespace) -> PreparedDataset:
    """A thousand training images; they are judged by the whole set's reference."""
    work = options.work / f"few-{FEW}"
    if not work.exists():
        prepare(config.data.model_copy(update={"train_images": FEW}), work)
    return PreparedDataset.open(work)


def table(found: list[dict]) -> str:
    """The results as Markdown, mean and spread over the seeds: the games, the little data, the tutorial's loop."""
    grouped: dict[tuple[str, str], list[dict]] = {}
    for row in found:
        data, game, _ = row["name"].split("/")
        grouped.setdefault((data, game), []).append(row)
    floors = {row["name"].partition("/")[0]: row["floor"] for row in found}
    titles = [f"{data} (floor {floors[data]:.2g}): best | last | s per 1,000" for data in SEEDS if data in floors]
    lines = ["| preset | " + " | ".join([*titles, "events"]) + " |", "|---" * (2 + 3 * len(titles)) + "|"]
    for game in (*GAMES, "conditional-longer", "tutorial"):
        members = {data: grouped[data, game] for data in SEEDS if (data, game) in grouped}
        if members:
            cells = [cell for data in SEEDS if data in floors for cell in scored(members.get(data, []))]
            notes = [f"{data}: {told}" for data, rows_of in members.items() if (told := remarks(rows_of))]
            lines.append(f"| `{game}` | " + " | ".join([*cells, "; ".join(notes)]) + " |")
    few_rows = [(kind, grouped["digits", kind]) for kind in LITTLE if ("digits", kind) in grouped]
    if few_rows:
        lines += [f"\n| {FEW} digits, {PASSES} passes, no floor of so many samples | best | last |", "|---|---|---|"]
        lines += [f"| {kind} | " + " | ".join(scored(members)[:2]) + " |" for kind, members in few_rows]
    return "\n".join([*lines, *against_the_tutorial(grouped)])


def scored(members: list[dict]) -> list[str]:
    """Cells of best score, last score and seconds per 1,000 images."""
    if not members:
        return ["", "", ""]
    pace = statistics.mean(1000 / row["rate"] for row in members)
    return [*(spread([row[kept] for row in members]) for kept in ("best", "last")), f"{pace:.1f}"]


def remarks(members: list[dict]) -> str:
    """What happened on the way, and how often the label was met."""
    told = sorted({event for row in members for event in row.get("events", [])})
    if "best_agreement" in members[0]:
        told.append(f"label {statistics.mean(row['best_agreement'] for row in members):.1%}")
    return ", ".join(told)


def against_the_tutorial(grouped: dict[tuple[str, str], list[dict]]) -> list[str]:
    """How every preset stands to the tutorial's loop: distance at an equal budget, time to its score of ten epochs."""
    equal = grouped.get(("fashion_mnist", "tutorial"))
    longer = grouped.get(("fashion_mnist", f"tutorial-{TUTORIAL_EPOCHS}-epochs"))
    if not equal or not longer:
        return []
    goal, seconds = longer[0]["last"], longer[0]["seconds"]
    theirs = statistics.mean(row["last"] for row in equal)
    lines = [f"\nThe tutorial's loop: {theirs:.2f}, and {goal:.2f} after {TUTORIAL_EPOCHS} epochs in {seconds:.0f} s."]
    for (data, game), members in grouped.items():
        if data == "fashion_mnist" and game in GAMES:
            ours = statistics.mean(row["best"] for row in members)
            # Scores on the way are of fewer samples, which makes them larger: the times are no shorter than they were.
            reached = [next((at for at, score in row["curve"] if score <= goal), None) for row in members]
            when = "not reached"
            if all(reached):
                when = f"in {', '.join(f'1/{seconds / at:.0f}' for at in reached)} of its time"
            lines.append(f"- `{game}`: {ours / theirs:.2f} of its distance; its later score {when}")
    return lines


def spread(values: list[float]) -> str:
    """Mean and half the range."""
    mean = statistics.mean(values)
    return f"{mean:.2f}" if len(values) == 1 else f"{mean:.2f} ± {(max(values) - min(values)) / 2:.2f}"


if __name__ == "__main__":
    main()
