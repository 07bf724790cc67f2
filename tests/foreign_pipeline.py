"""The pipeline of docs/components.md, as its readers use it, in a folder that has the files `components/NAME.yaml`.

`python tests/foreign_pipeline.py` compiles it to `shop_window.yaml`. With arguments of the pipeline, `NAME=VALUE`, it
also runs it, and the outputs are in `root`.
"""

import re
import runpy
import sys
from pathlib import Path

from kfp import local

PAGE = Path(__file__).parents[1] / "docs" / "components.md"


def build():
    """Returns the pipeline, and compiles it as the page does."""
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    Path("shop_window.py").write_text(code)  # KFP reads the source of `decide` from its file
    return runpy.run_path("shop_window.py")["shop_window"]


if __name__ == "__main__":
    pipeline = build()
    arguments = dict(word.split("=", 1) for word in sys.argv[1:])
    if arguments:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root="root")
        pipeline(**{**arguments, "at_most": float(arguments["at_most"])})
