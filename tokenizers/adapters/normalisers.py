"""What pipelines do to latents before a prior sees them, read from a loaded model: six conventions as one.

All are (z - mean) / std, of all channels or per channel.
"""

from __future__ import annotations

from typing import Any

from .declaration import Normaliser


def inside(origin: str) -> Normaliser:
    """The latents come as the prior saw them."""
    return Normaliser(origin=origin)


def scale_and_shift(model: Any) -> Normaliser:
    """(z - shift_factor) scaling_factor, or (z - latents_mean) / latents_std scaling_factor where there are such."""
    config = model.config
    scale = getattr(config, "scaling_factor", None)
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and std is not None:
        factor = 1.0 if scale is None else float(scale)
        listed = tuple(float(s) / factor for s in std)
        return Normaliser(mean=tuple(map(float, mean)), std=listed, origin="config.json: latents_mean, latents_std")
    shift = getattr(config, "shift_factor", None)
    if scale is None:
        return Normaliser()
    names = "scaling_factor" if shift is None else "scaling_factor, shift_factor"
    return Normaliser(mean=(float(shift or 0.0),), std=(1.0 / float(scale),), origin=f"config.json: {names}")


def buffers(model: Any) -> Normaliser:
    """(z - latents_mean) / latents_std scaling_factor, of the model's own buffers (LTX)."""
    factor = float(getattr(model.config, "scaling_factor", None) or 1.0)
    std = tuple(value / factor for value in model.latents_std.tolist())
    return Normaliser(mean=tuple(model.latents_mean.tolist()), std=std, origin="weights: latents_mean, latents_std")


def batch_norm(norm: Any, eps: float) -> Normaliser:
    """(z - running_mean) / sqrt(running_var + eps), of a batch norm in the model (FLUX.2)."""
    std = tuple((float(variance) + eps) ** 0.5 for variance in norm.running_var.tolist())
    return Normaliser(
        mean=tuple(norm.running_mean.tolist()), std=std, origin="weights: bn.running_mean, bn.running_var"
    )
