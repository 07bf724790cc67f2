"""Who may import whom, as DESIGN.md draws it, read from the source text."""

import ast
import importlib
import re
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("ganlib", "components", "pipelines")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
COMPONENTS = [path for path in SOURCES if path.parent.name == "components" and path.stem != "__init__"]
MAX_LINES = 300
PROGRAMS = {("export", "convert_onnx.py"), ("export", "check_onnx.py")}  # run, and never imported

BOTTOM = {
    "__version__",
    "REPLACED",
    "schema",
    "files",
    "storage",
    "environment",
    "credentials",
    "streams",
    "runtime",
    "remote",
    "pixels",
    "progress",
    "tracking",
}
FAMILIES = {"data", "tasks", "models", "objectives", "evaluation"}
# Each layer sees those below it; `steps`, `scoring` and `workers` stand beside the stack.
STACK = (
    BOTTOM,
    {"data", "models", "objectives"},
    {"inference"},
    {"tasks"},
    {"trained"},
    {"evaluation"},
    {"training"},
    {"selection"},
    {"export"},
)
MAY_IMPORT = {name: set().union(*STACK[: max(1, level)]) for level, layer in enumerate(STACK) for name in layer} | {
    "steps": BOTTOM,
    "step_server": BOTTOM | {"steps"},
    "demo": set().union(*STACK[:3]),
    "scoring": set().union(*STACK[:6]),
    "workers": set().union(*STACK[:7]) | {"steps"},
    "config": set().union(*STACK),
    "__init__": set(),
}
# `served.py` is copied into exported folders, where MLflow loads it.
KNOW_MLFLOW = {f"ganlib/export/{name}.py" for name in ("mlflow_model", "registry", "served")}
HOST = re.compile(
    r"\b(?:pypi|pythonhosted|ghcr|gcr|quay|docker|nvcr|npmjs|mcr\.microsoft)\.(?:org|io|com)\b|pkg\.dev\b"
)
TEXT = {".py", ".toml", ".md", ".txt", ".yaml", ".yml", ".cfg", ".ini", ".j2", ".json", ""}


def imports(path, *, typing=True):
    """Yields every imported dotted name with the depth of its statement; 0 is the module's own level."""

    def visit(node, depth):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING" and not typing:
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, depth) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert not child.level, f"{path} uses a relative import"
                yield from ((f"{child.module}.{alias.name}", depth) for alias in child.names)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from visit(child, depth + inside)

    return list(visit(ast.parse(path.read_text()), 0))


def top(name):
    return name.partition(".")[0]


def shown(path):
    return str(path.relative_to(ROOT))


def test_imports_are_read_wherever_they_stand(tmp_path):
    text = (
        "import a.b\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import c\n"
        "with lazy():\n    from d import e\ndef f():\n    import g\n"
    )
    path = tmp_path / "module.py"
    path.write_text(text)
    assert imports(path, typing=False) == [("a.b", 0), ("typing.TYPE_CHECKING", 0), ("d.e", 0), ("g", 1)]
    assert ("c", 0) in imports(path)


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_a_module_imports_only_from_the_layers_below_it(path):
    package, *rest = path.relative_to(ROOT).with_suffix("").parts
    forbidden = {"ganlib": {"components", "pipelines"}, "components": {"pipelines"}, "pipelines": set()}[package]
    assert not forbidden & {top(name) for name, _ in imports(path)}
    if package != "ganlib":
        return
    own = rest[0]
    for name, _ in imports(path):
        if top(name) == "ganlib":
            other = name.split(".")[1]
            assert other == own or other in MAY_IMPORT[own], f"{shown(path)} imports {name}"


