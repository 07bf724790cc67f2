"""The section `training`."""

from __future__ import annotations

import os
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from ganlib.schema import Config, from_single
from ganlib.training.augmentation import Transform
from ganlib.training.optimizers import Adam, Optimizer
from ganlib.training.schedules import Schedule
from ganlib.training.strategy import Compilation, Distribution, Precision

JOB_VARIABLE = "GAN_PIPELINES_JOB"
JOB_DIGITS = 8  # of its identifier, which tell jobs apart
JOB_PLACE = "{job}"
Updates = Literal["alternating", "simultaneous"]
Reaction = Literal["note", "roll_back", "stop", "fail"]
Problem = Literal["non_finite", "saturated", "collapsed", "degraded", "plateau"]


class HealthConfig(Config):
    """What counts as problem, and the reaction to each: note, roll_back, stop or fail.

    A rollback takes the state at the best score back, lowers the learning rates and draws other latents; the count of
    steps goes on. After `max_rollbacks` the next one stops instead, or fails where the terms are not finite. Where it
    would change nothing (the present state is the best one, no state was any better, no step is left) it is noted.
    """

    non_finite: Literal["roll_back", "stop", "fail"] = "roll_back"
    """Reaction to a term or gradient that is infinite or NaN."""
    saturated: Reaction = "note"
    """Reaction to a discriminator that tells all images rightly, its loss near zero, for `saturation_steps`."""
    collapsed: Reaction = "roll_back"
    """Reaction to samples that lost their variance or became alike."""
    degraded: Reaction = "note"
    """Reaction to scores that stay above `degraded_factor` times the best one."""
    plateau: Reaction = "note"
    """Reaction to no better score within `patience` measurements."""
    max_rollbacks: int = Field(default=3, ge=0)
    """Rollbacks of a run."""
    rollback_learning_rate_factor: float = Field(default=0.5, gt=0.0, le=1.0)
    """Factor on the learning rates at each rollback."""
    saturation_accuracy: float = Field(default=0.99, gt=0.5, le=1.0)
    """Share of images told rightly from which a discriminator may be saturated."""
    saturation_loss: float = Field(default=0.05, gt=0.0)
    """Loss of the discriminator below which it may be; games without a lower bound are never saturated."""
    saturation_steps: int = Field(default=500, ge=1)
    """Steps in a row that make it so."""
    min_variance_ratio: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Variance of the samples' features, as a share of real images', below which they have collapsed."""
    min_distance_ratio: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Median distance to the nearest other sample, as a share of real images', below which they are alike."""
    collapse_scores: int = Field(default=3, ge=1)
    """Measurements in a row that make a collapse."""
    warmup_scores: int = Field(default=4, ge=0)
    """Measurements after which samples that never were diverse count as collapsed too: beginnings are all alike."""
    degraded_factor: float = Field(default=1.5, gt=1.0)
    """Multiple of the best score above which a score counts as worse."""
    degraded_scores: int = Field(default=3, ge=1)
    """Such scores in a row that make training degraded."""
    patience: int = Field(default=20, ge=1)
    """Measurements without a better score that make training plateau."""

    @model_validator(mode="after")
    def _check_rollbacks(self) -> HealthConfig:
        reactions = {name: getattr(self, name) for name in get_args(Problem)}
        for name in ("max_rollbacks", "rollback_learning_rate_factor"):
            value = getattr(self, name)
            if "roll_back" not in reactions.values() and value != HealthConfig.model_fields[name].default:
                told = ", ".join(f"{problem}={reaction}" for problem, reaction in reactions.items())
                raise ValueError(
                    f"{name} is of no use where no reaction is roll_back. Received: {name}={value:g}, {told}"
                )
        return self


