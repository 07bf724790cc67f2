"""Measures the overhead of the pipeline over calling the five functions in one process, for a short run of digits.

    python benchmarks/pipeline_overhead.py [--rounds 3] [--steps 200]

Both start with a new interpreter and an empty folder, in turn, and log to MLflow.
"""

import argparse
import os
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
    options = parser.parse_args()
    settings = [f"training.steps={options.steps}"]
    pipeline = [sys.executable, "-m", "pipelines", "run", "--preset", "digits", "--set", *settings]
    functions = [sys.executable, "-c", FUNCTIONS, *settings]
    seconds: dict[str, list[float]] = {"pipeline": [], "functions": []}
    for _ in range(options.rounds):
        for name, command in (("functions", functions), ("pipeline", pipeline)):
            with tempfile.TemporaryDirectory() as folder:
                environment = dict(os.environ)
                if name == "functions":
                    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path(folder) / 'mlflow.db'}"
                began = time.perf_counter()
                subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
                seconds[name].append(time.perf_counter() - began)
    differences = sorted(a - b for a, b in zip(seconds["pipeline"], seconds["verbs"], strict=True))
    for name, values in seconds.items():
        print(f"RESULT {name:<9} {statistics.median(values):6.1f} s ({min(values):.1f} to {max(values):.1f})")
    print(
        f"RESULT overhead  {statistics.median(differences):6.1f} s ({differences[0]:.1f} to {differences[-1]:.1f}) "
        f"over {options.rounds} rounds"
    )


if __name__ == "__main__":
    main()
