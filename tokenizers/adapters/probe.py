"""Loading an adapter once to see what it is: shapes come from running it, never from guesses."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..interface import Latents
from ..part import plain, read_part
from ..spec import LatentSpec, SignalSpec
from .config import ADAPTERS, AdapterConfig
from .declaration import Description
from .tokenizer import AdapterTokenizer, grids_of


def probe(config: AdapterConfig, signal: SignalSpec | None, contents: str = "") -> Description:
    """The description of the tokenizer for such signals; without one its declaration and parameters alone.

    The last one stays loaded, until its `contents` are others. A blank signal is encoded and decoded, with fake tensors
    (shapes without arithmetic) where the model admits them. Raises whatever the model raises, and UserError for latents
    or signals of shapes that do not fit.
    """
    tokenizer = _loaded(json.dumps(plain(config), sort_keys=True), contents)
    description = Description(
        declaration=tokenizer.declaration,
        class_name=tokenizer.adapter.class_name,
        parameters=sum(p.numel() for p in tokenizer.parameters()),
        state=tokenizer.adapter.state(),
    )
    if signal is None or tokenizer.declaration.unsupported_reason(signal) is not None:
        return description
    tokenizer.signal = signal
    latents, flops = _run(tokenizer, signal)
    kind = "codes" if latents.codes is not None else "deterministic" if latents.scale is None else "posterior"
    return replace(description, grids=grids_of(latents, tokenizer.declaration), latents=kind, flops=flops)


@lru_cache(maxsize=1)
def _loaded(config: str, contents: str) -> AdapterTokenizer:
    return AdapterTokenizer(read_part(AdapterConfig, ADAPTERS, json.loads(config), where="adapter"), None)


def _run(tokenizer: AdapterTokenizer, signal: SignalSpec) -> tuple[Latents, float]:
    """Latents of a blank signal, and the FLOPs of encoding and decoding it."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    blank = torch.zeros(1, signal.channels, *signal.shape)
    # What reads values (a loop until a number is reached, a runtime that is not torch's) can't be faked.
    with suppress(Exception), FakeTensorMode(allow_non_fake_inputs=True) as fake:
        return _through(tokenizer, signal, fake.from_tensor(blank))
    return _through(tokenizer, signal, blank)


@torch.no_grad()
def _through(tokenizer: AdapterTokenizer, signal: SignalSpec, blank: Any) -> tuple[Latents, float]:
    with FlopCounterMode(display=False) as counter:
        latents = tokenizer.encode(blank)
        grids = grids_of(latents, tokenizer.declaration)
        LatentSpec(signal=signal, grids=grids)  # all discrete, or all continuous
        tokenizer.decode(latents)
    return latents, float(counter.get_total_flops())
