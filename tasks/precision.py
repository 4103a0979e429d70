"""The precision in which a tokenizer and the nets compute while they are evaluated: `evaluation.precision`.

It holds inside `encode`, `decode`, operating points and feature nets. What they return is float32, and all that is made
of it (metrics of pairs, moments, distances, histograms) is computed in float32 or float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..tokenizers.interface import Latents
from ..tokenizers.memory_format import resolved, set_format
from .config import Precision
from .interface import FeatureNet

T = TypeVar("T")


def set_precision(evaluated: T, precision: Precision, device: torch.device) -> T:
    """`evaluated`, a tokenizer or a feature net, which from now on computes in `precision` on `device`."""
    layout = resolved("auto", device, bfloat16=precision != "float32")
    if layout is not None and isinstance(evaluated, nn.Module) and not isinstance(evaluated, FeatureNet):
        set_format(evaluated, layout)
    if precision != "float32":
        for name in ("encode", "decode", "forward"):
            if hasattr(evaluated, name):
                setattr(evaluated, name, _computing(getattr(evaluated, name), precision, device))
        points = getattr(evaluated, "operating_points", None)
        if points is not None:
            setattr(evaluated, "operating_points", lambda: _all(points(), precision, device))  # noqa: B010
    return evaluated


@contextmanager
def computing_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Matrix products and convolutions are of this precision inside; "tf32" changes nothing where there is no GPU."""
    matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, conv.allow_tf32
    matmul.allow_tf32 = conv.allow_tf32 = precision == "tf32"
    try:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            yield
    finally:
        matmul.allow_tf32, conv.allow_tf32 = before


def _computing(call: Callable[..., Any], precision: Precision, device: torch.device) -> Callable[..., Any]:
    @wraps(call)
    def computed(*args: Any, **options: Any) -> Any:
        with computing_in(precision, device):
            return _float32(call(*args, **options))

    return computed


def _all(points: Mapping[str, Callable[..., Any]], precision: Precision, device: torch.device) -> dict[str, Any]:
    return {name: _computing(decode, precision, device) for name, decode in points.items()}


def _float32(result: Any) -> Any:
    if isinstance(result, Latents):
        parts = {name: _float32(getattr(result, name)) for name in ("values", "scale")}
        return replace(result, **parts, rest=tuple(map(_float32, result.rest)))
    return result.float() if isinstance(result, Tensor) and result.is_floating_point() else result
