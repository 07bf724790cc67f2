"""Callbacks that react to problems of the training, and that end it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from ganlib.training import health
from ganlib.training.health import Finding, TrainingDiverged
from ganlib.training.rows import ACCURACY
from ganlib.training.state import Recent

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.tracking import Tracker
    from ganlib.training.checkpoints import Checkpoints
    from ganlib.training.config import HealthConfig, TrainConfig
    from ganlib.training.state import TrainState
    from ganlib.training.trainer import Row

PAST_TENSE = {"note": "noted", "roll_back": "rolled back", "stop": "stopped", "fail": "failed"}


class Guard:
    """Reacts to problems.

    Args:
        config: Reactions and thresholds.
        checkpoints: Holds the state of the best score.
        tracker: Records the events.
        last_step: The last step of the run, where a rollback would be useless.
    """

    def __init__(
        self, config: HealthConfig, checkpoints: Checkpoints, tracker: Tracker, *, last_step: int | None = None
    ) -> None:
        self.config, self._last_step = config, last_step
        self._checkpoints, self._tracker = checkpoints, tracker

    def react(self, finding: Finding, row: Row, state: TrainState) -> None:
        """Does what the config says about a problem, and records it.

        Raises:
            TrainingDiverged: The reaction is to fail.
        """
        step, reaction, record = state.clock.step, self._reaction(finding, state), state.health
        done = PAST_TENSE[reaction]
        if reaction == "roll_back" or (reaction == "stop" and finding.problem == "non_finite"):
            done += f" to the state of step {self._checkpoints.roll_back(state)}"
        if reaction == "roll_back":
            record.rollbacks += 1
            record.learning_rate_scale *= self.config.rollback_learning_rate_factor
            record.signs.clear()  # they describe the state before the rollback, and so do the terms
            record.reported.clear()
            state.recent = Recent()
            done += f", learning rates now {record.learning_rate_scale:g} times the configured ones"
        number = record.events[finding.problem] = record.events.get(finding.problem, 0) + 1
        row[f"health/{finding.problem}"] = float(number)
        print(f"health: step {step}: {finding.problem}, {done}: {finding.text}", flush=True)
        self._tracker.event(step, problem=finding.problem, reaction=done, text=finding.text)
        if reaction == "fail":
            self._tracker.metrics(step, row)  # no later callback will record them
            after = f", after {record.rollbacks} rollbacks" if record.rollbacks else ""
            raise TrainingDiverged(
                f"step {step}{after}: {finding.problem}: {finding.text}; earlier checkpoints are kept"
            )
        if reaction == "stop":
            state.stop(finding.problem, f"step {step}: {finding.problem}: {finding.text}")

    def _reaction(self, finding: Finding, state: TrainState) -> str:
        reaction: str = getattr(self.config, finding.problem)
        if reaction != "roll_back":
            return reaction
        if finding.problem != "non_finite" and self._useless(finding, state):
            return "note"
        if state.health.rollbacks >= self.config.max_rollbacks:
            return "fail" if finding.problem == "non_finite" else "stop"
        return reaction

    def _useless(self, finding: Finding, state: TrainState) -> bool:
        """Returns whether a rollback is useless: at the best state, without a better one, or at the last step."""
        never_diverse = finding.problem == "collapsed" and not state.health.diverse
        step = state.clock.step
        return state.best.step == step or never_diverse or step == self._last_step


class CheckTerms:
    """Checks every row of terms, before scores are taken."""

    def __init__(self, guard: Guard) -> None:
        self.every: int | None = None
        self._guard = guard

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Removes values that are not finite from the row, and reacts."""
        first = state.clock.looked + 1
        broken = health.non_finite_terms(row)
        if broken:
            for name in broken:
                del row[name]
            self._guard.react(health.non_finite(broken, first_step=first, last_step=step), row, state)
        elif ACCURACY in row:  # there is a discriminator
            finding = health.saturated(row, state, self._guard.config, steps=step - first + 1)
            if finding:
                self._guard.react(finding, row, state)


class CheckScores:
    """Checks every score, the diversity of the samples, and whether they are shortcuts."""

    def __init__(self, guard: Guard, *, measure: str, every: int) -> None:
        self.every: int | None = every
        self._guard, self._measure = guard, measure

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Reacts to what it finds."""
        del step
        config, rollbacks = self._guard.config, state.health.rollbacks
        findings = [
            health.collapsed(row, state, config),
            *health.shortcuts(row, state, config),
            health.degraded(row[self._measure], state, config),
            health.plateau(state, config),
        ]
        for finding in findings:
            # After a rollback, or once the run ends, the other findings no longer describe the state.
            if finding and state.health.rollbacks == rollbacks and state.ending is None:
                self._guard.react(finding, row, state)


class StopAtLimit:
    """Ends training at a score or after a time.

    Args:
        reason: Name of the limit in `LIMITS` and in the section `training`.
        config: Holds the limit.
    """

    def __init__(self, reason: str, config: TrainConfig) -> None:
        self.every: int | None = None
        self._reason, self._config = reason, config

    def __call__(self, step: int, row: Row, state: TrainState) -> None:
        """Stops the run if the limit is reached."""
        del row
        reached = LIMITS[self._reason](self._config, state)
        if state.ending is None and reached:
            state.stop(self._reason, f"step {step}: {reached}")


def time_limit_message(config: TrainConfig, state: TrainState) -> str | None:
    """Returns a message if the time limit is reached. It says how far the learning rates have fallen by then."""
    minutes = config.max_minutes
    if not minutes or state.clock.seconds < 60.0 * minutes:
        return None
    message = f"training.max_minutes={minutes:g} is over"
    if config.schedule == "constant":
        return message
    factor = float(config.learning_rate_factor(tf.constant(state.clock.step, tf.int64)))
    return (
        f"{message}, with learning rates at {factor:.0%} of their first value: training.schedule={config.schedule} "
        f"ends at training.steps={config.steps}"
    )


def target_score_message(config: TrainConfig, state: TrainState) -> str | None:
    """Returns a message if the best score has reached the target."""
    target, best = config.target_score, state.best.score
    if target is None or best is None or best > target:
        return None
    return f"the score {best:.4g} reached training.target_score={target:g}"


LIMITS = {"max_minutes": time_limit_message, "target_score": target_score_message}
