"""Facades from label maps: pix2pix beside the same network trained by L1 alone, and beside the mean facade.

    python benchmarks/facades.py --data FOLDER [--minutes 60 | --steps N]

FOLDER has `facades.zip` and the weights of SqueezeNet. Images of 64x64, trained with jitter and mirroring on the 400
pairs of `train`, tested on the 106 of `test`. The distances are those in the space of SqueezeNet: to the true
facades of the same label maps, and to the training images.

Expected: the distance to the true facades is clearly smaller than that of the network trained by L1 alone.
"""

from timed import COLUMNS, SQUEEZENET, Bench, draw, options_of, save_rows, score, table, verdict

from ganlib.evaluation.measures.shortcuts import mean_image

import numpy as np  # isort: skip

CLEARLY = 0.8  # of the distance of L1 alone
SECTIONS = {
    "model": {
        "kind": "unet",
        "width": 24,
        "convolutions": 1,
        "dropout": 0.0,
        "discriminator_layers": 2,
        "discriminator_norm": "instance",
    },
    "objective": "non_saturating",
    "training": {
        "batch_size": 4,
        # Larger than the paper's 2e-4, since there are fewer steps than in the paper.
        "generator_optimizer": {"kind": "adam", "learning_rate": 1e-3},
        "discriminator_optimizer": {"kind": "adam", "learning_rate": 5e-4},
        "ema_decay": 0.99,
        "schedule": "linear",
        "decay_start_fraction": 0.5,
    },
}
WEIGHTS = {"pix2pix": 1.0, "L1 alone": 0.0}


def main() -> None:
    """Trains both networks, scores them and prints the table."""
    parser = options_of(__doc__, minutes=60, work="benchmark-facades")
    options = parser.parse_args()
    bench = Bench.of(options)
    source = {"kind": "paired_images", "path": str(options.data / "facades.zip"), "input": "right"}
    data = {"name": "facades", "source": source, "size": 64, "colour": "rgb", "flip": True, "jitter": 1.117}
    evaluation = {"extractor": {"kind": "squeezenet", "weights": str(options.data / SQUEEZENET)}}
    drawn = {}
    for name, weight in WEIGHTS.items():
        task = {"kind": "paired_translation", "adversarial_weight": weight}
        config = bench.config(SECTIONS | {"data": data, "evaluation": evaluation, "task": task})
        dataset, reference = bench.data(config, "data")
        model = bench.train(config, dataset, reference, name.replace(" ", "-"))
        drawn[name] = draw(model, dataset, count=bench.samples)
    known = drawn["pix2pix"]
    images = {name: each.images for name, each in drawn.items()}
    images["doing nothing"] = known.unchanged
    images["the mean facade"] = np.broadcast_to(mean_facade(dataset), known.truths.shape)
    rows = {name: score(each, known, reference) for name, each in images.items()}
    print(table(f"facades, {len(known.images)} test pairs", rows, COLUMNS))
    distances = {name: row["fd to truths"] for name, row in rows.items()}
    limit = CLEARLY * distances["L1 alone"]
    print(verdict(f"fd to truths ({CLEARLY:g} x L1 alone)", ours=distances["pix2pix"], limit=limit, lower=True))
    columns = {"input": known.unchanged} | {name: each.images for name, each in drawn.items()}
    columns["truth"] = known.truths
    save_rows(bench.work / f"facades-{bench.budget}.png", columns)


def mean_facade(dataset) -> np.ndarray:
    """Returns the mean of the training facades, uint8 [H, W, C]."""
    return np.rint(mean_image(dataset.of("targets"))).astype(np.uint8)


if __name__ == "__main__":
    main()
