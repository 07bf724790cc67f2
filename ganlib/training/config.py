"""The section `training`."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ganlib.schema import Config, from_single
from ganlib.training.augmentation import Transform
from ganlib.training.health import HealthConfig
from ganlib.training.optimizers import Adam, Optimizer
from ganlib.training.schedules import Schedule

JOB_VARIABLE = "GAN_PIPELINES_JOB"
JOB_DIGITS = 8  # of its identifier, which tell jobs apart
JOB_PLACE = "{job}"
Precision = Literal["auto", "float32", "bfloat16"]
Updates = Literal["alternating", "simultaneous"]
Distribution = Literal["auto", "mirrored"]


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
    decay_from: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the steps after which a schedule begins to fall."""
    ema_decay: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Decay of the averaged generator that is scored and shipped; ramped up as (1 + step) / (10 + step)."""
    ema_half_life: int | None = Field(default=None, ge=1)
    """Images after which a generator counts half in that average; takes the place of ema_decay."""
    augmentation: Annotated[tuple[Transform, ...], BeforeValidator(from_single)] = ()
    """DiffAugment for little data: colour, translation, cutout, on real and generated images alike."""
    precision: Precision = "auto"
    """float32, bfloat16 (mixed), or auto: bfloat16 where the hardware computes in it natively. With float32, a GPU that
    has TensorFloat-32 trains in that; what is scored, shown or shipped is always computed in true float32."""
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
    """Which troubles training looks out for, and what it does about them."""
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
        if self.schedule == "constant" and self.decay_from:
            raise ValueError(
                f"decay_from is of no use with schedule=constant. Received: decay_from={self.decay_from:g}"
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
