"""Removes noise from Fashion-MNIST and flowers, beside non-local means, with and without the adversarial terms.

    pip install opencv-python-headless==5.0.0.93 scikit-image==0.26.0
    python benchmarks/denoising.py --data FOLDER [--only fashion_mnist flowers] [--minutes 60 | --steps N]

FOLDER has `fashion_mnist/` with the four idx files, `flowers_128.zip` and the weights of SqueezeNet. For each dataset
the same network is trained twice for the same minutes, on Gaussian noise of any strength from 15 to 55: by differences
alone (weight 0), and with the adversarial terms. Both are tested at 25 and at 50. The strength of the filters of
non-local means is the one that is best on training images at each noise.

Expected: PSNR of weight 0 above that of the best non-local means, and a distance of the adversarial network below that
of weight 0.
"""

import functools
from pathlib import Path
from typing import Any

from timed import COLUMNS, Bench, Drawn, draw, flower_sections, options_of, save_rows, score, table, verdict

import numpy as np  # isort: skip

try:
    import cv2
    from skimage.restoration import denoise_nl_means
except ImportError as error:
    raise SystemExit(f"pip install opencv-python-headless==5.0.0.93 scikit-image==0.26.0 ({error})") from error

SIGMAS = (25.0, 50.0)  # of the test, of 255
RANGE = [15.0, 55.0]  # of the training
PATCH, WINDOW = 5, 13  # sides of the patches that are compared and of the window that they are found in, in pixels
STRENGTHS = (0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.2)  # times sigma
TUNED_ON = 40  # training images
GAMES = {"weight 0": 0.0, "adversarial": 1.0}
SECTIONS = {
    "model": {
        "kind": "unet",
        "depth": 2,
        "width": 32,
        "convolutions": 1,
        "dropout": 0.0,
        "discriminator_layers": 2,
        "discriminator_width": 32,
        "discriminator_norm": "spectral",
    },
    "objective": "non_saturating",
    "training": {
        "batch_size": 32,
        "generator_optimizer": {"kind": "adam", "learning_rate": 1e-3},
        "discriminator_optimizer": {"kind": "adam", "learning_rate": 4e-4},
        "schedule": "linear",
        "decay_start_fraction": 0.3,
    },
}


def main() -> None:
    """Trains, scores and prints the tables."""
    parser = options_of(__doc__, minutes=60, work="benchmark-denoising")
    names = ("fashion_mnist", "flowers")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="datasets")
    options = parser.parse_args()
    for name in options.only:
        compare(Bench.of(options), name, sections_of(name, options.data))


def sections_of(name: str, folder: Path) -> dict[str, Any]:
    """Returns the sections `data` and `evaluation` of a dataset."""
    if name == "fashion_mnist":
        source = {"kind": "arrays", "path": str(folder / "fashion_mnist")}
        data = {"name": name, "source": source, "size": 28, "colour": "grey", "train_images": 20_000}
        return {"data": data, "evaluation": {"extractor": "classifier", "samples": 1000}}
    return flower_sections(folder)


def compare(bench: Bench, name: str, sections: dict[str, Any]) -> None:
    """Trains both networks on a dataset, and prints a table for each test noise."""
    models = {}
    for game, weight in GAMES.items():
        damage = {"kind": "noise", "sigma": RANGE}
        task = {"kind": "restoration", "damage": damage, "adversarial_weight": weight, "feature_weight": 10.0}
        config = bench.config(SECTIONS | sections | {"task": task})
        dataset, reference = bench.data(config, name)
        models[game] = bench.train(config, dataset, reference, f"{name}-{game.replace(' ', '-')}")
    training = next(dataset.read("train"))[0][:TUNED_ON]
    for sigma in SIGMAS:
        damage = {"kind": "noise", "sigma": sigma}
        task = type(config.task).model_validate({**config.task.model_dump(), "test_damage": damage})
        count = bench.samples or config.evaluation.samples
        drawn = {game: draw(model, dataset, task=task, count=count) for game, model in models.items()}
        first = drawn["weight 0"]
        images = {game: each.images for game, each in drawn.items()} | {"doing nothing": first.unchanged}
        images |= non_local_means(first, training, sigma)
        rows = {each: score(values, first, reference) for each, values in images.items()}
        print(table(f"{name}, sigma {sigma:g}, {len(first.images)} test images", rows, COLUMNS))
        best = max(row["psnr"] for each, row in rows.items() if each not in GAMES)
        print(verdict("PSNR of weight 0", ours=rows["weight 0"]["psnr"], limit=best, lower=False))
        ours, other = (rows[game]["fd to truths"] for game in ("adversarial", "weight 0"))
        print(verdict("fd to truths, adversarial", ours=ours, limit=other, lower=True), flush=True)
        save_rows(bench.work / f"{name}-{sigma:g}-{bench.budget}.png", images | {"undamaged": first.truths})


def non_local_means(drawn: Drawn, training: np.ndarray, sigma: float) -> dict[str, np.ndarray]:
    """Returns what non-local means make of the noisy images.

    Args:
        drawn: The noisy images.
        training: Images that the strength of the filter is chosen on, uint8 [N, H, W, C].
        sigma: Standard deviation of the noise.
    """
    noise = np.random.default_rng(0).normal(0.0, sigma, training.shape)
    noisy = np.clip(np.rint(training + noise), 0, 255).astype(np.uint8)
    results = {}
    for name, method in {"scikit-image": scikit_image, "OpenCV": opencv}.items():
        tools = {strength: functools.partial(method, sigma=sigma, strength=strength) for strength in STRENGTHS}
        filtered = {strength: np.stack([tool(image) for image in noisy]) for strength, tool in tools.items()}
        errors = {
            strength: np.square(images - training.astype(np.float64)).mean() for strength, images in filtered.items()
        }
        best = min(errors, key=errors.__getitem__)
        images = np.stack([tools[best](image) for image in drawn.unchanged])
        results[f"non-local means, {name}, h = {best:g} sigma"] = images
    return results


def scikit_image(image: np.ndarray, *, sigma: float, strength: float) -> np.ndarray:
    """Filters an image uint8 [H, W, C] with scikit-image, which knows the noise."""
    settings = {"patch_size": PATCH, "patch_distance": WINDOW // 2, "fast_mode": True, "channel_axis": -1}
    result = denoise_nl_means(image / 255.0, h=strength * sigma / 255, sigma=sigma / 255, **settings)
    return np.clip(np.rint(result * 255.0), 0, 255).astype(np.uint8).reshape(image.shape)


def opencv(image: np.ndarray, *, sigma: float, strength: float) -> np.ndarray:
    """Filters an image uint8 [H, W, C] with OpenCV."""
    settings = {"templateWindowSize": PATCH, "searchWindowSize": WINDOW}
    result = cv2.fastNlMeansDenoising(np.ascontiguousarray(image), h=strength * sigma, **settings)
    return result.reshape(image.shape)


if __name__ == "__main__":
    main()
