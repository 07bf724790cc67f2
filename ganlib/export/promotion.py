"""Moves the aliases of a registered model: promotion, and back.

MLflow moves an alias without asking what it was. So whoever promotes a version, or rolls one back, first claims it with
a tag, and then looks for claims of others. Of two processes at once, at least one sees the other's claim and withdraws
its own, so that only one moves the alias. The other one then finds another champion than it expected.

The order of the moves is safe if a process is killed in between: `champion` always is a version that serves, and the
same command completes the rest. An interrupted promotion and an interrupted rollback leave the same aliases, so the
claim of a rollback names its target. A version remembers in a tag what it replaced, because `previous` alone would
forget that.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ganlib.export.registry import CHAMPION, CLAIM_TAG, PREVIOUS

if TYPE_CHECKING:
    from ganlib.export.registry import Registry

REPLACED, PROMOTED = "promotion.replaced", "promotion.promoted"
FORCED, ROLLED_BACK = "promotion.forced", "promotion.rolled_back"
HISTORY, HISTORY_LENGTH = "promotion.history", 5000  # characters that MLflow takes for a tag of a version
CLAIM_SECONDS = 120.0  # a promotion takes a second, or as long as its few requests may wait for the server
PATIENCE = 20.0  # seconds to wait for others who promote
NOBODY = "none"


class ChampionChanged(RuntimeError):  # noqa: N818  # a state
    """Another version became the champion since the comparison."""


def promote(registry: Registry, number: str, *, expected: str | None, reason: str = "", forced: bool = False) -> None:
    """Makes a version the champion, and the former one the previous one. Repeating it completes what was interrupted.

    Args:
        registry: The registered model.
        number: The version.
        expected: The champion that the version was compared with; None if there was none.
        reason: Words for the history of the version.
        forced: Whether it is promoted in spite of a check, for this reason.

    Raises:
        ChampionChanged: The champion is another one than expected, or somebody else moved the alias at the same time.
    """
    if registry.aliases().get(CHAMPION) == number:
        if CLAIM_TAG in registry.version(number).tags:
            _end(registry, number, f"became the champion (completed later){_colon(reason)}")
        return
    before = _claim(registry, number, (expected,))
    try:
        tags = {REPLACED: before or NOBODY, PROMOTED: now()} | ({FORCED: f"{now()}: {reason}"} if forced else {})
        registry.tag(number, tags)
        registry.untag(number, ROLLED_BACK, *([] if forced else [FORCED]))
        if before is not None:
            registry.point(PREVIOUS, before)
        registry.point(CHAMPION, number)
        _check_moved(registry, number, before)
    except RuntimeError:
        registry.untag(number, CLAIM_TAG)
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
        ChampionChanged: The champion is not an expected one, or another process keeps its claim.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        registry.claim(number, target=target)
        others = [claim for claim in registry.claims() if claim.number != number]
        active = [claim.number for claim in others if claim.seconds < CLAIM_SECONDS]
        champion = registry.aliases().get(CHAMPION)
        if champion in expected and not active:
            for killed in others:  # whose work is out of date with the next move
                registry.untag(killed.number, CLAIM_TAG)
            return champion
        registry.untag(number, CLAIM_TAG)
        if champion not in expected:
            raise ChampionChanged(
                f"the champion of {registry.name} has changed meanwhile: it was {_version(expected[0])}, and now it is "
                f"{_version(champion)}"
            )
        if time.monotonic() > deadline:
            raise ChampionChanged(
                f"version {', '.join(active)} of {registry.name} is being promoted or rolled back at the same time; "
                f"the champion still is {_version(champion)}"
            )
        time.sleep(random.uniform(0.2, 1.0))  # noqa: S311  # so that two processes do not keep in step


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
        ValueError: There is no champion, or no version before it.
    """
    number, target = _interrupted(registry) or _next_rollback(registry)
    registry.version(target)  # it may have been deleted
    if dry_run:
        return number, target
    # The claim stays after an error, so that repeating the command completes this rollback and starts no second one.
    champion = _claim(registry, number, (number, target), target=target)
    registry.tag(number, {ROLLED_BACK: f"{now()}: {reason}"})
    if champion == number:
        registry.point(CHAMPION, target)
    before = _replaced(registry, target)
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
    champion = registry.aliases().get(CHAMPION) if claims else None
    return next(((number, target) for number, target in claims if champion in (number, target)), None)


def _next_rollback(registry: Registry) -> tuple[str, str]:
    """Returns the champion, and the version before it."""
    aliases = registry.aliases()
    champion = aliases.get(CHAMPION)
    if champion is None:
        raise ValueError(f"expected a model with a champion. Received: name={registry.name!r}, aliases={aliases}")
    target = aliases.get(PREVIOUS)
    # A promotion may have been interrupted before it moved `champion`, and a rollback before a promotion.
    if target in (None, champion) or ROLLED_BACK in registry.version(target).tags:
        target = _replaced(registry, champion)
    if target is None:
        raise ValueError(
            f"version {champion} of {registry.name} is the champion, and there was none before it, so there is "
            "nothing to roll back to"
        )
    return champion, target


def _replaced(registry: Registry, number: str) -> str | None:
    """Returns the nearest version that a version replaced and that was not rolled back."""
    seen = {number}
    while (before := registry.version(number).tags.get(REPLACED, NOBODY)) != NOBODY and before not in seen:
        if ROLLED_BACK not in registry.version(before).tags:
            return before
        seen.add(before)
        number = before
    return None


def _end(registry: Registry, number: str, event: str) -> None:
    """Adds a line to the history of a version, the newest first, and ends the claim."""
    lines = f"{now()} {event}\n{registry.version(number).tags.get(HISTORY, '')}"
    registry.tag(number, {HISTORY: lines.strip()[:HISTORY_LENGTH]})
    registry.untag(number, CLAIM_TAG)


def _colon(reason: str) -> str:
    return f": {reason}" if reason else ""


def now() -> str:
    """Returns the time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _version(number: str | None) -> str:
    return "none" if number is None else f"version {number}"