def circle(paths, root):
    """Returns a circle of modules that import each other, typing imports included; None if there is none."""
    modules = {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    graph = {
        name: {next((m for m in (other, other.rpartition(".")[0]) if m in modules), name) for other, _ in imports(path)}
        for name, path in modules.items()
    }
    try:
        TopologicalSorter({name: others - {name} for name, others in graph.items()}).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def test_no_modules_import_each_other_in_a_circle():
    assert circle(SOURCES, ROOT) is None


def test_a_circle_is_found_where_it_is_only_a_type(tmp_path):
    one, other = tmp_path / "one.py", tmp_path / "two" / "__init__.py"
    other.parent.mkdir()
    one.write_text("from two import Second\n")
    other.write_text("class Second: ...\n")
    assert circle([one, other], tmp_path) is None
    other.write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from one import First\n")
    assert set(circle([one, other], tmp_path)) == {"one", "two"}


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parent.name in ("tasks", "training")], ids=shown)
def test_tasks_and_training_see_bases_and_unions_of_the_families_only(path):
    for name, _ in imports(path):
        parts = name.split(".")
        if top(name) == "ganlib" and parts[1] in FAMILIES - {path.parent.name} and len(parts) > 2:
            module = ROOT / "ganlib" / parts[1] / f"{parts[2]}.py"
            assert not module.exists() or parts[2] == "base", f"{shown(path)} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_only_tracking_and_some_of_export_know_mlflow_and_the_library_does_not_know_kfp(path):
    used = {top(name) for name, _ in imports(path)}
    if path.is_relative_to(ROOT / "ganlib"):
        assert not {"kfp", "kfp_kubernetes"} & used
    if path.relative_to(ROOT).parts[:2] != ("ganlib", "tracking") and shown(path) not in KNOW_MLFLOW:
        assert "mlflow" not in used


def test_nothing_registers_a_keras_object():
    """MLflow pickles every one that is registered, by module, even for a model that uses none (docs/serving.md).

    Where this project is not installed, such a model does not load.
    """
    import keras

    registering = re.compile(r"register_keras_serializable|custom_object_scope|CustomObjectScope|get_custom_objects")
    assert not [shown(path) for path in SOURCES if registering.search(path.read_text())]
    for path in SOURCES:
        if path.parts[-2:] not in PROGRAMS:
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    assert keras.saving.get_custom_objects() == {}


@pytest.mark.parametrize("path", COMPONENTS, ids=shown)
def test_a_component_is_one_function_named_as_its_file_and_imports_only_kfp_above_it(path):
    tree = ast.parse(path.read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [function.name for function in functions] == [path.stem]
    assert {top(name) for name, depth in imports(path) if depth == 0} == {"kfp"}
    assert not functions[0].args.defaults
    assert not any(functions[0].args.kw_defaults)
    # kfp.local takes the items of a loop from what a component returns, and from no other output.
    assert (functions[0].returns is None) == (path.stem != "halve_candidates")


def test_every_component_is_used_by_a_pipeline():
    used = {name for path in SOURCES if path.parent.name == "pipelines" for name, _ in imports(path)}
    assert {f"components.{path.stem}.{path.stem}" for path in COMPONENTS} <= used
    assert len(COMPONENTS) >= 5


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_a_file_can_be_read_in_one_sitting(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{shown(path)} has {lines} lines"


def test_there_are_no_drawers_for_odds_and_ends():
    assert not [shown(path) for path in SOURCES if path.stem in ("utils", "util", "helpers", "common", "misc")]


def test_the_docker_folder_does_not_shadow_the_docker_package():
    assert not (ROOT / "docker" / "__init__.py").exists()
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_the_distribution_lists_every_package_and_no_other():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    present = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in SOURCES if path.stem == "__init__"
    }
    assert set(project["tool"]["setuptools"]["packages"]) == present
    assert {path.parent for path in SOURCES} == {path.parent for path in SOURCES if path.stem == "__init__"}


def test_the_distribution_carries_the_files_that_are_not_code():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    carried = {
        path
        for package, patterns in project["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    others = {
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert carried == others


def test_no_file_names_the_host_of_a_registry():
    folders = (*PACKAGES, "tests", "benchmarks", "docker", "requirements", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    texts = [path for path in files if path.suffix in TEXT and "__pycache__" not in path.parts]
    assert len(texts) > len(SOURCES)
    found = [f"{shown(path)}: {hit}" for path in texts for hit in HOST.findall(path.read_text(errors="replace"))]
    assert not found
