"""Repairs holes in flowers and digits, beside classical methods on the same images and masks.

    pip install opencv-python-headless==5.0.0.93 scikit-image==0.26.0
    python benchmarks/inpainting.py --data FOLDER [--only flowers digits] [--minutes 60 | --steps N]

FOLDER has `flowers_128.zip` and the weights of SqueezeNet. A network is trained with LaMa's training masks on flowers
of 64x64, and tested with medium and thick ones on a fifth of the flowers that it never saw. The distances are those in
the space of SqueezeNet: to the undamaged images themselves, as LaMa's authors measure, and to the training images. The
digits are those of the preset `digits-inpaint`; `read` is the share that a support vector machine, which knows only
real digits, takes for the digit that it was.

Expected: a distance of at most half of the best classical one, and no larger `l1_hole`; digits read at least as well.
"""

import functools
from collections.abc import Callable
from pathlib import Path

from timed import COLUMNS, Bench, Drawn, draw, flower_sections, options_of, save_rows, score, table, verdict

import numpy as np  # isort: skip
from judge import Judge, to_digits_scale  # isort: skip
from pipelines.settings import resolve  # isort: skip

try:
    import cv2
    from skimage.restoration import inpaint_biharmonic
except ImportError as error:
    raise SystemExit(f"pip install opencv-python-headless==5.0.0.93 scikit-image==0.26.0 ({error})") from error

MASKS = ("medium", "thick")  # of the test
RADIUS = 3  # of OpenCV's methods, in pixels, as in its documentation
FLOWERS = {
    "task": {
        "kind": "restoration",
        "damage": {"kind": "mask", "shape": "training"},
        "hole_l1_weight": 15.0,
        "adversarial_weight": 1.0,
        "feature_weight": 10.0,
    },
    "model": {
        "kind": "fourier",
        "width": 32,
        "halvings": 2,
        "blocks": 6,
        "discriminator_layers": 2,
        "discriminator_width": 32,
    },
    "objective": {"kind": "non_saturating", "r1": 0.002},
    "training": {
        "batch_size": 8,
        "generator_optimizer": {"kind": "adam", "learning_rate": 1e-3, "beta_1": 0.9},
        "discriminator_optimizer": {"kind": "adam", "learning_rate": 1e-4, "beta_1": 0.9},
        "schedule": "linear",
        "decay_start_fraction": 0.5,
    },
}

Repair = Callable[[np.ndarray, np.ndarray], np.ndarray]


def main() -> None:
    """Trains, scores and prints the tables."""
    parser = options_of(__doc__, minutes=60, work="benchmark-inpainting")
    parser.add_argument("--digits-minutes", type=float, default=5, help="minutes of the training on digits")
    parser.add_argument("--only", nargs="+", choices=("flowers", "digits"), default=["flowers", "digits"])
    options = parser.parse_args()
    if "flowers" in options.only:
        flowers(Bench.of(options), options.data)
    if "digits" in options.only:
        options.minutes, options.steps = options.digits_minutes, None
        digits(Bench.of(options))


def flowers(bench: Bench, folder: Path) -> None:
    """Trains on flowers and tests with each kind of masks."""
    config = bench.config(FLOWERS | flower_sections(folder))
    dataset, reference = bench.data(config, "flowers")
    model = bench.train(config, dataset, reference, "flowers")
    for shape in MASKS:
        damage = {"kind": "mask", "shape": shape}
        task = type(config.task).model_validate({**config.task.model_dump(), "test_damage": damage})
        drawn = draw(model, dataset, task=task, count=bench.samples)
        repaired = {"ours": drawn.images, **classical(drawn)}
        rows = {name: score(images, drawn, reference) for name, images in repaired.items()}
        print(table(f"flowers, {shape} masks, {drawn.holes.mean():.0%} holes", rows, COLUMNS))
        report_best(rows, "fd to truths", factor=0.5)
        report_best(rows, "l1_hole")
        save_rows(bench.work / f"flowers-{shape}-{bench.budget}.png", repaired | {"undamaged": drawn.truths})


def digits(bench: Bench) -> None:
    """Trains on digits, and lets a classifier read them."""
    config = resolve(chosen=["digits-inpaint"], assignments=[f"training.seed={bench.seed}", *bench.assignments])
    dataset, reference = bench.data(config, "digits")
    model = bench.train(config, dataset, reference, "digits")
    drawn = draw(model, dataset, count=bench.samples)
    repaired = {"ours": drawn.images, **classical(drawn), "undamaged": drawn.truths}
    judge, labels = Judge(), dataset.load("test")[1][: len(drawn.images)]
    rows = {
        name: score(images, drawn, reference) | {"read": (judge.classify(to_digits_scale(images))[0] == labels).mean()}
        for name, images in repaired.items()
    }
    print(table(f"digits, {drawn.holes.mean():.0%} holes", rows, COLUMNS))
    best = max(row["read"] for name, row in rows.items() if name not in ("ours", "undamaged"))
    print(verdict("digits read", ours=rows["ours"]["read"], limit=best, lower=False))
    save_rows(bench.work / f"digits-{bench.budget}.png", repaired)


def classical(drawn: Drawn) -> dict[str, np.ndarray]:
    """Returns the damaged images, and what the classical methods make of them."""
    methods: dict[str, Repair] = {
        "mean of the known pixels": fill_mean,
        "OpenCV, Telea": functools.partial(inpaint, method=cv2.INPAINT_TELEA),
        "OpenCV, Navier-Stokes": functools.partial(inpaint, method=cv2.INPAINT_NS),
        "scikit-image, biharmonic": biharmonic,
    }
    results = {"doing nothing": drawn.unchanged}
    for name, method in methods.items():
        images = [method(*pair) for pair in zip(drawn.unchanged, drawn.holes[..., 0], strict=True)]
        results[name] = np.where(drawn.holes, np.stack(images).reshape(drawn.unchanged.shape), drawn.unchanged)
    return results


def inpaint(image: np.ndarray, hole: np.ndarray, *, method: int) -> np.ndarray:
    """Repairs an image uint8 [H, W, C] where the hole is True, with OpenCV."""
    return cv2.inpaint(np.ascontiguousarray(image), hole.astype(np.uint8), RADIUS, method)


def biharmonic(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Repairs an image uint8 [H, W, C] where the hole is True, with scikit-image."""
    result = inpaint_biharmonic(image / 255.0, hole, channel_axis=-1, split_into_regions=True)
    return np.clip(np.rint(result * 255.0), 0, 255).astype(np.uint8)


def fill_mean(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fills the hole of an image uint8 [H, W, C] with the mean colour of the rest."""
    return np.where(hole[..., None], np.rint(image[~hole].mean(axis=0)), image).astype(np.uint8)


def report_best(rows: dict[str, dict[str, float]], column: str, *, factor: float = 1.0) -> None:
    """Compares our value with the lowest classical one, or with a fraction of it."""
    others = {name: row[column] for name, row in rows.items() if name != "ours"}
    best = min(others, key=others.__getitem__)
    limit = factor * others[best]
    print(verdict(f"{column} ({factor:g} x {best})", ours=rows["ours"][column], limit=limit, lower=True), flush=True)


if __name__ == "__main__":
    main()
