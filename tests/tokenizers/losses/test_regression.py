"""Loss terms against torch's, their weights, and where they are defined."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from latentbench.tokenizers.losses.config import HuberConfig, L1Config, L2Config, LPIPSConfig, MelConfig, STFTConfig
from latentbench.tokenizers.losses.objective import Objective
from latentbench.tokenizers.losses.stft import log_mel_distance
from latentbench.tokenizers.losses.terms import Perceptual
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(8, 8))
SOUND = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(4096,), rate=16000.0)


def test_elementwise_terms_are_means_over_elements() -> None:
    x, y = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    losses = Objective((L1Config(weight=0.5), L2Config(weight=2.0)), IMAGE)(x, y)
    torch.testing.assert_close(losses["l1"], 0.5 * F.l1_loss(x, y))
    torch.testing.assert_close(losses["l2"], 2.0 * F.mse_loss(x, y))


@pytest.mark.parametrize("delta", [0.1, 1.0, 100.0])
def test_huber_is_the_two_branches_of_its_definition(delta: float) -> None:
    x, y = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    d = (x - y).abs()
    expected = torch.where(d <= delta, d.square() / 2, delta * (d - delta / 2)).mean()
    torch.testing.assert_close(Objective((HuberConfig(weight=2.0, delta=delta),), IMAGE)(x, y)["huber"], 2 * expected)


def test_audio_terms_fall_to_zero_on_equal_sounds_and_pass_gradients() -> None:
    x = (0.3 * torch.randn(2, 1, 4096)).requires_grad_()
    objective = Objective((STFTConfig(), MelConfig()), SOUND)
    assert {name: loss.item() for name, loss in objective(x.detach(), x.detach()).items()} == {"stft": 0.0, "mel": 0.0}
    sum(objective(x, 0.3 * torch.randn(2, 1, 4096)).values()).backward()  # type: ignore[union-attr]
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0


def test_the_mel_term_reads_the_signals_sample_rate() -> None:
    """The same samples at half the rate lie an octave lower, in other mel bands."""
    slow = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(4096,), rate=8000.0)
    x, y = 0.3 * torch.randn(1, 1, 4096), 0.3 * torch.randn(1, 1, 4096)
    for signal, rate in ((SOUND, 16000), (slow, 8000)):
        assert torch.equal(MelConfig().build(signal)(x, y), log_mel_distance(x, y, mel=MelSpec(sample_rate=rate)))


def test_perceptual_loss_is_the_mean_over_frames() -> None:
    class Net(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            assert x.shape[1:] == (1, 8, 8)
            return (x - y).abs().flatten(1).mean(1)

    term = Perceptual()
    term._net = Net()
    x, y = torch.randn(2, 1, 5, 8, 8), torch.randn(2, 1, 5, 8, 8)
    torch.testing.assert_close(term(x, y), (x - y).abs().flatten(1).mean(1))
    torch.testing.assert_close(term(x[:, :, 0], y[:, :, 0]), (x - y)[:, :, 0].abs().flatten(1).mean(1))


def test_perceptual_weights_are_asked_for_only_when_training() -> None:
    config = LPIPSConfig(weight=1.0)
    assert config.weights() == ("alexnet_lpips",)
    assert not isinstance(config.build(IMAGE), torch.nn.Module)


@pytest.mark.parametrize("config", [STFTConfig, MelConfig, LPIPSConfig])
def test_terms_know_their_modalities(config: type[STFTConfig]) -> None:
    at_home = {Modality.IMAGE, Modality.VIDEO} if config is LPIPSConfig else {Modality.WAVEFORM}
    assert set(config.modalities) == at_home


def test_a_weight_is_not_negative() -> None:
    with pytest.raises(ValueError, match="weight must not be negative"):
        L1Config(weight=-0.5)
