"""What a finished run on this machine tells people and programs."""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganlib import storage
from ganlib.evaluation import Evaluation
from ganlib.export.register import FILE as REGISTRATION
from ganlib.selection.verdict import PAGE, Verdict

WIDTH = 79  # of what a person reads; paths and commands are longer


@dataclass(frozen=True)
class Gated:
    """What became of a model in the gate and in the registry.

    Attributes:
        verdict: That of the registration or, without one, of the gate, if there is one.
        registered: The model's version in the registry, if it has one.
    """

    verdict: Verdict | None
    registered: dict[str, Any] | None

    @classmethod
    def of(cls, outputs: Mapping[str, Any]) -> Gated:
        """Reads the outputs of a pipeline."""
        folder = verdict_folder(outputs)
        place = Path(outputs["registered"].path) / REGISTRATION if "registered" in outputs else None
        return cls(
            None if folder is None else Verdict.open(folder), None if place is None else storage.read_json(place)
        )

    @property
    def lines(self) -> list[str]:
        """The decision and its reasons, for people."""
        lines: list[str] = []
        if self.verdict is not None:
            lines += ["", *_indented(f"gate: {self.verdict.summary}")]
            lines += [line for reason in self.verdict.failed for line in _indented(f"- {reason.text}")]
        if self.registered is not None:
            lines += _indented(f"registry: {self.registered['summary']}")
        return lines

    def places(self, folder: Path) -> list[str]:
        """Returns where the page and the version are.

        Args:
            folder: Folder of the run.
        """
        page = [f"  verdict   {folder / PAGE}"] if self.verdict else []
        return page + ([f"  version   {self.registered['uri']}"] if self.registered else [])

    def to_json(self) -> dict[str, Any]:
        """Returns both as JSON."""
        return {"verdict": None if self.verdict is None else self.verdict.to_json(), "registered": self.registered}


@dataclass(frozen=True)
class Result:
    """What a finished run left behind.

    Attributes:
        name: Name of the run.
        folder: Its folder.
        evaluation: Scores and report.
        training: Best and last step, rollbacks, and why it stopped early if it did.
        seconds: Wall time by step.
        cached: Steps that an earlier run had finished.
        mlflow_run_id: Run that everything was logged to, if the server was there.
        mlflow_tracking_uri: Its store.
        published: Where the exported model was published too, if anywhere.
        gated: What became of the model in the gate and in the registry.
    """

    name: str
    folder: Path
    evaluation: Evaluation
    training: dict[str, Any]
    seconds: dict[str, float]
    cached: tuple[str, ...]
    mlflow_run_id: str | None
    mlflow_tracking_uri: str
    published: str | None
    gated: Gated

    def to_json(self) -> dict[str, Any]:
        """Returns the object that `run --json` prints."""
        return {
            "run": self.name,
            "status": "succeeded",
            "scores": self.evaluation.values,
            "floors": self.evaluation.floors,
            "floor_counts": self.evaluation.floor_counts,
            "notes": list(self.evaluation.notes),
            "training": self.training,
            "seconds": self.seconds,
            "cached": list(self.cached),
            "model": str(self.folder / "model"),
            "published": self.published,
            **self.gated.to_json(),
            "report": str(self.folder / "report.html"),
            "mlflow_run_id": self.mlflow_run_id,
            "mlflow_tracking_uri": self.mlflow_tracking_uri,
        }

    def to_text(self) -> str:
        """Returns what a person reads at the end."""
        spent = sum(seconds for step, seconds in self.seconds.items() if step not in self.cached)
        lines = [f"\n{self.name}: done in {spent:.0f} s\n"]
        scores = self.evaluation.scores
        changes = any(score.baseline is not None for score in scores)
        rows = [("", "generated", "real images", "doing nothing" if changes else "")]
        rows += [(score.name, score.text, score.floor_text, score.baseline_text) for score in scores]
        names, values, floors, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines += [
            f"  {name:<{names}}  {value:<{values}}  {floor:<{floors}}  {baseline}".rstrip()
            for name, value, floor, baseline in rows
        ]
        for note in self.evaluation.notes:
            lines += _indented(f"note: {note}")
        lines += self.gated.lines
        lines.append("")
        for step, seconds in self.seconds.items():
            lines.append(f"  {step:<{names}} {seconds:>8.1f}s{'  (from the cache)' if step in self.cached else ''}")
        lines += [
            "",
            f"  report    {self.folder / 'report.html'}",
            f"  log       {self.folder / 'log.txt'}",
            f"  pictures  {self.folder / 'samples.png'}",
            f"  model     {self.folder / 'model'}",
            *([f"  published {self.published}"] if self.published else []),
            *self.gated.places(self.folder),
            f"  MLflow    {mlflow_command(self.mlflow_tracking_uri)}",
        ]
        return "\n".join(lines)


def verdict_folder(outputs: Mapping[str, Any]) -> Path | None:
    """Returns the folder of the verdict that counts in the outputs of a pipeline, if there is one."""
    found = next((outputs[name] for name in ("registered", "verdict") if name in outputs), None)
    return None if found is None else Path(found.path)


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")


def mlflow_command(uri: str) -> str:
    """Returns the command that opens the MLflow UI on a store."""
    if uri.startswith(("http://", "https://")):
        return uri
    # The script `mlflow` need not lie beside Python, nor be found by the shell.
    return f"{shlex.quote(sys.executable)} -m mlflow ui --backend-store-uri {shlex.quote(uri)} --port 5000"
