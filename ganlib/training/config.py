"""The section `training`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from ganlib.schema import Config, from_single
from ganlib.training.augmentation import Transform
from ganlib.training.optimizers import Adam, Optimizer
from ganlib.training.schedules import Schedule, learning_rate_factor
from ganlib.training.strategy import Compilation, Distribution, Precision

if TYPE_CHECKING:
    import tensorflow as tf

JOB_VARIABLE = "GAN_PIPELINES_JOB"
JOB_DIGITS = 8  # of its identifier, which tell jobs apart
JOB_PLACE = "{job}"
Updates = Literal["alternating", "simultaneous"]
Reaction = Literal["note", "roll_back", "stop", "fail"]
Problem = Literal["non_finite", "saturated", "collapsed", "degraded", "plateau", "returned_input", "painted_mean"]


class HealthConfig(Config):
    """Problems of a training, and the reaction to each: note, roll_back, stop or fail.

    A rollback restores the networks of the best score, lowers the learning rates and draws other latents; steps are
    counted on. After `max_rollbacks` the reaction is to stop, or to fail where terms are not finite. A rollback that
    would change nothing is only noted: at the best state, without a better state, or at the last step.
    """

    non_finite: Literal["roll_back", "stop", "fail"] = "roll_back"
    """Reaction to a term or gradient that is infinite or NaN."""
    saturated: Reaction = "note"
    """Reaction to a discriminator that classifies all images correctly, with little loss, for `saturation_steps`."""
    collapsed: Reaction = "roll_back"
    """Reaction to samples without variance, or to near duplicates."""
    degraded: Reaction = "note"
    """Reaction to scores that stay above `degraded_factor` times the best one."""
    plateau: Reaction = "note"
    """Reaction to no better score for `patience` scores."""
    returned_input: Reaction = "note"
    """Reaction to a network that returns its inputs, for tasks that make images from images."""
    painted_mean: Reaction = "note"
    """Reaction to a network that paints the mean training image or one colour, for tasks with known true images."""
    max_rollbacks: int = Field(default=3, ge=0)
    """Most rollbacks of a run."""
    rollback_learning_rate_factor: float = Field(default=0.5, gt=0.0, le=1.0)
    """Factor on the learning rates at each rollback."""
    saturation_accuracy: float = Field(default=0.99, gt=0.5, le=1.0)
    """Accuracy of the discriminator from which it may be saturated."""
    saturation_loss: float = Field(default=0.05, gt=0.0)
    """Loss of the discriminator below which it may be saturated. Losses without a lower bound never are."""
    saturation_steps: int = Field(default=500, ge=1)
    """Consecutive steps until it counts as saturated."""
    min_variance_ratio: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Variance of the samples' features, relative to real images, below which they have collapsed."""
    min_distance_ratio: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Median distance to the nearest other sample, relative to real images, below which they are duplicates."""
    max_shortcut_share: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of samples above which a network that returns them as they were, or paints the mean, is reported."""
    collapse_scores: int = Field(default=3, ge=1)
    """Consecutive scores until samples count as collapsed, as returned inputs, or as a painted mean."""
    warmup_scores: int = Field(default=4, ge=0)
    """Scores during which samples that were never diverse do not count as collapsed, since early ones are all alike;
    nor do returned inputs and a painted mean, with which networks begin."""
    degraded_factor: float = Field(default=1.5, gt=1.0)
    """Multiple of the best score above which a score counts as degraded."""
    degraded_scores: int = Field(default=3, ge=1)
    """Consecutive degraded scores until training counts as degraded."""
    patience: int = Field(default=20, ge=1)
    """Scores without a better one until training is at a plateau."""

    @model_validator(mode="after")
    def _check_rollbacks(self) -> HealthConfig:
        reactions = {name: getattr(self, name) for name in get_args(Problem)}
        for name in ("max_rollbacks", "rollback_learning_rate_factor"):
            value = getattr(self, name)
            if "roll_back" not in reactions.values() and value != HealthConfig.model_fields[name].default:
                received = ", ".join(f"{problem}={reaction}" for problem, reaction in reactions.items())
                raise ValueError(
                    f"{name} is of no use where no reaction is roll_back. Received: {name}={value:g}, {received}"
                )
        return self


