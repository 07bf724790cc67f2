"""Training: the loop, its state, what happens on the way, and what is left behind."""

from ganlib.trained import TrainedModel
from ganlib.training.config import HealthConfig, TrainConfig
from ganlib.training.health import TrainingDiverged
from ganlib.training.interruption import TrainingInterrupted, TrainingPaused
from ganlib.training.optimizers import Adam, RmsProp
from ganlib.training.run_directory import OtherRunError
from ganlib.training.strategy import resolve_strategy
from ganlib.training.train import train
from ganlib.training.train_at import train_at

__all__ = [
    "Adam",
    "HealthConfig",
    "OtherRunError",
    "RmsProp",
    "TrainConfig",
    "TrainedModel",
    "TrainingDiverged",
    "TrainingInterrupted",
    "TrainingPaused",
    "resolve_strategy",
    "train",
    "train_at",
]
