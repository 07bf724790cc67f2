"""The pipelines of docs/, as their readers use them, in a folder that has the files `components/NAME.yaml`.

`python tests/foreign_pipeline.py NAME` compiles one to `NAME.yaml`. With arguments of the pipeline, `NAME=VALUE`, it
also runs it, and the outputs are in `root`.
"""

import re
import runpy
import sys
from pathlib import Path

from kfp import local

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"shop_window": DOCS / "components.md", "nightly_promotion": DOCS / "gate.md"}


def build(name):
    """Returns a pipeline, and compiles it as its page does."""
    [code] = re.findall(r"^```python\n(.*?)^```", PAGES[name].read_text(), re.MULTILINE | re.DOTALL)
    Path(f"{name}.py").write_text(code)  # KFP reads the source of components from their file
    return runpy.run_path(f"{name}.py")[name]


if __name__ == "__main__":
    pipeline = build(sys.argv[1])
    arguments = dict(word.split("=", 1) for word in sys.argv[2:])
    if arguments:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root="root")
        pipeline(**{name: float(value) if name == "at_most" else value for name, value in arguments.items()})