class TrainConfig(Config):
    """Settings of the training. A step is one generator update."""

    steps: int = Field(default=2000, ge=1)
    """Total number of generator updates."""
    target_score: float | None = Field(default=None, gt=0.0)
    """Early-stop score: training ends when the score that chooses the best generator is this or lower. That is the
    distance to the real images, unless the task names another score."""
    max_minutes: float | None = Field(default=None, gt=0.0)
    """Minutes of training, across restarts, after which it ends. It is checked every `steps_per_loop` steps; a schedule
    of the learning rates ends at `steps` nevertheless, so it may not come to its end."""
    batch_size: int = Field(default=64, ge=1)
    """Images in an update, over all replicas. CycleGAN and pix2pix were published with 1."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of weights, order, noise and dropout."""
    generator_optimizer: Optimizer = Adam()
    """Optimizer of the generators."""
    discriminator_optimizer: Optimizer = Adam()
    """Optimizer of the discriminators."""
    updates: Updates = "alternating"
    """alternating: generators learn from updated discriminators; simultaneous: a few percent faster, worse results."""
    schedule: Schedule = "constant"
    """Schedule of the learning rates: constant, or a linear or cosine decay to zero at the last step."""
    decay_start_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Fraction of the steps after which the decay starts."""
    ema_decay: float = Field(default=0.999, ge=0.0, lt=1.0)
    """EMA decay of the averaged generator, which is scored and exported; early on it is (1 + step) / (10 + step)."""
    ema_half_life: int | None = Field(default=None, ge=1)
    """EMA half-life in images, an alternative to ema_decay."""
    augmentation: Annotated[tuple[Transform, ...], BeforeValidator(from_single)] = ()
    """DiffAugment for little data: colour, translation, cutout, on real and generated images alike."""
    precision: Precision = "auto"
    """float32, bfloat16 or float16 (mixed), or auto: bfloat16 if the hardware supports it natively, float16 on one GPU
    whose tensor cores do not (V100, T4). float16 scales the losses and skips updates that overflow. With float32, a GPU
    may train in TensorFloat-32; scores, pictures and exports are always computed in full float32."""
    compile: Compilation = "auto"
    """Whether XLA compiles the updates: true, false, or auto, which means on a single GPU. Several replicas cannot be
    compiled. The results differ in the last bits."""
    replicas: int | None = Field(default=None, ge=1, le=64)
    """Total number of replicas; null means all GPUs, or one CPU. Without GPUs they are logical CPU devices."""
    strategy: Distribution = "auto"
    """auto: several workers if TF_CONFIG names them, otherwise mirrored; mirrored: the replicas of one machine."""
    deterministic: bool = True
    """Whether equal seeds give equal bits (float32, one replica). GPUs may be slower."""
    steps_per_loop: int = Field(default=50, ge=1)
    """Most steps per call of the graph, after which callbacks may be called."""
    sample_every: int = Field(default=200, ge=1)
    """Steps between two pictures of samples from fixed latents."""
    score_every: int = Field(default=200, ge=1)
    """Steps between two scores, distances to the real images."""
    score_samples: int | None = Field(default=None, ge=2)
    """Samples in such a score; null means 1,000, or the number of test images if there are fewer."""
    health: HealthConfig = HealthConfig()
    """Problems to detect, and the reactions to them."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between two checkpoints."""
    checkpoint_minutes: float = Field(default=10.0, gt=0.0)
    """Minutes of training between two further checkpoints, which are uploaded if training.home is in a bucket."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Number of checkpoints to keep."""
    run_name: str = Field(default="gan", min_length=1, max_length=120)
    """Name of the run in MLflow."""
    home: str | None = None
    """Run directory, a folder, or gs:// or s3:// address, that keeps checkpoints across restarts; {job} is the pipeline
    job."""

    @model_validator(mode="after")
    def _check_replicas(self) -> TrainConfig:
        if self.replicas is not None:
            self.check_shares(self.replicas)
        return self

    @model_validator(mode="after")
    def _check_schedule(self) -> TrainConfig:
        if self.schedule == "constant" and self.decay_start_fraction:
            raise ValueError(
                "decay_start_fraction is of no use with schedule=constant. "
                f"Received: decay_start_fraction={self.decay_start_fraction:g}"
            )
        return self

    @model_validator(mode="after")
    def _check_average(self) -> TrainConfig:
        if self.ema_half_life is not None and self.ema_decay != TrainConfig.model_fields["ema_decay"].default:
            raise ValueError(
                "expected either ema_half_life or ema_decay. "
                f"Received: ema_half_life={self.ema_half_life}, ema_decay={self.ema_decay:g}"
            )
        return self

    @property
    def final_ema_decay(self) -> float:
        """EMA decay per step after the first steps, from either setting."""
        if self.ema_half_life is None:
            return self.ema_decay
        return float(0.5 ** (self.batch_size / self.ema_half_life))

    def check_channels(self, channels: int) -> None:
        """Refuses augmentation of colour for grey images.

        Raises:
            ValueError: The images are grey.
        """
        if channels == 1 and "colour" in self.augmentation:
            raise ValueError(
                "colour does nothing to grey images, expected translation or cutout. "
                f"Received: training.augmentation=[{', '.join(self.augmentation)}], data.colour=grey"
            )

    def of_job(self, job: str) -> TrainConfig:
        """Returns the config with the pipeline job in the name of the run, and in the place of `{job}` in the home.

        So a retried step finds what it left there, and a run of MLflow leads to the job that made it.

        Args:
            job: Identifier of the job; where it is empty, that in the environment variable GAN_PIPELINES_JOB counts,
                which unlike a parameter is no part of the step's cache key.

        Raises:
            ValueError: The home is one for each job, and this is none.
        """
        job = job or os.environ.get(JOB_VARIABLE, "")
        if not job:
            if self.home and JOB_PLACE in self.home:
                raise ValueError(
                    f"expected the identifier of a pipeline job, which the pod's environment tells in {JOB_VARIABLE}, "
                    f"since each has a home of its own. Received: none, training.home={self.home!r}"
                )
            return self
        home = self.home and self.home.replace(JOB_PLACE, job)
        return self.model_copy(update={"home": home, "run_name": f"{self.run_name}-{job[:JOB_DIGITS]}"})

    def learning_rate_factor(self, step: tf.Tensor) -> tf.Tensor:
        """Returns what the schedule makes of the learning rates after `step` updates, float32 in 0..1."""
        return learning_rate_factor(
            step, schedule=self.schedule, steps=self.steps, decay_start_fraction=self.decay_start_fraction
        )

    def check_shares(self, replicas: int) -> None:
        """Refuses a number of replicas that cannot share a batch evenly.

        Raises:
            ValueError: They cannot.
        """
        if self.batch_size % replicas:
            raise ValueError(
                "expected a batch size that the replicas share evenly. "
                f"Received: batch_size={self.batch_size}, replicas={replicas}"
            )
