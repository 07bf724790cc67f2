"""Roses to sunflowers and back, without pairs.

    python benchmarks/roses_sunflowers.py --data FOLDER [--minutes 60 | --steps N]

FOLDER has `flowers_128.zip` and the weights of SqueezeNet. The domains are two classes of the flowers, of 64x64. The
distances are those in the space of SqueezeNet to the training images of the other domain. There is no truth to compare
with, so look at the picture: roses, what they became and those translated back, then the same of sunflowers.

Expected: the distance of each direction is smaller than that of doing nothing.
"""

from timed import COLUMNS, SQUEEZENET, Bench, draw, options_of, save_rows, score, table, verdict
from translation_truth import MEASURES, translator, unpaired_measures

from ganlib.tasks.unpaired_translation import BACKWARD, FORWARD

SOURCE, TARGET = "rose", "sunflower"
TEST_FRACTION = 0.2
SECTIONS = {
    # Without the identity terms light and dark were exchanged (`luminance_correlation` -0.8): a black background became
    # a pale blue sky.
    "task": {
        "kind": "unpaired_translation",
        "source": SOURCE,
        "target": TARGET,
        "cycle_weight": 5.0,
        "identity_weight": 0.5,
    },
    "model": {
        "kind": "resnet_translator",
        "width": 32,
        "blocks": 6,
        "discriminator_layers": 2,
        "discriminator_width": 48,
        "discriminator_norm": "spectral",
    },
    "objective": "hinge",
    "training": {
        "batch_size": 4,
        "generator_optimizer": {"kind": "adam", "learning_rate": 4e-4},
        "discriminator_optimizer": {"kind": "adam", "learning_rate": 4e-4},
        "schedule": "linear",
        "decay_start_fraction": 0.5,
    },
}
DIRECTIONS = {FORWARD: f"{SOURCE} to {TARGET}", BACKWARD: f"{TARGET} to {SOURCE}"}


def main() -> None:
    """Trains, scores and prints the tables."""
    parser = options_of(__doc__, minutes=60, work="benchmark-roses")
    options = parser.parse_args()
    bench = Bench.of(options)
    source = {"kind": "archive", "path": str(options.data / "flowers_128.zip"), "test_fraction": TEST_FRACTION}
    data = {"name": "flowers", "source": source, "size": 64, "colour": "rgb", "flip": True, "jitter": 1.117}
    evaluation = {"extractor": {"kind": "squeezenet", "weights": str(options.data / SQUEEZENET)}}
    config = bench.config(SECTIONS | {"data": data, "evaluation": evaluation})
    dataset, reference = bench.data(config, "roses")
    model = bench.train(config, dataset, reference, "roses")
    drawn = {name: draw(model, dataset, network=name, count=bench.samples) for name in DIRECTIONS}
    inputs = {name: each.unchanged for name, each in drawn.items()}
    others = {FORWARD: BACKWARD, BACKWARD: FORWARD}
    for name, title in DIRECTIONS.items():
        images, space = drawn[name].images, reference.of(name)
        rows = {"ours": score(images, drawn[name], space), "doing nothing": score(inputs[name], drawn[name], space)}
        print(table(f"{title}, {len(images)} test images", rows, COLUMNS))
        floor = space.floor(len(images))
        print(f"floor of the distance, real images: {floor:.2f}")
        print(verdict("fd", ours=rows["ours"]["fd"], limit=rows["doing nothing"]["fd"], lower=True))
        print(table("without the truth", {"ours": unpaired_measures(model, name, inputs)}, MEASURES), flush=True)
    columns = {}
    for name in DIRECTIONS:
        images = drawn[name].images
        columns |= {
            f"input {name}": inputs[name],
            name: images,
            f"{name} and back": translator(model, others[name])(images),
        }
    save_rows(bench.work / f"roses-{bench.budget}.png", columns)


if __name__ == "__main__":
    main()
