"""Code that runs with the network cut: nothing is fetched unasked. No torch."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_REFUSAL = "it tries to reach the network"


class NetworkUsedError(OSError):
    """Something tried to reach the network.

    An OSError, as without a network: libraries that have what they ask for in a cache go on with that.
    """


@contextmanager
def network_cut() -> Iterator[None]:
    """Inside, whatever opens a connection gets a NetworkUsedError; so does an error that follows one."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise NetworkUsedError(_REFUSAL)

    names = ((socket, "getaddrinfo"), (socket, "create_connection"))
    before = [getattr(owner, name) for owner, name in names]
    for owner, name in names:
        setattr(owner, name, refuse)
    try:
        yield
    except Exception as error:
        if isinstance(error, NetworkUsedError) or not _follows_refusal(error):
            raise
        raise NetworkUsedError(_REFUSAL) from error
    finally:
        for (owner, name), original in zip(names, before, strict=True):
            setattr(owner, name, original)


def _follows_refusal(error: BaseException | None) -> bool:
    """Whether `error` was raised because of a NetworkUsedError, or while one was handled, however deep."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, NetworkUsedError):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False
