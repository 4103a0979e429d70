"""Objects that live in this process, by the digest of their source and their weights."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from ...results.errors import UserError
from .live_config import LiveConfig
from .python import ObjectAdapter, state_digest

_LIVE: dict[str, Any] = {}


def register(target: Any, spec: Mapping[str, Any]) -> LiveConfig:
    """The configuration of an object that jobs in this process can use. It is copied, and left as it is."""
    cls = type(target)
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):  # typed into an interpreter
        source = cls.__qualname__
    weights = state_digest(ObjectAdapter(target, spec, cls.__name__).modules())
    digest = sha256(f"{source} {weights}".encode()).hexdigest()[:16]
    _LIVE[digest] = copy.deepcopy(target)
    return LiveConfig(name=cls.__name__, digest=digest, spec=dict(spec))


class LiveAdapter(ObjectAdapter):
    """The registered object."""

    def __init__(self, config: LiveConfig) -> None:
        if config.digest not in _LIVE:
            raise UserError(f"{config.name} lives in the process that evaluated it: call evaluate there again")
        # Every tokenizer has its own: they may differ in type.
        super().__init__(
            copy.deepcopy(_LIVE[config.digest]), config.spec if isinstance(config.spec, dict) else {}, config.name
        )
