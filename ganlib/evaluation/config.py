"""The section `evaluation`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ganlib.evaluation.extractors import AnyExtractor, Classifier, Extractor, Inception, Random
from ganlib.schema import Config

ReferenceSplit = Literal["train", "test", "all"]


class EvaluationConfig(Config):
    """In which feature space, and on how many samples, generated images are judged."""

    extractor: AnyExtractor | None = None
    """Feature space: inception, classifier, squeezenet, random or rotation; null means inception where its weights are
    given, else classifier where there are labels, else random."""
    inception_weights: str | None = None
    """File of the Inception network of 2015, by which FID is defined: a path, a `gs://` or an `https://` address of
    classify_image_graph_def.pb, the .tgz that holds it, or pt_inception-2015-12-05-6726825d.pth; null means
    https://storage.googleapis.com/download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz, kept in the
    folder of downloads (GAN_PIPELINES_CACHE)."""
    samples: int | None = Field(default=None, ge=2)
    """Generated images to score; null means as many as there are real test images. FID is mostly published with 10,000
    or 50,000. The floors are of as many real images, or of all that there are, and then say of how many."""
    reference_split: ReferenceSplit = "train"
    """Real images that generated ones are held against: train, test or all of them. Floors are of the test images
    beside the training images, or with test the other way round."""
    generator: Literal["best", "last"] = "best"
    """Which of the two kept generators is judged and shipped."""
    classification_accuracy: bool = False
    """Whether classifiers are trained on generated images and tested on real ones; three trainings, needs classes."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Seed of the extractor's training and of the samples."""

    @model_validator(mode="after")
    def _check_weights(self) -> EvaluationConfig:
        if not (self.inception_weights is None or self.extractor is None or isinstance(self.extractor, Inception)):
            raise ValueError(
                "weights of the Inception network beside another feature space, expected extractor=inception or null. "
                f"Received: extractor={self.extractor.kind}, inception_weights={self.inception_weights!r}"
            )
        return self

    def space(self, *, labelled: bool) -> Extractor:
        """Returns the feature space that is meant, for images with or without labels."""
        if self.extractor is not None:
            return self.extractor
        if self.inception_weights is not None:
            return Inception()
        return Classifier() if labelled else Random()
