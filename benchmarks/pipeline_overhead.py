"""Measures the overhead of the pipeline over calling the five functions in one process, for a short run of digits.

    python benchmarks/pipeline_overhead.py [--rounds 3] [--steps 200] [--set section.field=value ...]

Both start with a new interpreter and an empty folder, in turn, and log to MLflow. CPU seconds are those of all
processes; where other programs use the machine, they are the steadier measure.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FUNCTIONS = """
import sys
from pathlib import Path
from ganlib import tracking
from ganlib.data import prepare
from ganlib.evaluation import evaluate, measure_reference
from ganlib.export import export
from ganlib.training import train
from pipelines.settings import resolve
out = Path.cwd()
config = resolve(chosen=["digits"], assignments=sys.argv[1:])
tracking.create_store(out / "mlflow.db", experiment="gan-pipelines", artifacts=out / "artifacts")
dataset = prepare(config.data, out / "dataset")
reference = measure_reference(dataset, config.evaluation, out / "reference")
model = train(dataset, reference, task=config.task, architecture=config.model, objective=config.objective,
              config=config.training, output=out / "model")
evaluation = evaluate(model, dataset, reference, config.evaluation, out / "scores")
export(model, evaluation, config.export, out / "exported")
"""


def main() -> None:
    """Measures both in turn and prints the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each")
    parser.add_argument("--steps", type=int, default=200, help="training steps")
    parser.add_argument("--set", action="append", default=[], help="another setting of both, as section.field=value")
    options = parser.parse_args()
    settings = [f"training.steps={options.steps}", *options.set]
    assignments = [word for setting in settings for word in ("--set", setting)]
    pipeline = [sys.executable, "-m", "pipelines", "run", "--preset", "digits", *assignments]
    functions = [sys.executable, "-c", FUNCTIONS, *settings]
    wall: dict[str, list[float]] = {"functions": [], "pipeline": []}
    cpu: dict[str, list[float]] = {"functions": [], "pipeline": []}
    for _ in range(options.rounds):
        for name, command in (("functions", functions), ("pipeline", pipeline)):
            with tempfile.TemporaryDirectory() as folder:
                environment = dict(os.environ)
                if name == "functions":
                    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path(folder) / 'mlflow.db'}"
                began, used = time.perf_counter(), _cpu_seconds()
                subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
                wall[name].append(time.perf_counter() - began)
                cpu[name].append(_cpu_seconds() - used)
    for kind, seconds in (("wall", wall), ("CPU", cpu)):
        differences = [a - b for a, b in zip(seconds["pipeline"], seconds["functions"], strict=True)]
        for name, values in {**seconds, "overhead": differences}.items():
            text = f"{statistics.median(values):6.1f} s ({min(values):.1f} to {max(values):.1f})"
            print(f"RESULT {kind:<4} {name:<9} {text} over {options.rounds} rounds")


def _cpu_seconds() -> float:
    """Returns the CPU time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
