"""Entry point of the command line, and `resolve` for notebooks. It works beside other packages of the same names.

Users may have packages `pipelines` and `components` of their own on PYTHONPATH, which Python finds before installed
packages. This module has a unique name, and imports the packages of this project from its own folder.
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
    from pipelines.kubeflow.config import PipelineConfig

FOLDER = Path(__file__).parent
PACKAGES = ("components", "ganlib", "pipelines")
MISTAKE = 2


class _ProjectFinder(MetaPathFinder):
    """Finds the packages of this project in the folder of this module, before the search path is used."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        del path, target
        return PathFinder.find_spec(fullname, [str(FOLDER)]) if fullname in PACKAGES else None


def main() -> None:
    """Runs the command line."""
    library = PathFinder.find_spec("ganlib")
    if library is not None and not _is_ours(library):
        # Subprocesses of a command would import the other one.
        path = [*(library.submodule_search_locations or []), library.origin][0]
        print(
            f"error: another package ganlib hides that of gan-pipelines in {FOLDER}; remove it from the search path "
            f"(PYTHONPATH). Received: ganlib={path!r}",
            file=sys.stderr,
        )
        sys.exit(MISTAKE)
    sys.meta_path.insert(0, _ProjectFinder())
    from ganlib.environment import always_escape_output, disable_warning_errors, hide_unused_libraries
    from pipelines.command.main import main as command

    disable_warning_errors()
    always_escape_output()
    hide_unused_libraries()
    command()


def resolve(*, chosen: Sequence[str], files: Sequence[Path] = (), assignments: Iterable[str] = ()) -> PipelineConfig:
    """Merges presets, files and `section.field=value` options; later ones override earlier ones.

    Another package `pipelines` in the same process is not affected.

    Args:
        chosen: Names of presets.
        files: YAML files with sections.
        assignments: Single fields, as `section.field=value`.

    Raises:
        ValueError: A preset, file, option or the merged config is not valid; one line for each mistake.
    """
    config: PipelineConfig = _settings().resolve(chosen=chosen, files=files, assignments=assignments)
    return config


@functools.cache
def _settings() -> Any:
    """Returns the module `pipelines.settings` of this project."""
    name = "pipelines"
    package = importlib.util.find_spec(name)
    if package is not None and _is_ours(package):
        return importlib.import_module(f"{name}.settings")
    others = _remove_modules(name)
    finder = _ProjectFinder()
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(f"{name}.settings")
    finally:
        sys.meta_path.remove(finder)
        _remove_modules(name)
        sys.modules.update(others)


def _is_ours(package: ModuleSpec) -> bool:
    return package.origin is not None and Path(package.origin).resolve().parents[1] == FOLDER.resolve()


def _remove_modules(name: str) -> dict[str, Any]:
    """Removes a package and its modules from the imported modules, and returns them."""
    return {module: sys.modules.pop(module) for module in [*sys.modules] if module.partition(".")[0] == name}


if __name__ == "__main__":
    main()
