"""Training that watches itself: finds trouble, reacts as configured, records both, and ends when it is time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganlib.training import health
from ganlib.training.health import Finding, HealthConfig, TrainingDiverged

if TYPE_CHECKING:
    from ganlib.tracking import Tracker
    from ganlib.training.config import TrainConfig
    from ganlib.training.state import Checkpoints, TrainState
    from ganlib.training.trainer import Row

DONE = {"note": "noted", "roll_back": "rolled back", "stop": "stopped", "fail": "failed"}


class Guard:
    """Reacts to findings.

    Args:
        config: Reactions and limits.
        checkpoints: Where the state at the best score lies.
        tracker: Records the events.
    """

    def __init__(self, config: HealthConfig, checkpoints: Checkpoints, tracker: Tracker) -> None:
        self.config = config
        self._checkpoints, self._tracker = checkpoints, tracker

    def react(self, finding: Finding, row: Row, state: TrainState) -> None:
        """Does what the config says, and records it.

        Raises:
            TrainingDiverged: The reaction is to fail.
        """
        step, reaction = state.step, self._reaction(finding, state)
        if reaction == "roll_back" or (reaction == "stop" and finding.trouble == "non_finite"):
            best = self._checkpoints.roll_back(state)
            back = f" to step {best}, with learning rates of {self.config.gentler:g} times before"
        if reaction == "roll_back":
            state.rollbacks += 1
            state.gentleness *= self.config.gentler
            state.signs.clear()
        number = state.events[finding.trouble] = state.events.get(finding.trouble, 0) + 1
        row[f"health/{finding.trouble}"] = float(number)
        done = DONE[reaction] + (back if reaction == "roll_back" else "")
        print(f"health: step {step}: {finding.trouble}, {done}: {finding.text}", flush=True)
        self._tracker.event(step, trouble=finding.trouble, reaction=done, text=finding.text)
        if reaction == "fail":
            raise TrainingDiverged(f"{finding.text}; the checkpoints before are kept")
        if reaction == "stop":
            state.stop(finding.trouble, f"{finding.trouble}: {finding.text}")

    def _reaction(self, finding: Finding, state: TrainState) -> str:
        wanted: str = getattr(self.config, finding.trouble)
        if wanted == "roll_back" and state.rollbacks >= self.config.max_rollbacks:
            return "fail" if finding.trouble == "non_finite" else "stop"
        return wanted


class Watch:
    """Looks at every row of terms, before anything else does."""

    def __init__(self, guard: Guard, *, start: int) -> None:
        self.every: int | None = None
        self._guard = guard
        self._before = start

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Takes what is not finite out of the row and reacts."""
        first, self._before = self._before + 1, step
        broken = health.broken_terms(row)
        if broken:
            for name in broken:
                del row[name]
            self._guard.react(health.non_finite(broken, first_step=first, last_step=step), row, state)
        else:
            finding = health.saturated(row, state, self._guard.config, steps=step - first + 1)
            if finding:
                self._guard.react(finding, row, state)


class Judge:
    """Looks at every score, and at how unlike each other the samples are."""

    def __init__(self, guard: Guard, *, measure: str, every: int) -> None:
        self.every: int | None = every
        self._guard, self._measure = guard, measure

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Reacts to the first trouble that it finds."""
        del step
        config = self._guard.config
        found = [
            health.collapsed(row, state, config),
            health.worsened(row[self._measure], state, config),
            health.stalled(state, config),
        ]
        finding = next((finding for finding in found if finding), None)
        if finding:
            self._guard.react(finding, row, state)


class Limits:
    """Ends training where it is good enough, or has taken its time."""

    def __init__(self, config: TrainConfig) -> None:
        self.every: int | None = None
        self._config = config

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Sets why training ends, if it does."""
        del step, row
        reason = self.reached(state)
        if reason and state.stopped is None:
            print(f"train: ends at step {state.step}: {reason[1]}", flush=True)
            state.stop(*reason)

    def reached(self, state: TrainState) -> tuple[str, str] | None:
        """Returns the limit that the state has reached, and a sentence on it."""
        target, minutes = self._config.target_score, self._config.max_minutes
        if target is not None and state.best_score is not None and state.best_score <= target:
            return "target_score", f"the score {state.best_score:.4g} reached training.target_score={target:g}"
        if minutes is not None and state.seconds >= 60.0 * minutes:
            return "max_minutes", f"training.max_minutes={minutes:g} are over"
        return None

    def lift(self, state: TrainState) -> None:
        """Lets a resumed run go on that had stopped at a limit which is higher now."""
        if state.stopped in ("target_score", "max_minutes") and self.reached(state) is None:
            state.stopped = state.stop_text = None
