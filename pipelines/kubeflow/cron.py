"""Cron lines in the format of KFP."""

from __future__ import annotations

import re

MONTHS = {"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10}
MONTHS |= {"nov": 11, "dec": 12}
DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
# Lowest and highest number of each field, and names for numbers.
FIELDS: dict[str, tuple[int, int, dict[str, int]]] = {
    "second": (0, 59, {}),
    "minute": (0, 59, {}),
    "hour": (0, 23, {}),
    "day": (1, 31, {}),
    "month": (1, 12, MONTHS),
    "day of the week": (0, 6, DAYS),
}
ITEM = re.compile(r"(?P<all>[*?])|(?P<first>\w+)(-(?P<last>\w+))?")


def to_kfp_cron(text: str) -> str:
    """Converts a cron line to the format of KFP, which has seconds first: five fields get a zero before them.

    KFP would read five fields as second, minute, hour, day and month.

    Raises:
        ValueError: The line has not five or six fields, or a field is not valid. KFP would accept it and never run.
    """
    words = text.split()
    if len(words) not in (5, 6):
        raise ValueError(
            "expected five fields (minute, hour, day, month, day of the week), or six with seconds first. "
            f"Received: --cron {text!r}"
        )
    words = ["0", *words] if len(words) == 5 else words
    for word, (name, (lowest, highest, names)) in zip(words, FIELDS.items(), strict=True):
        if not all(_is_valid(item, lowest, highest, names) for item in word.split(",")):
            by_name = f" or {next(iter(names))} to {list(names)[-1]}" if names else ""
            raise ValueError(
                f"expected {lowest} to {highest}{by_name}, *, a range, or a list of these for the {name}. "
                f"Received: {word!r} in --cron {text!r}"
            )
    return " ".join(words)


def _is_valid(item: str, lowest: int, highest: int, names: dict[str, int]) -> bool:
    """Returns whether an item is `*`, a number, a name or a range, with or without `/step`."""
    base, slash, step = item.partition("/")
    match = ITEM.fullmatch(base)
    if not match or (slash and not (step.isdecimal() and int(step))):
        return False
    if match["all"]:
        return True
    words = [word for word in match.group("first", "last") if word]
    ends = [names.get(word.lower(), int(word) if word.isdecimal() else -1) for word in words]
    return all(lowest <= end <= highest for end in ends) and ends == sorted(ends)
