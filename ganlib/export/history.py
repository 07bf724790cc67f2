"""What became of the versions of a registered model: which ones they replaced, and which were rolled back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganlib.export.registry import CHAMPION, WEIGHTS_TAG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ganlib.export.registry import Registry, Version

REPLACED, ROLLED_BACK = "promotion.replaced", "promotion.rolled_back"
NOBODY = "none"


def version_before(registry: Registry, number: str) -> str | None:
    """Returns the nearest version before another one that may be the champion again in its place."""
    champion = version = registry.version(number)
    seen = {number}
    while (found := replaced(registry, version)) is not None and found.number not in seen:
        if may_return(found, champion):
            return found.number
        seen.add(found.number)
        version = found
    return None


def may_return(version: Version, champion: Version) -> bool:
    """Returns whether a rollback of a champion may go back to a version: not to the same networks, or to a bad one."""
    same = version.number == champion.number or version.tags.get(WEIGHTS_TAG, "") == champion.tags.get(WEIGHTS_TAG)
    return not same and ROLLED_BACK not in version.tags


def replaced(registry: Registry, version: Version) -> Version | None:
    """Returns the champion that a version has replaced, unless there was none or it was deleted."""
    before = version.tags.get(REPLACED, NOBODY)
    return None if before == NOBODY else registry.lookup(before)


def successor(registry: Registry, number: str) -> str | None:
    """Returns the newest version that has replaced another one, if there is one."""
    return max((version.number for version in registry.search(REPLACED, number)), key=int, default=None)


def with_same_networks(registry: Registry, number: str) -> list[Version]:
    """Returns a version and, unless the champion is one of them, all others with the same networks.

    What became of those holds for this one: networks that were rolled back or replaced do not return by themselves
    because they were exported again.
    """
    version, champion = registry.version(number), registry.aliases().get(CHAMPION)
    weights = version.tags.get(WEIGHTS_TAG)
    if weights is None or (champion is not None and registry.version(champion).tags.get(WEIGHTS_TAG) == weights):
        return [version]
    return registry.search(WEIGHTS_TAG, weights)


def rolled_back(versions: Sequence[Version], number: str) -> str | None:
    """Returns when and why a version, or another one `with_same_networks`, was rolled back; None if none was."""
    for version in versions:
        if ROLLED_BACK in version.tags:
            return ("" if version.number == number else f"as version {version.number}, ") + version.tags[ROLLED_BACK]
    return None


def is_being_rolled_back(registry: Registry, number: str) -> bool:
    """Returns whether a rollback of the champion was begun and is not complete."""
    claim = registry.claimed(number)
    return ROLLED_BACK in registry.version(number).tags or (claim is not None and claim.target is not None)
