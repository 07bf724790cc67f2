"""Steps restore the settings that they change for the whole process."""

import gc
import os
import random
import signal
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from loop import MODEL, TASK
from tensorflow.python.eager import context
from tensorflow.python.framework import config as tf_config

from ganlib import runtime
from ganlib.data import DataConfig, prepare
from ganlib.evaluation import EvaluationConfig, evaluate, measure_reference
from ganlib.export import ExportConfig, export
from ganlib.objectives import NonSaturating
from ganlib.tracking import Tracker
from ganlib.training import TrainConfig, train

SMALL = {"kind": "classifier", "network": {"width": 4, "feature_dim": 4, "max_steps": 1}}
QUICK = {"steps": 1, "batch_size": 8, "score_samples": 20, "precision": "float32"}


def process():
    """Returns all process-wide settings that this project or TensorFlow may change."""
    return {
        "determinism": tf_config.is_op_determinism_enabled(),
        "remapping": tf.config.optimizer.get_experimental_options().get("remapping", True),
        "tensor float": tf.config.experimental.tensor_float_32_execution_enabled(),
        "tensorflow's seed": context.global_seed(),
        "python's": random.getstate()[1][:-1],  # except its position, because building networks draws from it
        "numpy's": repr(np.random.get_state()),  # noqa: NPY002  # the global state is what is tested
        "policy": keras.config.dtype_policy().name,
        "float": keras.config.floatx(),
        "signal": signal.getsignal(signal.SIGTERM),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "warnings": list(warnings.filters),
        "collection": gc.get_threshold(),
    }


def test_a_step_restores_the_settings_of_the_process(digits, reference, tmp_path):
    config = TrainConfig(**QUICK, deterministic=True)
    random.seed(5)
    random.random()  # so that the state has more numbers left than are drawn here
    with runtime.deterministic(enabled=False):
        before = process()
        prepare(DataConfig(size=16), tmp_path / "dataset")
        assert process() == before
        measure_reference(digits, EvaluationConfig(extractor=SMALL), tmp_path / "reference")
        assert process() == before
        parts = {"task": TASK, "architecture": MODEL, "objective": NonSaturating()}
        model = train(digits, reference, **parts, config=config, output=tmp_path / "model")
        assert process() == before
        scores = evaluate(model, digits, reference, EvaluationConfig(samples=20), tmp_path / "scores")
        export(model, scores, ExportConfig(onnx=False), tmp_path / "exported")
        assert process() == before


def test_a_training_uses_the_requested_kernels_whatever_was_set_before(digits, reference, tmp_path, monkeypatch):
    seen = []
    metrics = Tracker.metrics

    def watched(tracker, step, values):
        seen.append(tf_config.is_op_determinism_enabled())
        metrics(tracker, step, values)

    monkeypatch.setattr(Tracker, "metrics", watched)
    measure_reference(digits, EvaluationConfig(extractor=SMALL), tmp_path / "reference")
    parts = {"task": TASK, "architecture": MODEL, "objective": NonSaturating()}
    for chosen in (False, True):
        config = TrainConfig(**QUICK, deterministic=chosen)
        with runtime.deterministic(enabled=not chosen):
            before = process()
            train(digits, reference, **parts, config=config, output=tmp_path / f"model-{chosen}")
            assert process() == before
    assert seen == [False, True]


def test_settings_are_restored_after_a_failure():
    def fails():
        with runtime.deterministic(enabled=True), runtime.without_remapper(), runtime.keras_seed(1):
            raise RuntimeError("on purpose")

    before = process()
    with pytest.raises(RuntimeError, match="on purpose"):
        fails()
    assert process() == before
