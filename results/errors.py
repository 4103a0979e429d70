"""The one way to report a user's mistake."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: one line saying what is wrong, where, and what would be right.

    The command line prints the message alone (no traceback) and exits with code 2.
    """


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
