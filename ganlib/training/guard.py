"""Training that watches itself: finds problem, reacts as configured, records both, and ends when it is time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganlib.training import health
from ganlib.training.health import Finding, TrainingDiverged
from ganlib.training.state import Recent

if TYPE_CHECKING:
    from ganlib.tracking import Tracker
    from ganlib.training.checkpoints import Checkpoints
    from ganlib.training.config import HealthConfig, TrainConfig
    from ganlib.training.state import TrainState
    from ganlib.training.trainer import Row

DONE = {"note": "noted", "roll_back": "rolled back", "stop": "stopped", "fail": "failed"}


class Guard:
    """Reacts to findings.

    Args:
        config: Reactions and thresholds.
        checkpoints: Where the state at the best score lies.
        tracker: Records the events.
        last_step: The run's last step, after which a rollback would be of no use.
    """

    def __init__(
        self, config: HealthConfig, checkpoints: Checkpoints, tracker: Tracker, *, last_step: int | None = None
    ) -> None:
        self.config, self._last_step = config, last_step
        self._checkpoints, self._tracker = checkpoints, tracker

    def react(self, finding: Finding, row: Row, state: TrainState) -> None:
        """Does what the config says, and records it.

        Raises:
            TrainingDiverged: The reaction is to fail.
        """
        step, reaction, record = state.clock.step, self._reaction(finding, state), state.health
        done = DONE[reaction]
        if reaction == "roll_back" or (reaction == "stop" and finding.problem == "non_finite"):
            done += f" to the state of step {self._checkpoints.roll_back(state)}"
        if reaction == "roll_back":
            record.rollbacks += 1
            record.learning_rate_scale *= self.config.rollback_learning_rate_factor
            record.signs.clear()  # they and the terms are of what was taken back
            record.told.clear()
            state.recent = Recent()
            done += f", learning rates now {record.learning_rate_scale:g} of those configured"
        number = record.events[finding.problem] = record.events.get(finding.problem, 0) + 1
        row[f"health/{finding.problem}"] = float(number)
        print(f"health: step {step}: {finding.problem}, {done}: {finding.text}", flush=True)
        self._tracker.event(step, problem=finding.problem, reaction=done, text=finding.text)
        if reaction == "fail":
            self._tracker.metrics(step, row)  # nothing after this one will record what was measured
            after = f", after {record.rollbacks} rollbacks" if record.rollbacks else ""
            raise TrainingDiverged(
                f"step {step}{after}: {finding.problem}: {finding.text}; the checkpoints before are kept"
            )
        if reaction == "stop":
            state.stop(finding.problem, f"step {step}: {finding.problem}: {finding.text}")

    def _reaction(self, finding: Finding, state: TrainState) -> str:
        wanted: str = getattr(self.config, finding.problem)
        if wanted != "roll_back":
            return wanted
        if finding.problem != "non_finite" and self._useless(finding, state):
            return "note"
        if state.health.rollbacks >= self.config.max_rollbacks:
            return "fail" if finding.problem == "non_finite" else "stop"
        return wanted

    def _useless(self, finding: Finding, state: TrainState) -> bool:
        """Says whether a rollback would change nothing: from the best state, to one as bad, or with no step left."""
        never_diverse = finding.problem == "collapsed" and not state.health.diverse
        step = state.clock.step
        return state.best.step == step or never_diverse or step == self._last_step


class CheckTerms:
    """Looks at every row of terms, before anything else does."""

    def __init__(self, guard: Guard) -> None:
        self.every: int | None = None
        self._guard = guard

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Takes what is not finite out of the row and reacts."""
        first = state.clock.looked + 1
        broken = health.broken_terms(row)
        if broken:
            for name in broken:
                del row[name]
            self._guard.react(health.non_finite(broken, first_step=first, last_step=step), row, state)
        else:
            finding = health.saturated(row, state, self._guard.config, steps=step - first + 1)
            if finding:
                self._guard.react(finding, row, state)


class CheckScores:
    """Looks at every score, and at how unlike each other the samples are."""

    def __init__(self, guard: Guard, *, measure: str, every: int) -> None:
        self.every: int | None = every
        self._guard, self._measure = guard, measure

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Reacts to the problems that it finds."""
        del step
        config, rollbacks = self._guard.config, state.health.rollbacks
        found = [
            health.collapsed(row, state, config),
            health.degraded(row[self._measure], state, config),
            health.plateau(state, config),
        ]
        for finding in found:
            # What was found of a state that was taken back, or of a run that ends, is of no account any more.
            if finding and state.health.rollbacks == rollbacks and state.ending is None:
                self._guard.react(finding, row, state)


class StopAtLimit:
    """Ends training where it is good enough, or has taken its time.

    Args:
        reason: Name of the limit in `LIMITS` and in the section `training`.
        config: Says where it lies.
    """

    def __init__(self, reason: str, config: TrainConfig) -> None:
        self.every: int | None = None
        self._reason, self._config = reason, config

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Sets why training ends, if it does."""
        del row
        reached = LIMITS[self._reason](self._config, state)
        if state.ending is None and reached:
            state.stop(self._reason, f"step {step}: {reached}")


def time_is_over(config: TrainConfig, state: TrainState) -> str | None:
    """Returns a sentence if the run has used its minutes."""
    minutes = config.max_minutes
    return f"training.max_minutes={minutes:g} is over" if minutes and state.clock.seconds >= 60.0 * minutes else None


def target_is_reached(config: TrainConfig, state: TrainState) -> str | None:
    """Returns a sentence if the best score is as good as was asked for."""
    target, best = config.target_score, state.best.score
    if target is None or best is None or best > target:
        return None
    return f"the score {best:.4g} reached training.target_score={target:g}"


LIMITS = {"max_minutes": time_is_over, "target_score": target_is_reached}
