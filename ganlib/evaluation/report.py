"""One page that shows a run: it holds its pictures and curves, and loads nothing."""

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

GROWTH_PICTURES = 6
GROWTH_COLUMNS = 3  # of a sheet; every row of it, since each may show a class of its own
PANELS = {
    "Distance to the real images": ("training/",),
    "Diversity of the samples, real images having 1": ("diversity/",),
    "Share of images that the discriminator tells rightly": ("discriminator/accuracy",),
    "Terms of the losses": ("discriminator/", "generator/"),
    "Norms of the gradients": ("gradient/",),
    "Learning rates": ("learning_rate/",),
    "Decay of the averaged generator": ("ema/",),
    "Speed": ("speed/",),
}
HEALTH_COLOUR = "#333333"  # of no line
ROUNDING = 1e-4  # share of a curve's values within which it is drawn flat
TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class Contents:
    """What the page shows.

    Attributes:
        title: Name of the run.
        scores: What was measured.
        classes: The same of each class, where there are any.
        protocol: What makes the scores comparable.
        history: Rows of the training history.
        growth: Pictures of samples from fixed inputs, the earliest first.
        growth_share: Share of their width that the page shows, from the left.
        generated: Picture of samples.
        real: Picture of as many real images.
        galleries: Pictures that explain scores, with a caption each.
        preview: Picture of the prepared data.
        data: Sentences on what was recognised of the data.
        config: Settings by dotted name.
        seconds: Wall time by step.
        notes: Sentences about the data and the run.
        events: What health noticed on the way, and did.
    """

    title: str
    scores: Sequence[Score]
    classes: Sequence[ClassScores]
    protocol: Mapping[str, Any]
    history: Rows
    growth: Sequence[Path]
    growth_share: float
    generated: Path
    real: Path
    galleries: Mapping[Path, str]
    preview: Path
    data: Sequence[str]
    config: Mapping[str, Any]
    seconds: Mapping[str, float]
    notes: Sequence[str]
    events: Sequence[Mapping[str, Any]] = ()


def write_report(contents: Contents, path: Path) -> None:
    """Writes the page."""
    chosen = _spread(contents.growth, GROWTH_PICTURES)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        c=contents,
        growth=[(_step(picture), _embedded(picture, share=contents.growth_share)) for picture in chosen],
        generated=_embedded(contents.generated),
        real=_embedded(contents.real),
        galleries=[(_embedded(path), caption) for path, caption in contents.galleries.items()],
        preview=_embedded(contents.preview),
        curves=[
            (title, *_curve(contents.history, names, events=[event["step"] for event in contents.events]))
            for title, names in _panels(contents.history)
        ],
    )
    path.write_text(page, encoding="utf-8")


def _spread(pictures: Sequence[Path], count: int) -> list[Path]:
    """Picks pictures evenly, the first and the last among them."""
    if len(pictures) <= count:
        return list(pictures)
    return [pictures[round(index * (len(pictures) - 1) / (count - 1))] for index in range(count)]


def _step(picture: Path) -> int:
    return int(picture.stem.removeprefix("step-"))


def _embedded(path: Path, *, share: float = 1.0) -> str:
    """Returns a picture as a data address, or a share of its width, from the left."""
    with Image.open(path) as picture:
        shown = picture.crop((0, 0, int(picture.width * share), picture.height))
        buffer = io.BytesIO()
        shown.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _panels(history: Rows) -> list[tuple[str, list[str]]]:
    names = list(dict.fromkeys(name for row in history for name in row if name not in ("step", "time")))
    left, panels = [name for name in names if not name.startswith("health/")], []
    for title, prefixes in PANELS.items():
        chosen = [name for name in left if name.startswith(prefixes)]
        left = [name for name in left if name not in chosen]
        panels.append((title, chosen))
    return [(title, chosen) for title, chosen in [*panels, ("Others", left)] if chosen]


def _curve(history: Rows, names: Sequence[str], *, events: Sequence[int]) -> tuple[str, list[tuple[str, str]]]:
    """Returns a line chart as SVG text, a dashed line wherever health noticed something, and its lines' colours.

    The page shows the names: Matplotlib would measure them to make room, which takes longer than everything else, and
    they would shrink with the picture.
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
    if min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
    elif max(values) - min(values) < ROUNDING * max(map(abs, values)):
        axes.set_ylim(min(0.0, 1.5 * min(values)), max(0.0, 1.5 * max(values)))
    axes.set_xlabel("step")
    axes.grid(visible=True, alpha=0.3)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text, not its outlines
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue().decode()
    return text[text.index("<svg") :], list(colours.items())
