"""Settings that a user has for other programs do not change results, are reported once, and are restored."""

import contextlib
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from ganlib import environment
from ganlib.environment import escape_output, standard_keras
from ganlib.evaluation import EvaluationConfig, evaluate, measure_reference
from ganlib.export import ExportConfig, export
from ganlib.models import Dcgan
from ganlib.objectives import NonSaturating
from ganlib.tasks import Generation
from ganlib.training import TrainConfig, train

FOREIGN = {"floatx": "float16", "epsilon": 1e-3, "image_data_format": "channels_first"}
POLICY = "mixed_float16"
MEASURING = EvaluationConfig(extractor={"kind": "random"}, samples=50)
TRAINING = TrainConfig(steps=2, batch_size=8, score_every=2, sample_every=2, score_samples=50, precision="float32")


def settings():
    return {**{name: getattr(keras.config, name)() for name in FOREIGN}, "policy": keras.config.dtype_policy().name}


def put(values, policy):
    for name, value in values.items():
        getattr(keras.config, f"set_{name}")(value)
    keras.config.set_dtype_policy(policy)


@pytest.fixture
def foreign(monkeypatch):
    """Settings of Keras for other networks, in this process."""
    monkeypatch.setattr(environment, "_reported", set())
    before, policy = {name: getattr(keras.config, name)() for name in FOREIGN}, keras.config.dtype_policy()
    put(FOREIGN, POLICY)
    yield
    put(before, policy)


@pytest.fixture
def keras_file(tmp_path, monkeypatch):
    """The same settings in Keras' file, for other processes."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "keras.json").write_text(json.dumps({"backend": "torch", **FOREIGN}))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))


def made(digits, folder):
    """Returns the results of measuring and training on the digits."""
    reference = measure_reference(digits, MEASURING, folder / "reference")
    choices = {"task": Generation(latent_dim=8), "architecture": Dcgan(width=4), "objective": NonSaturating()}
    model = train(digits, reference, **choices, config=TRAINING, output=folder / "model")
    return model, reference


def test_the_steps_give_the_same_results_and_restore_the_settings_of_keras(
    digits, foreign, keras_file, tmp_path, capsys
):
    model, reference = made(digits, tmp_path / "foreign")
    evaluation = evaluate(model, digits, reference, MEASURING, tmp_path / "scores")
    exported = export(model, evaluation, ExportConfig(onnx=False), tmp_path / "exported")
    assert settings() == {**FOREIGN, "policy": POLICY}
    assert exported.parity["keras"] < 1e-6
    [note] = [line for line in capsys.readouterr().out.splitlines() if line.endswith("full float32")]
    values = {"backend": "torch", **FOREIGN, "dtype_policy": POLICY}
    named = ", ".join(sorted(f"Keras' {name}={value}" for name, value in values.items()))
    assert note.startswith(f"note: {named} is ignored: ")
    put({"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}, "float32")
    others, usual_reference = made(digits, tmp_path / "usual")
    weights = [network.network("last").get_weights() for network in (model, others)]
    assert all(np.array_equal(one, other) for one, other in zip(*weights, strict=True))
    assert reference.floor(50) == usual_reference.floor(50)


def test_settings_are_restored_after_a_failure_too(foreign):
    with contextlib.suppress(KeyError), standard_keras():
        assert settings()["policy"] == "float32"
        raise KeyError
    assert settings() == {**FOREIGN, "policy": POLICY}


def python(script, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KERAS_", "ONEDNN_"))}
    return subprocess.run(
        [sys.executable, "-c", script], env={**clean, **environment}, capture_output=True, text=True, check=False
    )


def test_variables_that_would_stop_keras_or_shorten_float32_are_replaced_and_named_once():
    script = (
        "from ganlib.environment import standard_keras\nimport os\n"
        "for _ in range(2):\n    with standard_keras():\n        pass\n"
        "print(os.environ['KERAS_BACKEND'], os.environ['ONEDNN_DEFAULT_FPMATH_MODE'])"
    )
    done = python(script, KERAS_BACKEND="torch", ONEDNN_DEFAULT_FPMATH_MODE="BF16")
    *notes, last = done.stdout.splitlines()
    [note] = notes
    assert note.startswith("note: KERAS_BACKEND=torch, ONEDNN_DEFAULT_FPMATH_MODE=BF16 is ignored: ")
    assert last == "tensorflow STRICT"


def test_keras_imports_what_is_used_of_it_and_the_rest_is_found_afterwards():
    script = (
        "import sys\nfrom ganlib import environment\nbefore = len(sys.meta_path)\n"
        "for _ in range(2):\n    environment.hide_unused_libraries()\n"
        "print(len(sys.meta_path) - before)\nimport keras\n"
        "print([name for name in environment.UNUSED_BY_KERAS if name in sys.modules])\n"
        "import matplotlib, pandas, sklearn\nprint('found')"
    )
    assert python(script).stdout.splitlines() == ["1", "[]", "found"]


def test_settings_that_keras_refuses_are_reported_in_one_error(tmp_path):
    (tmp_path / "keras.json").write_text('{"floatx": "bfloat16"}')
    script = (
        "from ganlib.environment import standard_keras\n"
        "try:\n    with standard_keras():\n        pass\nexcept ValueError as error:\n    print(error)"
    )
    [line] = python(script, KERAS_HOME=str(tmp_path)).stdout.splitlines()
    assert line.startswith("Keras cannot use its settings: Invalid `floatx` configuration.")
    assert line.endswith(f"Received: file='{tmp_path / 'keras.json'}'")


def test_a_keras_that_was_imported_with_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")  # no other backend is installed
    with pytest.raises(ValueError, match=r"imported with another backend before ganlib.* Received: backend='torch'"):
        standard_keras().__enter__()


def test_a_character_that_output_cannot_show_is_escaped_only_while_a_step_runs():
    script = (
        "from ganlib.environment import escape_output\nwith escape_output():\n    print('1 \\xb1 2 \\u65e5 \\udcff')\n"
        "try:\n    print('\\xb1')\nexcept UnicodeEncodeError:\n    print('as before')"
    )
    done = python(script, PYTHONIOENCODING="ascii")
    assert done.stdout.splitlines() == [r"1 \xb1 2 \u65e5 \udcff", "as before"]


def test_a_step_escapes_characters_to_its_end():
    script = (
        "import types\nfrom ganlib.steps import step\n"
        "with step('evaluate_gan', types.SimpleNamespace(metadata={})):\n    print('85 \xb1 45')\nprint('\u65e5')"
    )
    done = python(script, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout.splitlines()) == (0, [r"85 \xb1 45", r"\u65e5"])


def test_output_that_is_not_a_byte_stream_is_left_alone(capsys, monkeypatch):
    class Notebook:
        def __init__(self):
            self.text = ""

        def write(self, text):
            self.text += text

    monkeypatch.setattr(sys, "stdout", Notebook())
    with escape_output():
        print("±")
    assert sys.stdout.text == "±\n"
