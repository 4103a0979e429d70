"""Griffin-Lim through the interface of vocoders."""

from __future__ import annotations

from collections.abc import Callable

import torch

from latentbench.tasks.vocoders.config import GriffinLimConfig
from latentbench.tokenizers.mel import LogMel
from latentbench.tokenizers.spec import SignalSpec


def test_it_is_the_spectrograms_own_inversion(make_signal: Callable[..., SignalSpec]) -> None:
    signal = make_signal("spectrogram", (16, 8))
    assert signal.mel is not None
    mel = torch.rand(2, 1, 16, 8) * 2 - 1
    rendered = GriffinLimConfig().build(signal, iterations=3).render(mel)
    assert rendered.shape == (2, *signal.source_shape)  # type: ignore[misc]
    assert torch.equal(rendered, LogMel(signal.mel).invert(mel, iterations=3))


def test_there_is_nothing_to_train(make_signal: Callable[..., SignalSpec]) -> None:
    assert GriffinLimConfig().training.steps == 0
    assert list(GriffinLimConfig().build(make_signal("spectrogram", (16, 8))).parameters()) == []
