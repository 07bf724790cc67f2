"""Processes that know nothing of this project, forked from one that has imported TensorFlow: they start in no time.

Exports of this process, and tests that load what was exported, have a process each, as always; only the seconds in
which it imports its libraries are spent once. Whole pipelines, which are subprocesses, start their own ones.

What differs: the libraries have been imported already, so a program may pass that has TensorFlow only by what another
module imported; and there is no time limit. `test_process.py` tries the real processes, without TensorFlow.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from ganlib.export import onnx, parity
from ganlib.export import process as real
from ganlib.export.process import Process

PARENT = """
import json, os, runpy, sys, traceback
sys.modules.update(dict.fromkeys(sys.argv[1:]))
import numpy, tensorflow, keras, tf2onnx
for line in sys.stdin:
    plan = json.loads(line)
    child = os.fork()
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    code = 1
    try:
        os.environ.clear()
        os.environ.update(plan["environment"])
        os.chdir(plan["cwd"])
        for number, name in enumerate(("input", "output", "errors")):
            flags = os.O_RDONLY if name == "input" else os.O_WRONLY | os.O_CREAT
            os.dup2(os.open(os.path.join(plan["folder"], name), flags, 0o600), number)
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        program, sys.argv = plan["program"], plan["argv"]
        exec(program, {"__name__": "__main__"}) if program else runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = 1 if isinstance(stop.code, str) else stop.code or 0
        print(stop.code if isinstance(stop.code, str) else "", end="", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
"""


class Template:
    """The process that has the libraries. It starts when it is needed.

    Args:
        place: Folder for what the forked processes read and write.
    """

    def __init__(self, place: Path) -> None:
        self._place, self._process, self._count = place, None, 0
        self._log = place / "log.txt"

    def run(self, *program, text="", cwd="/"):
        """Runs a program, a file or `-c` with its text, and its arguments, as a process that ends with it."""
        if self._process is None:
            command, pipe = [sys.executable, "-I", "-c", PARENT, *onnx.UNUSED_BY_KERAS], subprocess.PIPE
            with self._log.open("w") as log:
                self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True)
        self._count += 1
        folder = self._place / str(self._count)
        folder.mkdir()
        (folder / "input").write_text(text, encoding="utf-8")
        code, argv = (program[1], ["-c", *program[2:]]) if program[0] == "-c" else (None, program)
        plan = {"program": code, "argv": list(map(str, argv)), "folder": str(folder), "cwd": str(cwd)}
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(plan | {"environment": dict(os.environ)}) + "\n")
            self._process.stdin.flush()
        if not (ended := self._process.stdout.readline()):
            reason = self._log.read_text(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise RuntimeError(f"the process that forks others died: {reason[0]}")
        output, errors = ((folder / name).read_text(encoding="utf-8") for name in ("output", "errors"))
        return subprocess.CompletedProcess(program, int(ended), output, errors)

    def close(self):
        if self._process is not None:
            self._process.communicate()


class Forked:
    """As much of `subprocess.Popen` as `Process` uses."""

    returncode = None

    def __init__(self, template, program):
        self._template, self._program = template, program

    def communicate(self, text, timeout):
        del timeout  # pytest has one, too
        done = self._template.run(*self._program, text=text)
        self.returncode = done.returncode
        return done.stdout, done.stderr


@contextlib.contextmanager
def forking(place: Path, patch):
    """Lets this process's exports fork theirs until the block ends, and yields the template.

    Args:
        place: Folder for what they read and write.
        patch: pytest's.
    """
    template = Template(place)

    @contextlib.contextmanager
    def process(*program):
        if program[0] == onnx.CHECK:  # it must do without TensorFlow
            with real.process(*program) as started:
                yield started
        else:
            yield Process(Forked(template, program))

    for module in (onnx, parity):
        patch.setattr(module, "process", process)
    with contextlib.closing(template):
        yield template
