"""Whether a sound's codes depend on where its frames happen to lie: those of a sound that begins 2 ms later."""

from __future__ import annotations

import torch
from torch import Tensor

from ...results.metric import Metric
from ...tokenizers.interface import Latents
from ...tokenizers.spec import Modality
from .interface import Probe, ProbeInput

SECONDS = 0.002


class CodeStability(Probe):
    """See `CodeStabilityConfig`."""

    def unsupported_reason(self, probed: ProbeInput) -> str | None:
        if probed.signal.modality is not Modality.WAVEFORM:
            return "it shifts waveforms"
        if not all(grid.codebook_sizes for grid in probed.spec.grids):
            return "it compares codes, and these latents are continuous"
        if any(len(grid.shape) != 1 or grid.topology != "grid" or grid.shape[0] < 2 for grid in probed.spec.grids):
            return "its codes do not lie along time, two positions or more"
        return None

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        shift = max(1, round(SECONDS * (probed.signal.rate or 0)))
        shares: list[float] = []
        for _, x in probed.signals():
            one, other = (probed.tokenizer.encode(sound) for sound in (x, later(x, shift)))
            shares += equal_share(one, other).tolist()
        positions = probed.spec.grids[-1].shape[0]
        protocol = (
            f"codes of a clip and of the clip without its first {shift} samples ({1000 * SECONDS:g} ms), mirrored at "
            f"its end; all heads, but for the last of {positions} positions; mean over clips; validation split"
        )
        return (Metric.from_samples("code_stability", shares, direction="higher", protocol=protocol),)


def later(x: Tensor, shift: int) -> Tensor:
    """`[B, C, N]` from sample `shift` on, as long as before: its end is mirrored."""
    return torch.cat([x[..., shift:], x[..., -shift:].flip(-1)], dim=-1)


def equal_share(one: Latents, other: Latents) -> Tensor:
    """`[B]` float64: the share of equal codes over heads and positions, but for each grid's last, of all grids."""
    same = []
    for ours, theirs in zip(one.levels, other.levels, strict=True):
        assert ours.codes is not None
        assert theirs.codes is not None
        same.append((ours.codes == theirs.codes)[..., :-1].flatten(1))
    return torch.cat(same, dim=1).double().mean(1).cpu()
