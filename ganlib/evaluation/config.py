"""The section `evaluation`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ganlib.evaluation.extractors import AnyExtractor, Classifier, Extractor, Inception, Random
from ganlib.schema import READ, Config

ReferenceSplit = Literal["train", "test", "all"]


class EvaluationConfig(Config):
    """Feature space, number of samples and real images of the scores."""

    extractor: AnyExtractor | None = None
    """Feature space: inception, classifier, squeezenet, random or rotation. Null means inception if inception_weights
    is set, classifier if the images have labels, and random otherwise."""
    inception_weights: str | None = Field(default=None, json_schema_extra=READ)
    """File of the Inception network of 2015, which defines FID: path, or `gs://`, `s3://` or `https://` address of
    classify_image_graph_def.pb, of the .tgz with it, or of pt_inception-2015-12-05-6726825d.pth. Null means
    https://storage.googleapis.com/download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz, which is
    downloaded once to the download cache (GAN_PIPELINES_CACHE)."""
    samples: int | None = Field(default=None, ge=2)
    """Number of generated images to score; null means the number of real test images. FID is usually published with
    10,000 or 50,000. Scores of real images use the same number, or all that there are (the table names it)."""
    reference_split: ReferenceSplit = "train"
    """Real images to compare generated ones with: train, test or all. Scores of real images compare test images with
    training images; for test, the other way round."""
    generator: Literal["best", "last"] = "best"
    """Which of the two saved generators is scored and exported."""
    classification_accuracy: bool = False
    """Whether to train classifiers on generated images and test them on real ones: three trainings, needs classes."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Seed of the training of the extractor and of the samples."""
    fresh_samples: bool = False
    """Whether these samples only check a model that was chosen by others, as the winner of a comparison is. MLflow then
    has the scores beside the first ones, under names that begin with check_."""

    @model_validator(mode="after")
    def _check_weights(self) -> EvaluationConfig:
        if not (self.inception_weights is None or self.extractor is None or isinstance(self.extractor, Inception)):
            raise ValueError(
                "weights of the Inception network need extractor=inception or null. "
                f"Received: extractor={self.extractor.kind}, inception_weights={self.inception_weights!r}"
            )
        return self

    def with_fresh_samples(self) -> EvaluationConfig:
        """Returns the settings with another seed, for samples that no model was chosen by."""
        return self.model_copy(update={"seed": (self.seed + 1) % 2**31, "fresh_samples": True})

    def space(self, *, labelled: bool) -> Extractor:
        """Returns the extractor for images with or without labels."""
        if self.extractor is not None:
            return self.extractor
        if self.inception_weights is not None:
            return Inception()
        return Classifier() if labelled else Random()
