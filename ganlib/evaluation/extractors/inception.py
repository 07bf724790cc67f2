"""Features of the Inception network that defines FID and KID."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ganlib.environment import standard_keras
from ganlib.evaluation.extractors import inception_network, inception_weights
from ganlib.evaluation.extractors.base import FittedExtractor, FixedExtractor
from ganlib.evaluation.extractors.resizing import ResizeMode

BATCH = 32


class Inception(FixedExtractor):
    """The last pooling layer of the Inception network of 2015: the features of FID, KID and the inception score."""

    kind: Literal["inception"] = "inception"
    resize_mode: ResizeMode = "legacy"
    """How images are resized to 299x299: `legacy`, bilinear without antialiasing as in the original graph, or `clean`,
    bicubic with antialiasing. Most published values were measured with legacy."""

    @standard_keras()
    def load(self, weights: Path | None = None) -> FittedExtractor:
        """Builds the network with the weights of a file, or with the canonical weights."""
        loaded = inception_weights.canonical() if weights is None else inception_weights.read(weights)
        if not loaded.recognised:
            print(
                "warning: these are not the canonical Inception weights, so no score will be called fid, kid or "
                f"inception_score. Received: inception_weights={str(weights)!r}",
                flush=True,
            )
        network = inception_network.build()
        loaded.fill(network)
        return FittedExtractor(
            name=f"inception_{self.resize_mode}",
            network=network,
            classes=(),
            facts={
                "weights_sha256": loaded.sha256,
                "recognised": loaded.recognised,
                "fingerprints": loaded.fingerprints,
            },
            resize_mode=self.resize_mode,
            canonical=loaded.recognised,
            batch=BATCH,
        )
