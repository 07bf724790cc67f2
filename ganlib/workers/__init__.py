"""Training on several machines: a step hands its work to a job of Kubeflow Trainer or Training Operator and follows it.

The step runs in a small pod. It copies its inputs to a folder beside the run's home, which all machines reach, and
creates a TrainJob or TFJob whose pods, the workers, train with `MultiWorkerMirroredStrategy`. It prints what the chief
prints, and takes the trained model from the same folder. A restarted step finds its job by name.
"""

from ganlib.workers.hand_over import hand_over
from ganlib.workers.settings import WORKERS_VARIABLE, JobKind, Workers, is_in_bucket

__all__ = ["WORKERS_VARIABLE", "JobKind", "Workers", "hand_over", "is_in_bucket"]
