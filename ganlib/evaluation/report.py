"""The report: one HTML page that contains its pictures and curves and loads nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

with epy.lazy_imports():
    import jinja2
    import matplotlib.colors
    import matplotlib.figure
    from PIL import Image

if TYPE_CHECKING:
    from ganlib.evaluation.measures.per_class import ClassScores
    from ganlib.evaluation.scores import Score

    Rows = Sequence[Mapping[str, float]]

MAX_SHEETS = 6
SHEET_COLUMNS = 3  # of each sheet; with all its rows, because each may show another class
SHORTCUTS = "shortcuts/"
PANELS = {
    "Distance to the real images": ("training/",),
    "Mean absolute difference to the true images": ("truth/",),
    "Diversity of the samples relative to real images": ("diversity/",),
    "Share of samples that return their input, or paint the mean": (SHORTCUTS,),
    "Accuracy of the discriminator": ("discriminator/accuracy",),
    "Loss terms": ("discriminator/", "generator/"),
    "Gradient norms": ("gradient/",),
    "Learning rates": ("learning_rate/",),
    "Decay of the generator's averaged weights": ("ema/",),
    "Speed": ("speed/",),
}
HEALTH_COLOUR = "#333333"  # different from all curves
ROUNDING = 1e-4  # relative range of a curve's values below which it is drawn as constant
TEMPLATE, STYLE = (Path(__file__).with_name(name) for name in ("report.html.j2", "page.css.j2"))


@dataclass(frozen=True)
class Contents:
    """Contents of the page.

    Attributes:
        title: Name of the run.
        scores: The scores, the main one first.
        classes: Scores of each class, if there are classes.
        by_hole: Scores by the share of the image that a hole covers, if there are holes.
        protocol: Facts that must be equal before two scores are compared.
        history: Rows of the training history.
        sheets: Sheets of samples from fixed inputs during training, the earliest first.
        sheets_share: Share of their width to show, from the left.
        generated: Sheet of samples.
        real: Sheet of real images.
        extremes: Pictures of the best and the worst samples with their captions, in groups by title.
        galleries: Pictures that explain scores, with their captions.
        preview: Picture of the prepared data.
        data: Description of the data.
        config: Settings by dotted name.
        seconds: Wall time by step.
        notes: Sentences about the data and the run.
        events: Health events of the training.
    """

    title: str
    scores: Sequence[Score]
    classes: Sequence[ClassScores]
    by_hole: Sequence[Score]
    protocol: Mapping[str, Any]
    history: Rows
    sheets: Sequence[Path]
    sheets_share: float
    generated: Path
    real: Path
    extremes: Mapping[str, Mapping[Path, str]]
    galleries: Mapping[Path, str]
    preview: Path
    data: Sequence[str]
    config: Mapping[str, Any]
    seconds: Mapping[str, float]
    notes: Sequence[str]
    events: Sequence[Mapping[str, Any]] = ()


def write_report(contents: Contents, path: Path) -> None:
    """Writes the page."""
    chosen = _pick_evenly(contents.sheets, MAX_SHEETS)
    page = page_template(TEMPLATE).render(
        c=contents,
        sheets=[(_step(picture), _data_url(picture, share=contents.sheets_share)) for picture in chosen],
        generated=_data_url(contents.generated),
        real=_data_url(contents.real),
        extremes={
            title: [(_data_url(path), caption) for path, caption in captions.items()]
            for title, captions in contents.extremes.items()
        },
        galleries=[(_data_url(path), caption) for path, caption in contents.galleries.items()],
        preview=_data_url(contents.preview),
        curves=[
            (title, *_draw_curves(contents.history, names, events=[event["step"] for event in contents.events]))
            for title, names in _panels(contents.history)
        ],
    )
    path.write_text(page, encoding="utf-8")


def page_template(path: Path) -> jinja2.Template:
    """Returns the template of a page, to which `style`, the style of all pages, is known."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.globals["style"] = STYLE.read_text(encoding="utf-8")
    return environment.from_string(path.read_text(encoding="utf-8"))


def _pick_evenly(pictures: Sequence[Path], count: int) -> list[Path]:
    """Picks pictures at equal distances, including the first and the last."""
    if len(pictures) <= count:
        return list(pictures)
    return [pictures[round(index * (len(pictures) - 1) / (count - 1))] for index in range(count)]


def _step(picture: Path) -> int:
    return int(picture.stem.removeprefix("step-"))


def _data_url(path: Path, *, share: float = 1.0) -> str:
    """Returns a picture, or its left part, as a data URL."""
    with Image.open(path) as picture:
        part = picture.crop((0, 0, int(picture.width * share), picture.height))
        buffer = io.BytesIO()
        part.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _panels(history: Rows) -> list[tuple[str, list[str]]]:
    names = list(dict.fromkeys(name for row in history for name in row if name not in ("step", "time")))
    others, panels = [name for name in names if not name.startswith("health/")], []
    for title, prefixes in PANELS.items():
        chosen = [name for name in others if name.startswith(prefixes)]
        others = [name for name in others if name not in chosen]
        panels.append((title, chosen))
    return [(title, chosen) for title, chosen in [*panels, ("Others", others)] if chosen]


def _draw_curves(history: Rows, names: Sequence[str], *, events: Sequence[int]) -> tuple[str, list[tuple[str, str]]]:
    """Returns a line chart as SVG text, with dashed lines at health events, and the colour of each line by name.

    The page itself shows the names. In Matplotlib's legend, they would shrink with the picture, and their layout would
    take longer than everything else.
    """
    figure = matplotlib.figure.Figure(figsize=(6.4, 3.2))
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.15, top=0.97)
    axes, colours = figure.add_subplot(), {}
    for name in names:
        points = [(row["step"], row[name]) for row in history if name in row]
        marker = "o" if len(points) < 60 else ""
        (line,) = axes.plot(*zip(*points, strict=True), marker=marker, markersize=3, linewidth=1.2)
        colours[name] = matplotlib.colors.to_hex(line.get_color())
    for step in events:
        colours["health"] = HEALTH_COLOUR
        axes.axvline(step, color=HEALTH_COLOUR, linewidth=1.0, linestyle="--", alpha=0.7)
    values = [row[name] for row in history for name in names if name in row]
    if names[0].startswith(SHORTCUTS):  # all that matters is whether they are near 1
        axes.set_ylim(-0.03, 1.03)
    elif min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
    elif max(values) - min(values) < ROUNDING * max(map(abs, values)):
        axes.set_ylim(min(0.0, 1.5 * min(values)), max(0.0, 1.5 * max(values)))
    axes.set_xlabel("step")
    axes.grid(visible=True, alpha=0.3)
    return svg(figure), list(colours.items())


def svg(figure: matplotlib.figure.Figure) -> str:
    """Returns a figure as SVG text for a page, with letters as text."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text instead of outlines
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue().decode()
    return text[text.index("<svg") :]
