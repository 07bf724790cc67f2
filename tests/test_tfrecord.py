"""Records written without TensorFlow equal those of TensorFlow byte by byte."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ganlib.data import tfrecord


@pytest.mark.parametrize("label", [-1, 0, 1, 127, 128, 300, 2**31, 2**63 - 1])
@pytest.mark.parametrize("size", [0, 1, 127, 128, 784, 20_000])
def test_an_example_has_the_bytes_that_tensorflow_gives_it(size, label):
    image = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    expected = tf.train.Example(features=tf.train.Features(feature=features))
    assert b"".join(tfrecord.example(image, label)) == expected.SerializeToString(deterministic=True)


def test_a_file_has_the_bytes_that_tensorflow_gives_it(tmp_path):
    records = [np.random.default_rng(size).bytes(size) for size in (0, 1, 5, 1000, 70_000)]
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in records:
            writer.write(record)
    assert (
        b"".join(tfrecord.frame([record[:3], record[3:]]) for record in records) == (tmp_path / "theirs").read_bytes()
    )


def test_preparing_images_does_not_import_tensorflow(tmp_path):
    code = (
        "import sys; from pathlib import Path; from ganlib.data import DataConfig, prepare;"
        "prepare(DataConfig(size=16), Path('dataset')); print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
