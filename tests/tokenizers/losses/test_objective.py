"""The objective: weights, batch means, and where its losses are defined."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from latentbench.tokenizers.losses.lpips_config import LPIPSConfig
from latentbench.tokenizers.losses.objective import Objective
from latentbench.tokenizers.losses.regression_config import L1Config, L2Config
from latentbench.tokenizers.losses.stft_config import MelConfig, STFTConfig
from latentbench.tokenizers.spec import Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(8, 8))


def test_losses_are_weighted_means_over_the_batch() -> None:
    x, y = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    losses = Objective((L1Config(weight=0.5), L2Config(weight=2.0)), IMAGE)(x, y)
    torch.testing.assert_close(losses["l1"], 0.5 * F.l1_loss(x, y))
    torch.testing.assert_close(losses["l2"], 2.0 * F.mse_loss(x, y))


@pytest.mark.parametrize("config", [STFTConfig, MelConfig, LPIPSConfig])
def test_losses_know_their_modalities(config: type[STFTConfig]) -> None:
    at_home = {Modality.IMAGE, Modality.VIDEO} if config is LPIPSConfig else {Modality.WAVEFORM}
    assert set(config.modalities) == at_home


def test_a_weight_is_not_negative() -> None:
    with pytest.raises(ValueError, match="weight must not be negative"):
        L1Config(weight=-0.5)
