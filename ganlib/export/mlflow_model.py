"""Makes an exported folder a model of MLflow, which `mlflow models serve` and `mlflow.pyfunc.load_model` take."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from etils import epy

with epy.lazy_imports():
    import yaml
    from mlflow import models

SERVED, BESIDE = "served.py", "served_pictures.py"
ARTIFACTS = {"saved_model": "saved_model", "inputs": "inputs.json"}  # what `served.py` loads
CONDA = "conda.yaml"  # MLflow reads its name, whatever makes the environment
BUILD_TOOLS = ("pip", "setuptools", "wheel")


def write_mlflow_model(folder: Path, *, requirements: Sequence[str]) -> None:
    """Adds MLflow's files to an exported folder: `MLmodel`, the requirements, and the code that calls the model.

    The weights are those that the folder has already, and nothing is pickled. There is no signature on purpose: with
    one, MLflow would drop inputs that it does not know, without a word, and would repeat the whole request in an error.

    Args:
        folder: The exported model, with `saved_model` and `inputs.json`.
        requirements: What the model needs, as pip takes it. MLflow and Pillow are added.
    """
    needed = [*requirements, *(f"{name}=={importlib.metadata.version(name)}" for name in ("mlflow", "pillow"))]
    (folder / "requirements.txt").write_text("\n".join(needed) + "\n", encoding="utf-8")
    environment = {
        "python": platform.python_version(),
        "build_dependencies": list(BUILD_TOOLS),
        "dependencies": ["-r requirements.txt"],
    }
    (folder / "python_env.yaml").write_text(yaml.safe_dump(environment, sort_keys=False), encoding="utf-8")
    conda = [f"python={platform.python_version()}", "pip", {"pip": environment["dependencies"]}]
    (folder / CONDA).write_text(yaml.safe_dump({"dependencies": conda}, sort_keys=False), encoding="utf-8")
    # Read as text: importing it would load MLflow's server code, and set it as the model of this process.
    for name in (SERVED, BESIDE):
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
    model = models.Model()
    model.add_flavor(
        "python_function",
        loader_module="mlflow.pyfunc.model",
        python_version=platform.python_version(),
        env={"conda": CONDA, "virtualenv": "python_env.yaml"},
        model_code_path=SERVED,
        artifacts={name: {"path": path, "uri": path} for name, path in ARTIFACTS.items()},
        streamable=False,
    )
    model.save(folder / "MLmodel")
