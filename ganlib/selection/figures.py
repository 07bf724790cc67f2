"""Pictures of the report: a strip of dots for each variant, the curves, and sheets of samples."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib.evaluation.report import svg
from ganlib.progress import number

with epy.lazy_imports():
    import matplotlib.figure
    import numpy as np
    from matplotlib import ticker
    from PIL import Image

if TYPE_CHECKING:
    from ganlib.selection.curves import Curve
    from ganlib.selection.recommendation import Result
    from ganlib.selection.scale import Scale

# Of equal lightness and told apart with colour-blind eyes (Okabe and Ito), the better variants first.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c6d31")
OTHERS = "#a9b2bf"  # all variants after these
WIDTH, HEIGHT, MARGIN = 260, 26, 10  # pixels of a strip
OUTSIDE = 0.02  # part of the axis by which a score beyond its end is shown outside
SHEET_SIDE, SMALL = 640, 150_000  # pixels of a sheet's longer side; bytes of a PNG above which it becomes a JPEG
QUALITY = 90
WIDE = 5  # ratio of the highest and the lowest score of the curves above which their axis is logarithmic


def colours(variants: Sequence[str]) -> dict[str, str]:
    """Returns a colour for each variant, in the order of the ranking."""
    return {name: COLOURS[place] if place < len(COLOURS) else OTHERS for place, name in enumerate(variants)}


def strips(results: Sequence[Result], scale: Scale, palette: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Returns a picture for each variant, with a dot for each seed and a line for the interval, and their axis.

    All have one axis, that of the scores, so that they compare in a column of a table. It spans the ranked variants:
    scores of others that are further out are hollow dots at its end.
    """
    ranked = [one for one in results if one.mean is not None]
    ends = [end for one in ranked for end in (*one.scores, one.low, one.high) if end is not None]
    low, high = (float(pick(scale.losses(ends))) for pick in (np.min, np.max))
    low, high = (low - 0.5, high + 0.5) if high <= low else (low, high)

    def place(score: float) -> float:
        share = min(max((float(scale.losses(score)) - low) / (high - low), -OUTSIDE), 1.0 + OUTSIDE)
        return MARGIN + (WIDTH - 2 * MARGIN) * (share if scale.lower else 1.0 - share)

    return {one.variant: _strip(one, palette[one.variant], place) for one in results}, _axis(scale, low, high, place)


def _strip(result: Result, colour: str, place: Callable[[float], float]) -> str:
    middle, shapes = HEIGHT / 2, []
    if result.low is not None and result.high is not None:
        ends = f'x1="{place(result.low):.1f}" x2="{place(result.high):.1f}" y1="{middle}" y2="{middle}"'
        shapes.append(f'<line {ends} stroke="{colour}" stroke-width="2"/>')
    if result.mean is not None and len(result.scores) > 1:
        x = place(result.mean)
        ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{middle - 8}" y2="{middle + 8}"'
        shapes.append(f'<line {ends} stroke="{colour}" stroke-width="2"/>')
    for x in map(place, result.scores):
        fill = f'fill="{colour}" fill-opacity="0.55"'
        if not MARGIN - 0.1 <= x <= WIDTH - MARGIN + 0.1:
            fill = f'fill="none" stroke="{colour}" stroke-width="1.5"'
        shapes.append(f'<circle cx="{x:.1f}" cy="{middle}" r="4" {fill}/>')
    return _drawing(HEIGHT, shapes, f"{result.variant}: {', '.join(map(number, result.scores))}")


def _axis(scale: Scale, low: float, high: float, place: Callable[[float], float]) -> str:
    """Returns the axis with three numbers."""
    shapes = []
    for loss, anchor in ((low, "start"), ((low + high) / 2.0, "middle"), (high, "end")):
        score = scale.score(loss)
        anchor = {"start": "end", "end": "start"}.get(anchor, anchor) if not scale.lower else anchor
        x = place(score) + {"start": -MARGIN, "end": MARGIN}.get(anchor, 0)
        shapes.append(f'<line x1="{place(score):.1f}" x2="{place(score):.1f}" y1="0" y2="4" stroke="#5a6577"/>')
        shapes.append(
            f'<text x="{x:.1f}" y="17" font-size="11" fill="#5a6577" text-anchor="{anchor}">{number(score)}</text>'
        )
    return _drawing(22, shapes, "axis")


def _drawing(height: int, shapes: Sequence[str], title: str) -> str:
    return (
        f'<svg class="strip" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="{_escaped(title)}">{"".join(shapes)}</svg>'
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def draw_curves(curves: Sequence[Curve], palette: Mapping[str, str], *, over: str, label: str) -> str:
    """Returns the curves of all candidates as SVG text. A cross ends the curve of a candidate that failed.

    Args:
        curves: The curves.
        palette: Colour of each variant.
        over: `images` or `seconds`.
        label: Label of this axis.
    """
    figure = matplotlib.figure.Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for curve in reversed(curves):  # the best variant on top
        colour, x = palette[curve.outcome.variant], getattr(curve, over)
        thin = colour == OTHERS
        axes.plot(x, curve.values, color=colour, linewidth=0.8 if thin else 1.4, alpha=0.7 if thin else 0.9)
        axes.plot(
            x[-1],
            curve.values[-1],
            marker="s" if curve.outcome.halving else "X" if curve.outcome.failure else "o",
            markersize=9 if curve.outcome.failure else 4,
            color=colour,
            markeredgecolor="black" if curve.outcome.failure else colour,
        )
    values = [value for curve in curves for value in curve.values]
    plain = ticker.FuncFormatter(lambda value, _: number(value))
    if min(values) > 0 and max(values) > WIDE * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(plain)
        few = math.log10(max(values) / min(values)) < 1.5
        axes.yaxis.set_minor_formatter(plain if few else ticker.NullFormatter())
    axes.xaxis.set_major_formatter(plain)
    axes.set_xlabel(label)
    axes.grid(visible=True, alpha=0.3)
    return svg(figure)


def sheet_url(path: Path) -> str:
    """Returns a sheet of samples as a data URL, made smaller if it is large, because a page shows many of them."""
    with Image.open(path) as picture:
        small = picture.convert("L" if picture.mode == "L" else "RGB")
    small.thumbnail((SHEET_SIDE, SHEET_SIDE), Image.Resampling.LANCZOS)
    buffer, kind = io.BytesIO(), "png"
    small.save(buffer, format="PNG", optimize=True)
    if buffer.tell() > SMALL:
        buffer, kind = io.BytesIO(), "jpeg"
        small.save(buffer, format="JPEG", quality=QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
