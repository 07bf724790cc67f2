"""Moves the aliases of a registered model: promotion, and back.

MLflow moves an alias without asking what it was. So whoever promotes a version first claims it with a tag, and then
looks for claims of others. Of two processes at once, at least one sees the other's claim and withdraws its own, so that
only one moves the alias. The other one then finds another champion than it was compared with.

The order of the moves is safe if a process is killed in between: `previous` moves first, so `champion` always is a
version that serves, and the same command completes the rest. A version remembers in a tag what it replaced, because
`previous` alone would forget that.
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
CLAIM_SECONDS = 120.0  # a promotion takes a second, or as long as its few requests may wait for the server
PATIENCE = 20.0  # seconds to wait for others who promote
NOBODY = "none"


class ChampionChanged(RuntimeError):  # noqa: N818  # a state
    """Another version became the champion since the comparison."""


def promote(registry: Registry, number: str, *, expected: str | None, forced: str = "") -> None:
    """Makes a version the champion, and the former one the previous one. Repeating it completes what was interrupted.

    Args:
        registry: The registered model.
        number: The version.
        expected: The champion that the version was compared with; None if there was none.
        forced: Why it is promoted in spite of a check, if it is.

    Raises:
        ChampionChanged: The champion is another one than expected, or somebody else moved the alias at the same time.
    """
    if registry.aliases().get(CHAMPION) == number:
        registry.untag(number, CLAIM_TAG)
        return
    before = _claim(registry, number, expected)
    try:
        tags = {REPLACED: before or NOBODY, PROMOTED: now()} | ({FORCED: forced} if forced else {})
        registry.tag(number, tags)
        registry.untag(number, ROLLED_BACK, *([] if forced else [FORCED]))
        if before is not None:
            registry.point(PREVIOUS, before)
        registry.point(CHAMPION, number)
        after = registry.aliases().get(CHAMPION)
    finally:
        registry.untag(number, CLAIM_TAG)
    if after != number:
        raise ChampionChanged(
            f"the alias champion of {registry.name} was moved to version {number}, and to version {after} by somebody "
            f"else at the same time, who has won. Before, it was {_version(before)}"
        )


def _claim(registry: Registry, number: str, expected: str | None) -> str | None:
    """Claims the next promotion, and returns the champion.

    Raises:
        ChampionChanged: The champion is not the expected one, or another process keeps its claim.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        registry.claim(number)
        others = registry.other_claims(number, seconds=CLAIM_SECONDS)
        champion = registry.aliases().get(CHAMPION)
        if champion != expected:
            registry.untag(number, CLAIM_TAG)
            raise ChampionChanged(
                f"the champion of {registry.name} has changed since the comparison: it was {_version(expected)}, and "
                f"now it is {_version(champion)}"
            )
        if not others:
            return champion
        registry.untag(number, CLAIM_TAG)
        if time.monotonic() > deadline:
            raise ChampionChanged(
                f"version {', '.join(others)} of {registry.name} is being promoted at the same time; the champion "
                f"still is {_version(champion)}"
            )
        time.sleep(random.uniform(0.2, 1.0))  # noqa: S311  # so that two processes do not keep in step


def rollback(registry: Registry, *, reason: str, dry_run: bool = False) -> tuple[str, str]:
    """Makes the version that the champion replaced the champion again.

    A second rollback goes back further, and never to a version that was rolled back.

    Args:
        registry: The registered model.
        reason: Why, for the tag of the version that was the champion.
        dry_run: Whether to change nothing.

    Returns:
        The version that was the champion, and the one that is now.

    Raises:
        ValueError: There is no champion, or no version before it.
    """
    aliases = registry.aliases()
    champion = aliases.get(CHAMPION)
    if champion is None:
        raise ValueError(f"expected a model with a champion. Received: name={registry.name!r}, aliases={aliases}")
    target = aliases.get(PREVIOUS)
    if target in (None, champion):  # a promotion was interrupted before it moved the alias `champion`
        target = _replaced(registry, champion)
    if target is None:
        raise ValueError(
            f"version {champion} of {registry.name} is the champion, and there was none before it, so there is "
            "nothing to roll back to"
        )
    registry.version(target)  # it may have been deleted
    if not dry_run:
        registry.tag(champion, {ROLLED_BACK: f"{now()}: {reason}"})
        registry.point(CHAMPION, target)
        before = _replaced(registry, target)
        if before is None:
            registry.remove(PREVIOUS)
        else:
            registry.point(PREVIOUS, before)
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


def now() -> str:
    """Returns the time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _version(number: str | None) -> str:
    return "none" if number is None else f"version {number}"
