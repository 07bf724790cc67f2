"""Features of the network by which FID and KID are defined."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ganlib.environment import standard_keras
from ganlib.evaluation.extractors import inception_network, inception_weights
from ganlib.evaluation.extractors.base import FittedExtractor, FixedExtractor
from ganlib.evaluation.extractors.resizing import ResizeMode

BATCH = 32


class Inception(FixedExtractor):
    """The last pooling of the Inception network of 2015: the space of FID, KID and the inception score."""

    kind: Literal["inception"] = "inception"
    resize_mode: ResizeMode = "legacy"
    """How images reach 299x299: `legacy`, bilinear without antialiasing as in the original graph, or `clean`,
    antialiased bicubic; legacy because it is what most published values were measured with."""

    @standard_keras()
    def load(self, weights: Path | None = None) -> FittedExtractor:
        """Fills the network with the weights of a file, or with the canonical ones; see the base class."""
        read = inception_weights.canonical() if weights is None else inception_weights.read(weights)
        if not read.recognised:
            print(
                "warning: these are not the canonical Inception weights, so no score will be called fid, kid or "
                f"inception_score. Received: inception_weights={str(weights)!r}",
                flush=True,
            )
        network = inception_network.build()
        read.fill(network)
        return FittedExtractor(
            name=f"inception_{self.resize_mode}",
            network=network,
            classes=(),
            facts={
                "weights_sha256": read.sha256,
                "recognised": read.recognised,
                "fingerprints": read.fingerprints,
            },
            resize_mode=self.resize_mode,
            canonical=read.recognised,
            batch=BATCH,
        )
