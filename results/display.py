"""Numbers and names as text: numbers to the digits that their uncertainty warrants, names inert."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_FIXED = [f"%.{decimals}f" for decimals in range(7)]


def measured(value: float, half: float | None, *, digits: int = 2) -> tuple[str, str]:
    """Value and half-width as text, to so many digits of the half-width; the value alone to four digits without one."""
    if half is None or not math.isfinite(half):
        return brief(value), ""
    if half == 0:
        return brief(value), "0"
    rounded = f"{half:.{digits - 1}e}"  # 0.0999 to one digit is 1e-01
    if abs(value) >= 1e6 or max(abs(value), half) < 1e-4:
        return f"{value:.3e}", rounded
    fixed = _FIXED[min(max(0, digits - 1 - int(rounded.partition("e")[2])), 6)]
    return fixed % value, fixed % half


def brief(value: float) -> str:
    """A number to four digits, a whole one below ten million in full."""
    return str(int(value)) if value == int(value) and abs(value) < 1e7 else f"{value:.4g}"


def counted(number: int, noun: str) -> str:
    """So many of a thing: 1 job, 2 jobs."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def were(number: int) -> str:
    """The verb to go with it: 1 was, 2 were."""
    return "was" if number == 1 else "were"


def compact(value: float) -> str:
    """A count to three digits with its SI prefix: 1.23M."""
    for scale, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.3g}{prefix}"
    return f"{value:.3g}"


def show(value: Any) -> str:
    """An axis value or a word: numbers by `brief`, lists with commas, None as nothing."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return brief(value)
    if isinstance(value, list | tuple):
        return ",".join(show(item) for item in value)
    return str(value)


def printable(text: str) -> str:
    """Text in one line that can neither move a cursor nor turn the reading direction, in whatever it is shown.

    White space becomes single blanks; control and format characters (Unicode categories C and Z, so escapes, bells,
    right-to-left marks, zero-width joiners) and bytes that are no UTF-8 become the replacement character.
    """
    if text.isprintable() and "  " not in text and text.strip() == text:  # nearly always
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def files_line(counts: Mapping[str, int], reasons: Mapping[str, int]) -> str:
    """How many files and samples a data set has: "81 files: 7 used, 73 skipped (73 too short), 1 duplicate; 6 training
    and 1 validation samples". `counts` has train and val and, for files, files, used, skipped and duplicates."""
    samples = f"{counts['train']:,} training and {counts['val']:,} validation samples"
    if "files" not in counts:
        return samples
    total = counts["files"]
    parts = [f"{counts['used']:,} used"]
    if counts["skipped"]:
        often = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))  # a record's own order is that of names
        listed = ", ".join(f"{number:,} {printable(reason)}" for reason, number in often)
        parts.append(f"{counts['skipped']:,} skipped" + (f" ({listed})" if listed else ""))
    if counts["duplicates"]:
        parts.append(f"{counts['duplicates']:,} duplicate{'' if counts['duplicates'] == 1 else 's'}")
    unread = total - counts["used"] - counts["skipped"] - counts["duplicates"]
    if unread > 0:
        parts.append(f"{unread:,} not needed")
    return f"{total:,} file{'' if total == 1 else 's'}: {', '.join(parts)}; {samples}"
