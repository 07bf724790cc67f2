"""A GAN library for TensorFlow 2 and Keras 3: data, tasks, networks, games, training, scores, export.

Five verbs take real images to a shipped generator, each usable from a notebook without Kubeflow:
`data.prepare`, `evaluation.measure_reference`, `training.train`, `evaluation.evaluate`, `export.export`.
"""

import os

__version__ = "0.1.0"

# TensorFlow turns oneDNN on by itself only on CPUs with AVX512. Elsewhere it makes these networks
# about twice as fast as well (benchmarks/training_speed.py --onednn measures it).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Several processes share a GPU: the steps of one pipeline, and the check of an exported model.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

# Variables that people set for other programs and that would stop this one, or change its results. Keras and TensorFlow
# read them when they start, so they are replaced before that; `ganlib.environment` says which were set.
REPLACING = {
    "KERAS_BACKEND": "tensorflow",
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",  # with any other, convolutions of float32 are computed in less
    "DNNL_DEFAULT_FPMATH_MODE": "STRICT",  # its name in earlier versions
    "TF_SET_ONEDNN_FPMATH_MODE": "STRICT",
}
REPLACED = {name: os.environ[name] for name, value in REPLACING.items() if os.environ.get(name, value) != value}
os.environ.update(REPLACING)
