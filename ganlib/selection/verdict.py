"""The verdict of the gate: a decision with its reasons, as data, as text and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from etils import epy

from ganlib import storage

with epy.lazy_imports():
    import jinja2

Result = Literal["passed", "failed", "not checked"]
Decision = Literal["promote", "refuse"]
TEMPLATE = Path(__file__).with_name("verdict.html.j2")
FILE, PAGE = "verdict.json", "verdict.html"
TAG = 5000  # characters; MLflow takes 8,000 for a run


@dataclass(frozen=True)
class Reason:
    """One check of the gate.

    Attributes:
        check: What was checked, in a few words.
        result: Whether it passed; `not checked` if no threshold asks for it.
        measured: What was measured.
        asked: What was asked for, with the name of the setting; for a check that was not made, how to ask for it.
    """

    check: str
    result: Result
    measured: str
    asked: str

    @property
    def text(self) -> str:
        """The check as one line."""
        return f"{self.check}: {self.result}; {self.measured}" + (f" (asked: {self.asked})" if self.asked else "")


@dataclass(frozen=True)
class Verdict:
    """Whether a model may be promoted, and why.

    Attributes:
        decision: `promote`, or `refuse`.
        summary: The decision in one sentence.
        reasons: All checks, the failed ones first.
        model: Name and identity of the model: `run`, `step`, `sha256`.
        champion: The version that it was compared with; None if there was none, or no registry was asked.
        gate: The thresholds.
        notes: Sentences to consider.
        expected: The champion at the time, which a promotion expects; another version than `champion` if that one has
            the networks of the model.
        tolerance: Largest difference, in the range -1..1, that its trial in the server allowed; None without a trial.
    """

    decision: Decision
    summary: str
    reasons: tuple[Reason, ...]
    model: Mapping[str, Any]
    champion: str | None
    gate: Mapping[str, Any]
    notes: tuple[str, ...] = field(default=())
    expected: str | None = None
    tolerance: float | None = None

    @property
    def failed(self) -> tuple[Reason, ...]:
        """The reasons to refuse the model."""
        return tuple(reason for reason in self.reasons if reason.result == "failed")

    @property
    def tag(self) -> str:
        """The reasons to refuse the model as text of at most `TAG` characters; `none` if there are none."""
        return "\n".join(reason.text for reason in self.failed)[:TAG] or "none"

    @property
    def text(self) -> str:
        """The decision and the checks that were made, a line each."""
        made = [f"  {reason.text}" for reason in self.reasons if reason.result != "not checked"]
        return "\n".join([self.summary, *made, *(f"  note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """Returns the verdict as JSON."""
        return asdict(self)

    def to_metadata(self) -> dict[str, Any]:
        """Returns metadata of a KFP artifact, which KFP's page shows as a table."""
        # Failed ones come first, and count where a check has several reasons.
        checks = {reason.check: reason.result for reason in reversed(self.reasons) if reason.result != "not checked"}
        return {"decision": self.decision, "summary": self.summary, "champion": self.champion, **checks}

    def save(self, folder: Path) -> None:
        """Writes the verdict as `verdict.json`, and as the page `verdict.html`."""
        storage.write_json(folder / FILE, self.to_json())
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
        page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(v=self)
        (folder / PAGE).write_text(page, encoding="utf-8")

    @classmethod
    def open(cls, folder: str | Path) -> Verdict:
        """Opens a folder with a verdict.

        Raises:
            ValueError: There is none, or a damaged one.
        """
        saved = storage.read_json(Path(folder) / FILE)
        try:
            reasons = tuple(Reason(**reason) for reason in saved["reasons"])
            return cls(**{**saved, "reasons": reasons, "notes": tuple(saved["notes"])})
        except (LookupError, TypeError) as error:
            raise ValueError(f"expected a verdict of the gate. Received: folder={str(folder)!r}") from error
