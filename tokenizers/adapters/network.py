"""Code that runs with the network cut: nothing is fetched unasked. No torch."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class NetworkUsedError(RuntimeError):
    """Something tried to reach the network."""


@contextmanager
def network_cut() -> Iterator[None]:
    """Inside, whatever opens a connection gets a NetworkUsedError."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise NetworkUsedError("it tries to reach the network")

    names = ((socket, "getaddrinfo"), (socket, "create_connection"))
    before = [getattr(owner, name) for owner, name in names]
    for owner, name in names:
        setattr(owner, name, refuse)
    try:
        yield
    finally:
        for (owner, name), original in zip(names, before, strict=True):
            setattr(owner, name, original)
