"""Moves the aliases of a registered model: promotion, and back.

MLflow moves an alias without asking what it was. So whoever promotes a version, or rolls one back, first claims it with
a tag, and then looks for claims of others. Of two processes at once, at least one sees the other's claim and withdraws
its own, so that only one moves the alias. The other one then finds another champion than it expected.

The order of the moves is safe if a process is killed in between: `champion` always is a version that serves, and the
same command completes the rest. An interrupted promotion and an interrupted rollback leave the same aliases, so the
claim of a rollback names its target. Whoever repeats a move takes over its claim at once; if the first process still
lives, it sees that before it moves `champion`, and leaves the work to the other. A version remembers in a tag what it
replaced, because `previous` alone would forget that.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ganlib.export.history import NOBODY, REPLACED, ROLLED_BACK, may_return, version_before
from ganlib.export.registry import CHAMPION, CLAIM_TAG, PREVIOUS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ganlib.export.registry import Registry

PROMOTED, FORCED = "promotion.promoted", "promotion.forced"
HISTORY, HISTORY_LENGTH = "promotion.history", 5000  # characters that MLflow takes for a tag of a version
CLAIM_SECONDS = 120.0  # a promotion takes a second, or as long as its few requests may wait for the server
PATIENCE = CLAIM_SECONDS + 30.0  # seconds to wait for others who promote, also for one that was killed


class ChampionChanged(RuntimeError):  # noqa: N818  # a state
    """Another version became the champion since the comparison."""


def promote(registry: Registry, number: str, *, expected: str | None, reason: str = "", forced: bool = False) -> None:
    """Makes a version the champion, and the former one the previous one. Repeating it completes what was interrupted.

    Args:
        registry: The registered model.
        number: The version.
        expected: The champion when the version was judged; None if there was none.
        reason: Words for the history of the version.
        forced: Whether it is promoted in spite of a check, for this reason.

    Raises:
        ChampionChanged: The champion is another one than expected, or somebody else moved the alias at the same time.
        RuntimeError: Others keep their claims.
    """
    if registry.aliases().get(CHAMPION) == number:
        claim = registry.claimed(number)
        if claim is not None and claim.target is None:
            registry.claim(number)
            _end(registry, number, f"became the champion (completed later){_colon(reason)}")
        return
    was = registry.version(number).tags
    before = _claim(registry, number, (expected,))
    try:
        tags = {REPLACED: before or NOBODY, PROMOTED: now()} | ({FORCED: f"{now()}: {reason}"} if forced else {})
        registry.tag(number, tags)
        registry.untag(number, ROLLED_BACK, *([] if forced else [FORCED]))
        if before is not None:
            registry.point(PREVIOUS, before)
        if _done_by_another(registry, number, champion=number):
            return
        registry.point(CHAMPION, number)
        _check_moved(registry, number, before)
    except RuntimeError:
        if registry.holds(number) and registry.aliases().get(CHAMPION) != number:
            _restore(registry, number, was)
        registry.release(number)
        raise
    _end(
        registry,
        number,
        f"became the champion{' by force' if forced else ''}, before: {before or NOBODY}{_colon(reason)}",
    )


def _claim(
    registry: Registry, number: str, expected: tuple[str | None, ...], *, target: str | None = None
) -> str | None:
    """Claims the next promotion of a version or, with a target, its rollback, and returns the champion.

    Raises:
        ChampionChanged: The champion is not an expected one.
        RuntimeError: Others keep their claims.
    """
    deadline, told = time.monotonic() + PATIENCE, False
    while True:
        registry.claim(number, target=target)
        others = [claim for claim in registry.claims() if claim.number != number]
        active = [claim.number for claim in others if claim.seconds < CLAIM_SECONDS]
        champion = registry.aliases().get(CHAMPION)
        if champion in expected and not active:
            for killed in others:  # whose work is out of date with the next move
                registry.untag(killed.number, CLAIM_TAG)
            return champion
        registry.release(number)
        if champion not in expected:
            raise ChampionChanged(
                f"the champion of {registry.name} has changed meanwhile: it was {_version(expected[0])}, and now it is "
                f"{_version(champion)}"
            )
        busy = f"version {', '.join(active)} of {registry.name} is being promoted or rolled back at the same time"
        if time.monotonic() > deadline:
            raise RuntimeError(f"{busy}; the champion still is {_version(champion)}. Try again")
        if not told:
            print(f"registry: {busy}; waiting at most {PATIENCE:.0f} seconds", flush=True)
            told = True
        time.sleep(random.uniform(0.2, 1.0))  # noqa: S311  # so that two processes do not keep in step


def _done_by_another(registry: Registry, number: str, *, champion: str) -> bool:
    """Returns whether another process has taken over the claim of a version; waits until that one has done its work.

    Raises:
        ChampionChanged: The champion is another one after that.
    """
    if registry.holds(number):
        return False
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and (claim := registry.claimed(number)) and claim.seconds < CLAIM_SECONDS:
        time.sleep(0.2)
    after = registry.aliases().get(CHAMPION)
    if after != champion:
        raise ChampionChanged(
            f"another process has taken over what was begun with version {number} of {registry.name}, and now the "
            f"champion is {_version(after)}"
        )
    return True


def _restore(registry: Registry, number: str, was: Mapping[str, str]) -> None:
    """Gives a version that did not become the champion the tags that it had."""
    names = (REPLACED, PROMOTED, FORCED, ROLLED_BACK)
    registry.tag(number, {name: was[name] for name in names if name in was})
    registry.untag(number, *(name for name in names if name not in was))


def _check_moved(registry: Registry, number: str, before: str | None) -> None:
    """Checks that the alias still is where it was moved to.

    Raises:
        ChampionChanged: Somebody who asked nobody has moved it.
    """
    after = registry.aliases().get(CHAMPION)
    if after != number:
        raise ChampionChanged(
            f"the alias champion of {registry.name} was moved to version {number}, and to {_version(after)} by "
            f"somebody else at the same time, who has won. Before, it was {_version(before)}"
        )


def rollback(registry: Registry, *, reason: str, dry_run: bool = False) -> tuple[str, str]:
    """Makes the version that the champion replaced the champion again.

    A second rollback goes back further, and never to a version that was rolled back. One that was interrupted is
    completed instead, and two at the same time are one.

    Args:
        registry: The registered model.
        reason: Why, for the tags of the version that was the champion.
        dry_run: Whether to change nothing.

    Returns:
        The version that was the champion, and the one that is now.

    Raises:
        ChampionChanged: Somebody else moves the alias at the same time.
        RuntimeError: Others keep their claims.
        ValueError: There is no champion, or no version before it.
    """
    number, target = _interrupted(registry) or _next_rollback(registry)
    if dry_run:
        return number, target
    # The claim stays after an error, so that repeating the command completes this rollback and starts no second one.
    champion = _claim(registry, number, (number, target), target=target)
    registry.tag(number, {ROLLED_BACK: f"{now()}: {reason}"})
    if _done_by_another(registry, number, champion=target):
        return number, target
    if champion == number:
        registry.point(CHAMPION, target)
    before = version_before(registry, target)
    if before is None:
        registry.remove(PREVIOUS)
    else:
        registry.point(PREVIOUS, before)
    _end(registry, number, f"rolled back to version {target}{_colon(reason)}")
    _check_moved(registry, target, number)
    return number, target


def _interrupted(registry: Registry) -> tuple[str, str] | None:
    """Returns version and target of a rollback that is not complete, if there is one."""
    claims = [(claim.number, claim.target) for claim in registry.claims() if claim.target is not None]
    claims = [(number, target) for number, target in claims if registry.lookup(target)]  # it may have been deleted
    champion = registry.aliases().get(CHAMPION) if claims else None
    return next(((number, target) for number, target in claims if champion in (number, target)), None)


def _next_rollback(registry: Registry) -> tuple[str, str]:
    """Returns the champion, and the version before it."""
    aliases = registry.aliases()
    champion = aliases.get(CHAMPION)
    if champion is None:
        raise ValueError(f"expected a model with a champion. Received: name={registry.name!r}, aliases={aliases}")
    target, previous = None, aliases.get(PREVIOUS)
    # A promotion may have been interrupted before it moved `champion`, and a rollback before a promotion.
    if previous is not None and may_return(registry.version(previous), registry.version(champion)):
        target = previous
    target = target or version_before(registry, champion)
    if target is None:
        raise ValueError(
            f"version {champion} of {registry.name} is the champion, and there was none before it that still exists, "
            "has other networks and was not rolled back, so there is nothing to roll back to. To choose a version: "
            f"gan-pipelines promote {registry.name} --version N"
        )
    return champion, target


def _end(registry: Registry, number: str, event: str) -> None:
    """Adds a line to the history of a version, the newest first, and ends the claim."""
    lines = f"{now()} {event}\n{registry.version(number).tags.get(HISTORY, '')}"
    registry.tag(number, {HISTORY: lines.strip()[:HISTORY_LENGTH]})
    registry.release(number)


def _colon(reason: str) -> str:
    return f": {reason}" if reason else ""


def now() -> str:
    """Returns the time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _version(number: str | None) -> str:
    return "none" if number is None else f"version {number}"