class TrainConfig(Config):
    """How long and how the networks are trained, and what is kept on the way. A step is one generator update."""

    steps: int = Field(default=2000, ge=1)
    """Generator updates in all."""
    target_score: float | None = Field(default=None, gt=0.0)
    """Distance to the real images at which training is content and ends."""
    max_minutes: float | None = Field(default=None, gt=0.0)
    """Minutes of training, resumed ones included, after which it ends."""
    batch_size: int = Field(default=64, ge=2)
    """Images in a step, over all replicas together."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of weights, order, noise and dropout."""
    generator_optimizer: Optimizer = Adam()
    """Optimizer of the generators."""
    discriminator_optimizer: Optimizer = Adam()
    """Optimizer of the discriminators."""
    updates: Updates = "alternating"
    """alternating: generators learn from updated discriminators; simultaneous: faster by a few percent, and worse."""
    schedule: Schedule = "constant"
    """How the learning rates go on: constant, or falling to zero at the last step, linear or along a cosine."""
    decay_start_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the steps after which a schedule begins to fall."""
    ema_decay: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Decay of the averaged generator that is scored and shipped; ramped up as (1 + step) / (10 + step)."""
    ema_half_life: int | None = Field(default=None, ge=1)
    """Images after which a generator counts half in that average; takes the place of ema_decay."""
    augmentation: Annotated[tuple[Transform, ...], BeforeValidator(from_single)] = ()
    """DiffAugment for little data: colour, translation, cutout, on real and generated images alike."""
    precision: Precision = "auto"
    """float32, bfloat16 or float16 (mixed), or auto: bfloat16 where the hardware computes in it natively, float16 on
    one GPU whose tensor cores lack it (V100, T4). float16 scales the losses and skips updates that overflow. With
    float32, a GPU that has TensorFloat-32 trains in that; what is scored, shown or shipped is always computed in true
    float32."""
    compile: Compilation = "auto"
    """Whether XLA compiles the updates: true, false, or auto, which is true for a single GPU. Several replicas cannot
    be compiled; on a CPU compiled updates are slower. The results differ in the last bits."""
    replicas: int | None = Field(default=None, ge=1, le=64)
    """Replicas in all; null means all GPUs or one CPU. Without GPUs, logical CPU devices."""
    strategy: Distribution = "auto"
    """auto: several workers where TF_CONFIG names them, else mirrored; mirrored: the replicas of one machine."""
    deterministic: bool = True
    """Whether equal seeds give equal bits (float32, one replica); GPUs may be slower for it."""
    steps_per_loop: int = Field(default=50, ge=1)
    """Most steps that run inside the graph before Python looks at the terms."""
    sample_every: int = Field(default=200, ge=1)
    """Steps between two pictures of samples from fixed latents."""
    score_every: int = Field(default=200, ge=1)
    """Steps between two measurements of the distance to the real images."""
    score_samples: int | None = Field(default=None, ge=2)
    """Samples of such a measurement; null means 1,000, or as many as there are real test images if they are fewer."""
    health: HealthConfig = HealthConfig()
    """Which problems training looks out for, and what it does about them."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between two checkpoints."""
    checkpoint_minutes: float = Field(default=10.0, gt=0.0)
    """Minutes of training after which a checkpoint is written, too, and what is new is taken to a home in a bucket."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Newest checkpoints that are kept."""
    run_name: str = Field(default="gan", min_length=1, max_length=120)
    """Name of the run in MLflow."""
    home: str | None = None
    """Folder or gs:// address that outlives the step and holds the checkpoints; {job} stands for the pipeline job."""

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
                "ema_half_life takes the place of ema_decay, expected one of them. "
                f"Received: ema_half_life={self.ema_half_life}, ema_decay={self.ema_decay:g}"
            )
        return self

    @property
    def final_ema_decay(self) -> float:
        """Decay a step of the averaged generators once it is ramped up, whichever way it was given."""
        if self.ema_half_life is None:
            return self.ema_decay
        return float(0.5 ** (self.batch_size / self.ema_half_life))

    def check_channels(self, channels: int) -> None:
        """Refuses a change of colour for images that have none.

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
