"""Measures of a translation whose truth is unknown, from the inputs and what the networks make of them.

- Cycle and identity error (Zhu et al. 2017, https://arxiv.org/abs/1703.10593): the mean absolute difference of an image
  to its translation there and back, and of an image of the target domain to its translation.
- Correlation of luminance: a translator that inverts brightness has a negative one, and a good cycle all the same.
- Hidden information (Chu et al. 2017, https://arxiv.org/abs/1712.02950): a cycle can be good because the translation
  carries the input in noise that nobody sees. Then it breaks as soon as the translation is disturbed a little.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.scores import Score, mean_score

with epy.lazy_imports():
    import numpy as np
    from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]
    Pairs = Iterable[tuple[Images, Images]]
    Translate = Callable[[Images], Images]

PEAK = 255.0
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue, as in Recommendation ITU-R BT.601
NOISE = 4.0  # grey levels, standard deviation: hardly visible
JPEG_QUALITY = 90
JPEG_CHANNELS = (1, 3)
CYCLE = "mean absolute difference of inputs to their translation there and back, of pixels in 0..1; lower is better"


def cycle_error(pairs: Pairs) -> Score:
    """Returns the mean absolute difference of inputs to their translation there and back.

    Args:
        pairs: Batches of inputs uint8 [n, H, W, C] and of their translations back, of the same shape.
    """
    return mean_score("cycle_error", _differences(pairs), CYCLE)


def identity_error(pairs: Pairs) -> Score:
    """Returns how much a translator changes images that are of the target domain already.

    Args:
        pairs: Batches of images of the target domain, uint8 [n, H, W, C], and of their translations.
    """
    meaning = "mean absolute difference of images of the target domain to their translation, of pixels in 0..1"
    return mean_score("identity_error", _differences(pairs), f"{meaning}; lower is better")


def luminance_correlation(pairs: Pairs) -> list[Score]:
    """Returns the mean correlation of the luminance of inputs and translations, over the pixels of each image.

    The luminance is the weighted sum of red, green and blue as they are stored, and the mean of any other number of
    channels. An image of one brightness has no correlation and is left out; if all are, there is no score.

    Args:
        pairs: Batches of inputs uint8 [n, H, W, C] and of their translations [n, H, W, any number of channels].
    """
    correlations = []
    for inputs, translations in pairs:
        one, other = _luminance(inputs), _luminance(translations)
        varied = (np.ptp(one, axis=1) > 0) & (np.ptp(other, axis=1) > 0)
        one, other = (rows[varied] - rows[varied].mean(axis=1, keepdims=True) for rows in (one, other))
        sizes = np.sqrt(np.square(one).sum(axis=1) * np.square(other).sum(axis=1))
        correlations.append((one * other).sum(axis=1) / sizes)
    values = np.concatenate(correlations)
    meaning = "mean correlation of the luminance of inputs and translations, -1 to 1; below 0, brightness is inverted"
    return [mean_score("luminance_correlation", values, meaning)] if len(values) else []


def hidden_information(
    cycles: Iterable[tuple[Images, Images, Images]], back: Translate, *, key: int, noise: float = NOISE
) -> list[Score]:
    """Tests whether the cycle lives on details of the translation that a little noise or JPEG compression destroys.

    The value is the cycle error with the disturbance, divided by the sum of the error without it and the size of the
    disturbance (mean absolute difference of pixels). Up to 1, the way back does no more than pass the disturbance on:
    that holds for perfect cycles, whose error is 0, as well as for bad ones. A value well above 1 means that it
    amplifies the disturbance, so what it reads is hidden in small details: 4 to 9 where a picture is hidden in the
    lowest 2 to 5 bits of another one. A way back that has to increase the contrast, by a factor of 2 for example, has
    up to 2. What is hidden in larger details than the disturbance escapes this test.

    Args:
        cycles: Batches of inputs uint8 [n, H, W, C], of their translations [n, H, W, any number of channels], and of
            these translated back.
        back: Translates back.
        key: Key of the noise. How inputs are divided into batches makes no difference.
        noise: Standard deviation of the noise in grey levels; 2 to 5 are sensible.

    Returns:
        `cycle_error`, and for each of `noise` and `jpeg` (quality 90, with halved colour) a `cycle_error_...` and a
        `hidden_information_...`. For channels that JPEG cannot store, those of JPEG are left out, and so is a ratio if
        the disturbance changed nothing and the cycle is perfect.
    """
    random = np.random.default_rng(key)
    errors: list[NDArray[np.float64]] = []
    disturbed: dict[str, list[NDArray[np.float64]]] = {}
    for inputs, translations, returned in cycles:
        errors.append(absolute_differences(inputs, returned))
        versions = {"noise": _add_noise(translations, random, noise)}
        if translations.shape[-1] in JPEG_CHANNELS:
            versions["jpeg"] = np.stack([_compress(image) for image in translations])
        for name, version in versions.items():
            rows = np.stack([absolute_differences(inputs, back(version)), absolute_differences(translations, version)])
            disturbed.setdefault(name, []).append(rows)
    error = np.concatenate(errors)
    scores = [mean_score("cycle_error", error, CYCLE)]
    texts = {"noise": f"noise of {noise:g} grey levels", "jpeg": f"JPEG compression of quality {JPEG_QUALITY}"}
    for name, parts in disturbed.items():
        scores += _amplification(name, error, *np.concatenate(parts, axis=1), text=texts[name])
    return scores


def _amplification(
    name: str, error: NDArray[np.float64], after: NDArray[np.float64], size: NDArray[np.float64], *, text: str
) -> list[Score]:
    """Returns the cycle error after a disturbance, and how much more it is than the disturbance explains.

    Args:
        name: Name of the disturbance.
        error: Cycle error of each image [N] without it.
        after: Cycle error of each image [N] with it.
        size: Mean absolute difference that it makes to each translation [N].
        text: Description of the disturbance.
    """
    scores = [mean_score(f"cycle_error_{name}", after, f"the cycle error with {text} on the translation")]
    explained = error.mean() + size.mean()
    if explained > 0:
        ratio = after.mean() / explained
        residuals = (after - ratio * (error + size)) / explained  # the ratio of means, to first order
        meaning = f"cycle error with {text}, over what it explains; well above 1, the cycle lives on hidden details"
        score = mean_score(f"hidden_information_{name}", residuals, meaning)
        scores.append(replace(score, value=float(ratio)))
    return scores


def _differences(pairs: Pairs) -> NDArray[np.float64]:
    return np.concatenate([absolute_differences(first, second) for first, second in pairs])


def absolute_differences(first: Images, second: Images) -> NDArray[np.float64]:
    """Returns the mean absolute difference [n] of images [n, H, W, C], of pixels in 0..1."""
    if first.shape != second.shape:
        raise ValueError(f"expected images of one shape. Received: {first.shape} and {second.shape}")
    return np.abs(first.astype(np.float64) - second).mean(axis=(1, 2, 3)) / PEAK


def _luminance(images: Images) -> NDArray[np.float64]:
    """Returns the luminance of images [n, H, W, C], float64 [n, H * W]."""
    channels = images.shape[-1]
    weights = np.array(LUMINANCE if channels == len(LUMINANCE) else [1.0 / channels] * channels)
    return (images.astype(np.float64) @ weights).reshape(len(images), -1)


def _add_noise(images: Images, random: np.random.Generator, deviation: float) -> Images:
    noisy = np.round(images + random.normal(0.0, deviation, images.shape))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _compress(image: Images) -> Images:
    """Returns an image [H, W, 1 or 3] after JPEG compression."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    with io.BytesIO() as file:
        picture.save(file, format="JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
        with Image.open(file) as compressed:
            return np.asarray(compressed).reshape(image.shape)
