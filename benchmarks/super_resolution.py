"""Enlarges flowers of 16 and 32 pixels to 64, beside bicubic interpolation, with and without the adversarial terms.

    python benchmarks/super_resolution.py --data FOLDER [--minutes 10 | --steps N]

FOLDER has `flowers_128.zip` and the weights of SqueezeNet. Bicubic interpolation is what doing nothing gives, since the
input of the network is an enlarged image. For each factor the same network is trained twice for the same minutes: by
differences alone (weight 0), and with the adversarial terms. They are tested on a fifth of the flowers.

Expected: PSNR of weight 0 above that of bicubic interpolation, and a distance of the adversarial network below that of
weight 0.
"""

from timed import COLUMNS, Bench, draw, flower_sections, options_of, save_rows, score, table, verdict

FACTORS = (2, 4)
GAMES = {"weight 0": 0.0, "adversarial": 0.3}
SECTIONS = {
    "model": {
        "kind": "unet",
        "depth": 3,
        "width": 24,
        "convolutions": 1,
        "norm": "none",
        "dropout": 0.0,
        "discriminator_layers": 2,
        "discriminator_width": 32,
        "discriminator_norm": "spectral",
    },
    "objective": "non_saturating",
    "training": {
        "batch_size": 8,
        "generator_optimizer": {"kind": "adam", "learning_rate": 1e-3},
        "discriminator_optimizer": {"kind": "adam", "learning_rate": 4e-4},
        "schedule": "linear",
        "decay_start_fraction": 0.3,
    },
}


def main() -> None:
    """Trains, scores and prints a table for each factor."""
    options = options_of(__doc__, minutes=10, work="benchmark-super-resolution").parse_args()
    bench = Bench.of(options)
    for factor in FACTORS:
        drawn = {}
        for game, weight in GAMES.items():
            damage = {"kind": "downscale", "factor": factor}
            task = {"kind": "restoration", "damage": damage, "adversarial_weight": weight, "feature_weight": 3.0}
            task["residual"] = True
            config = bench.config(SECTIONS | flower_sections(options.data) | {"task": task})
            dataset, reference = bench.data(config, "flowers")
            model = bench.train(config, dataset, reference, f"flowers-{factor}-{game.replace(' ', '-')}")
            drawn[game] = draw(model, dataset, count=bench.samples)
        first = drawn["weight 0"]
        images = {game: each.images for game, each in drawn.items()} | {"bicubic": first.unchanged}
        rows = {name: score(values, first, reference) for name, values in images.items()}
        print(table(f"flowers, {64 // factor} to 64 pixels, {len(first.images)} test images", rows, COLUMNS))
        print(verdict("PSNR of weight 0", ours=rows["weight 0"]["psnr"], limit=rows["bicubic"]["psnr"], lower=False))
        ours, other = (rows[game]["fd to truths"] for game in ("adversarial", "weight 0"))
        print(verdict("fd to truths, adversarial", ours=ours, limit=other, lower=True), flush=True)
        save_rows(bench.work / f"flowers-{factor}-{bench.budget}.png", images | {"undamaged": first.truths})


if __name__ == "__main__":
    main()
