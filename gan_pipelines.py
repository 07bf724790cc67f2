"""The way in that no other package can block: the command, and the presets for a notebook.

`pipelines` and `components` are names that people give to packages of their own, and what PYTHONPATH names is found
before what is installed. The name of this module belongs to this project alone, and what it needs lies beside it.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.kubeflow.platform import PipelineConfig

HOME = Path(__file__).parent
OURS = ("components", "ganlib", "pipelines")
MISTAKE = 2


class _Beside(MetaPathFinder):
    """Finds the packages of this project beside this module, before anything else is searched."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        del path, target
        return PathFinder.find_spec(fullname, [str(HOME)]) if fullname in OURS else None


def main() -> None:
    """Runs the command line."""
    library = PathFinder.find_spec("ganlib")
    if library is not None and not _is_ours(library):
        # The processes that a command starts import it the usual way, and would get the other one.
        place = [*(library.submodule_search_locations or []), library.origin][0]
        print(
            f"error: another package ganlib is found before that of gan-pipelines in {HOME}, expected none on the "
            f"search path (PYTHONPATH). Received: ganlib={place!r}",
            file=sys.stderr,
        )
        sys.exit(MISTAKE)
    sys.meta_path.insert(0, _Beside())
    from ganlib.environment import always_escape_output, disable_warning_errors, hide_unused_libraries
    from pipelines.command.main import main as command

    disable_warning_errors()
    always_escape_output()
    hide_unused_libraries()
    command()


def resolve(*, chosen: Sequence[str], files: Sequence[Path] = (), assignments: Iterable[str] = ()) -> PipelineConfig:
    """Puts presets, files and `section.field=value` options over each other, in this order.

    Another package `pipelines`, found or imported by the same process, stays what it is.

    Args:
        chosen: Names of presets.
        files: YAML files with sections.
        assignments: Single fields.

    Raises:
        ValueError: Anything is wrong with any of them; one line a mistake.
    """
    config: PipelineConfig = _settings().resolve(chosen=chosen, files=files, assignments=assignments)
    return config


@functools.cache
def _settings() -> Any:
    """Returns the module `pipelines.settings` of this project."""
    name = "pipelines"
    found = importlib.util.find_spec(name)
    if found is not None and _is_ours(found):
        return importlib.import_module(f"{name}.settings")
    theirs = _taken_out(name)
    finder = _Beside()
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(f"{name}.settings")
    finally:
        sys.meta_path.remove(finder)
        _taken_out(name)
        sys.modules.update(theirs)


def _is_ours(package: ModuleSpec) -> bool:
    return package.origin is not None and Path(package.origin).resolve().parents[1] == HOME.resolve()


def _taken_out(name: str) -> dict[str, Any]:
    """Takes a package and its modules out of those that are imported."""
    return {module: sys.modules.pop(module) for module in [*sys.modules] if module.partition(".")[0] == name}


if __name__ == "__main__":
    main()
