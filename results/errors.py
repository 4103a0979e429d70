"""The one way to report a user's mistake."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 280  # characters of a message: with the name of the command before it, under 300


class UserError(Exception):
    """Something the user can mend: one line saying what is wrong, where, and what would be right.

    The command line prints the message alone (no traceback) and exits with code 2.
    """


def one_line(text: str, *, limit: int = LONGEST) -> str:
    """`text` as one line for a terminal or a log: what would act there instead of being shown is escaped (controls,
    newlines, direction marks, bytes of no encoding), and what is longer than `limit` characters is cut in its middle,
    so that the place at its beginning and the cure at its end stay."""
    inert = "".join(c if c.isprintable() else _escaped(c) for c in text[: 4 * limit] + text[4 * limit :][-4 * limit :])
    if len(inert) <= limit and len(text) <= 8 * limit:
        return inert
    end = limit // 4
    return f"{inert[: limit - end - 5]} ... {inert[-end:]}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None when none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown(kind: str, name: str, known: Iterable[str], *, where: str = "") -> UserError:
    """The error for a name that is not known: says where it stands and suggests its nearest neighbour.

    `kind` is what the name should have been ("recipe"), `where` the place it was read from
    ("suite.toml: tokenizers[0].recipe").
    """
    known = sorted(known)
    prefix = f"{where}: " if where else ""
    near = nearest(name, known)
    hint = f"did you mean {near!r}?" if near else f"known: {', '.join(known) or 'none'}"
    return UserError(f"{prefix}unknown {kind} {name!r}; {hint}")
