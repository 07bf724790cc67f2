"""README and the pages under docs: short, with links that lead somewhere and commands that the program knows."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.command.main import main
from pipelines.command.options import resolve_config
from pipelines.command.stops import Stop

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
EVERY = [*PAGES, ROOT / "CHANGELOG.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:\$ )?(?:[A-Z_]+=\S+ )*gan-pipelines ")
OPTION = re.compile(r"(?:data|task|model|objective|training|evaluation|export|platform)(?:\.[a-z_0-9]+)+(?==|$)")
ENDS = {"|", ">", "&&"}  # what follows is the shell's
PLACE = ["--set", "data.source.path=FOLDER"]
BELOW = [
    ["--preset", "folder", "--set", "task.conditional=true"],
    ["--preset", "folder", "--preset", "cyclegan"],
    ["--preset", "folder", "--preset", "inpaint"],
    ["--preset", "folder", "--preset", "denoise"],
    ["--preset", "pairs", "--preset", "pix2pix"],
    ["--preset", "folder"],
    [],
]  # settings that an option in a sentence may be meant beside


def title(page):
    return str(page.relative_to(ROOT))


def blocks(page, language):
    return [text for word, text in FENCE.findall(page.read_text()) if word == language]


def spans(page):
    """Returns what is written as code within a sentence, each on one line."""
    return [" ".join(span.split()) for span in SPAN.findall(FENCE.sub("", page.read_text()))]


def commands(page):
    """Yields each command of the program as words, with the line below it."""
    for block in blocks(page, ""):
        lines = block.replace("\\\n", " ").splitlines()
        for line, below in zip(lines, [*lines[1:], ""], strict=True):
            if COMMAND.match(line):
                yield words(COMMAND.sub("", line, count=1)), below
    for span in spans(page):
        if COMMAND.match(span):
            yield words(COMMAND.sub("", span, count=1)), ""


def words(line):
    every = shlex.split(line, comments=True)
    return every[: next((index for index, word in enumerate(every) if word in ENDS), len(every))]


def settings(parameters):
    return resolve_config(*(parameters.get(name, ()) for name in ("chosen", "files", "assignments")))


def mistake(parameters):
    """Returns the line that refuses the settings, or nothing."""
    try:
        settings(parameters)
    except Stop as stop:
        return f"error: {stop}"
    return ""


def refusal(line):
    """Returns the line that refuses the options of `run`, or nothing. Data of one's own have a place."""
    place = PLACE if {"folder", "pairs"} & {*line} and not any("data.source.path" in word for word in line) else []
    return mistake(main.commands["run"].make_context("run", [*line, *place]).params)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """An empty folder with the files and folders that the documents' commands name."""
    monkeypatch.chdir(tmp_path)
    [cluster] = [block for block in blocks(ROOT / "docs" / "cluster.md", "yaml") if "cluster.yaml" in block]
    Path("cluster.yaml").write_text(cluster)
    Path("mine.yaml").write_text("training: {steps: 5}\n")
    Path("pipeline.yaml").write_text("")
    for run in ("cats", "dogs", "A", "B"):
        Path("runs", run).mkdir(parents=True)


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", EVERY, ids=title)
def test_links_and_pictures_lead_somewhere(page):
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" not in link:
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_every_page_and_picture_is_reached_from_the_readme():
    reached, todo = {README}, [README]
    while todo:
        page = todo.pop()
        for link in LINK.findall(page.read_text()) if page.suffix == ".md" else []:
            target = (page.parent / link.partition("#")[0]).resolve()
            if "://" not in link and target not in reached:
                reached.add(target)
                todo.append(target)
    assert {path for path in (ROOT / "docs").rglob("*") if path.is_file()} <= reached


@pytest.mark.parametrize("page", PAGES, ids=title)
@pytest.mark.usefixtures("files")
def test_commands_are_understood(page):
    for [name, *rest], below in commands(page):
        command = main.commands[name]
        if not rest:  # only the command's name, in a sentence
            continue
        refused = mistake(command.make_context(name, rest).params)
        assert refused in ("", below), rest  # a page may show a mistake with its message


@pytest.fixture(scope="module")
def fields():
    """Every field of the config, by its plain path."""
    lines = CliRunner().invoke(main, ["config"]).output.splitlines()
    return {re.sub(r"\[\w+\]", "", line.split()[0]) for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_options_exist_and_take_their_values(page, fields):
    options = [option for command in main.commands.values() for option in command.params]
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    for span in spans(page):
        if path := OPTION.match(span):
            assert path.group().removesuffix(".kind") in fields, span
            span = f"--set {span}" if "=" in span else span
        if span.startswith(("--set ", "--preset ")):
            refused = {refusal([*below, *words(span)]) for below in BELOW}
            assert "" in refused, (span, refused)
        elif span.startswith("--"):
            assert words(span)[0] in known, span


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_scripts_and_targets_exist(page):
    text = page.read_text()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^make ([a-z-]+)", "\n".join([*blocks(page, ""), *spans(page)]), re.MULTILINE)) <= {*targets}
    for script, options in re.findall(r"(benchmarks/\w+\.py)([^`\n|]*)", text):
        for option in re.findall(r"--[a-z-]+", options):
            assert f'"{option}"' in (ROOT / script).read_text(), (script, option)
        assert (ROOT / script).exists()


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_python_is_python(page):
    for block in blocks(page, "python"):
        compile(block, title(page), "exec")
