"""Whether a tokenizer trained on crops works on larger grids: statement F11."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...results.metric import Metric
from ...tokenizers.build import build
from ...tokenizers.composed import ComposedTokenizer
from ...tokenizers.config import TokenizerConfig
from ...tokenizers.spec import SignalSpec
from ..metrics.config import PsnrConfig
from ..metrics.psnr import Psnr
from .interface import Probe, ProbeInput


class LargerSignals(Probe):
    """See `LargerSignalsConfig`."""

    def unsupported_reason(self, probed: ProbeInput) -> str | None:
        if not isinstance(probed.tokenizer, ComposedTokenizer):
            return "it is not composed of parts, so that it can't be built for another size"
        if probed.signal.mel is not None:
            return "a joined spectrogram is not that of a joined sound"
        if probed.total < 2 ** len(probed.signal.shape):
            return f"{2 ** len(probed.signal.shape)} samples are joined, and there are {probed.total}"
        try:
            twice(probed.tokenizer.config)
        except ValueError as error:
            return f"signals twice as long are none of its: {error}"
        if enlarged(probed.tokenizer) is None:
            return "its weights depend on the signal's size"
        return None

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        assert isinstance(probed.tokenizer, ComposedTokenizer)
        tokenizer = enlarged(probed.tokenizer)
        assert tokenizer is not None
        tokenizer = probed.as_evaluated(tokenizer)
        psnr, joined = Psnr(PsnrConfig()), 2 ** len(probed.signal.shape)
        whole: list[Tensor] = []
        apart: list[Tensor] = []
        rest: Tensor | None = None
        for _, signals in probed.signals():
            x = signals if rest is None else torch.cat([rest, signals])
            count = len(x) // joined * joined
            x, rest = x[:count], x[count:]
            if not count:
                continue
            target = join(x)
            decoded = tokenizer.decode(tokenizer.encode(target)).float().clamp(-1, 1)
            pieces = join(probed.decode(probed.tokenizer.encode(x)))
            for reconstruction, scores in ((decoded, whole), (pieces, apart)):
                values = psnr.values(reconstruction, target, tokenizer.spec.signal).double().cpu()
                scores.append(values.mean(1) if values.ndim == 2 else values)
        larger, smaller = torch.cat(whole), torch.cat(apart)
        line = f"{psnr.protocol(probed.signal)}; {joined} samples joined along every axis, same weights"
        return (
            Metric.from_samples(
                "psnr_larger", larger.tolist(), unit="dB", direction="higher", protocol=f"{line}; validation split"
            ),
            Metric.from_samples(
                "larger_gain",
                (larger - smaller).tolist(),
                unit="dB",
                direction="higher",
                protocol=f"{line}, minus that of the samples coded one by one; validation split",
            ),
        )


def join(x: Tensor) -> Tensor:
    """Every 2^r samples `[n 2^r, C, *signal]` as one signal twice as long in all r axes: `[n, C, *2 signal]`."""
    for axis in range(2, x.ndim):
        x = torch.cat([x[0::2], x[1::2]], dim=axis)
    return x


def enlarged(tokenizer: ComposedTokenizer) -> ComposedTokenizer | None:
    """The same tokenizer for signals twice as long in every axis; None where its weights do not fit there."""
    larger = build(twice(tokenizer.config))
    assert isinstance(larger, ComposedTokenizer)
    larger.drop_training_modules()
    state, shapes = tokenizer.state_dict(), {name: value.shape for name, value in larger.state_dict().items()}
    if shapes != {name: value.shape for name, value in state.items()}:
        return None
    larger.load_state_dict(state)
    return larger


def twice(config: TokenizerConfig) -> TokenizerConfig:
    """The configuration for signals twice as long in every axis. Raises ValueError where there is no such grid."""
    signal: SignalSpec = replace(config.signal, shape=tuple(2 * n for n in config.signal.shape))
    config.backbone.layout(signal, config.downsample)
    return replace(config, signal=signal)
