"""The trained encoder: it learns, with and without labels, in every modality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.features import collect
from latentbench.tasks.interface import Indices, Split, batches
from latentbench.tasks.nets.config import EncoderConfig, encoder_name
from latentbench.tasks.nets.encoder import EncoderTrainer, LabelledSource, contrast_logits
from latentbench.tokenizers.optimisers import AdamW
from latentbench.tokenizers.spec import Modality, SignalSpec
from latentbench.tokenizers.validation import check

CPU = torch.device("cpu")
SHAPES = {"image": (32, 32), "video": (8, 16, 16), "waveform": (4000,), "spectrogram": (32, 20)}


@pytest.fixture
def signal(name: str, make_signal: Callable[..., SignalSpec]) -> SignalSpec:
    """The signal of the modality `name` of a test."""
    return make_signal(name, SHAPES[name])


class Toys:
    """Four classes of tones or gratings: class k is frequency k (5 % up or down) along the last axis, in noise.

    Phase, gain and the noise's level are a sample's own.
    """

    def __init__(self, signal: SignalSpec, n: int, seed: int, *, labelled: bool = True) -> None:
        rng = np.random.default_rng(seed)
        self.signal = signal
        kinds = rng.integers(0, 4, n)
        self.labels = kinds if labelled else None
        self.kinds = torch.from_numpy(kinds)
        length = signal.shape[-1]
        cycles = torch.tensor([2.0, 3.5, 5.0, 7.0]) * (50 if signal.modality is Modality.WAVEFORM else 1)
        phase, gain = torch.from_numpy(rng.uniform(0, 2 * np.pi, n)), torch.from_numpy(rng.uniform(0.3, 0.6, n))
        detuned = cycles[self.kinds] * torch.from_numpy(rng.uniform(0.95, 1.05, n))
        angle = 2 * torch.pi * detuned[:, None] * torch.arange(length) / length + phase[:, None]
        wave = (gain[:, None] * angle.sin()).float().view(n, 1, *[1] * (len(signal.shape) - 1), length)
        noise = torch.from_numpy(rng.standard_normal((n, signal.channels, *signal.shape), np.float32))
        level = torch.from_numpy(rng.uniform(0.02, 0.4, (n, *[1] * (noise.ndim - 1)))).float()
        self.data = (wave + level * noise).clamp(-1, 1)

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: Indices, device: torch.device) -> Tensor:
        return self.data[torch.from_numpy(indices)].to(device)

    sources = batch


def _train(model: EncoderTrainer, split: Split, steps: int, batch: int = 32) -> None:
    config = model.config.training
    optimiser = AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
    source = LabelledSource(split)
    for step in range(steps):
        picked = torch.randint(0, len(source), (batch,)).numpy()
        loss = model.losses(source.batch(picked, CPU), group="model", step=step, steps=steps)["loss"]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimiser.step()


def _probe(model: EncoderTrainer, train: Toys, val: Toys) -> float:
    """Accuracy of a ridge classifier on the features."""
    net = model.net()
    x, y = (collect(net, batches(split, 64, CPU)) for split in (train, val))
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, y = (x - mean) / std, (y - mean) / std
    target = torch.nn.functional.one_hot(train.kinds, 4).float() - 0.25
    weight = torch.linalg.solve(x.T @ x + 10 * torch.eye(x.shape[1]), x.T @ target)
    return float(((y @ weight).argmax(1) == val.kinds).float().mean())


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_supervised_learns_the_classes(name: str, signal: SignalSpec) -> None:
    model = EncoderTrainer(EncoderConfig(width=16, dim=32), signal, classes=4)
    assert model.name == "encoder_supervised" == encoder_name(4)
    _train(model, Toys(signal, 256, 0), steps=60)
    val = Toys(signal, 128, 1)
    held = model.held_out(val)
    assert held["chance"] < 0.4
    assert held["accuracy"] > held["chance"] + 0.25
    assert held["n"] == 128


@pytest.mark.parametrize(("name", "seeds"), [pytest.param("image", 3, marks=pytest.mark.slow), ("waveform", 1)])
def test_self_supervised_finds_views_and_beats_random_features(name: str, signal: SignalSpec, seeds: int) -> None:
    """Means over trainings: of one training on images, what it gains is not far above the noise."""
    train, val = Toys(signal, 256, 0, labelled=False), Toys(signal, 128, 1, labelled=False)
    before, after, random, trained = ([] for _ in range(4))
    for seed in range(seeds):
        torch.manual_seed(seed)
        model = EncoderTrainer(EncoderConfig(width=16, dim=32), signal, classes=0)
        assert model.name == "encoder_selfsup" == encoder_name(0) == encoder_name(1)
        random.append(_probe(model, train, val))
        before.append(model.held_out(val)["contrastive_accuracy"])
        _train(model, train, steps=80)
        held_out = model.held_out(val)
        assert held_out == model.held_out(val)  # seeded
        after.append(held_out["contrastive_accuracy"])
        trained.append(_probe(model, train, val))
    # Measured for seeds 0 to 3: 2.4 times as often as before on images (7 times chance), 2.6 times on waveforms.
    assert np.mean(after) > 1.5 * np.mean(before)
    assert np.mean(after) > 4 * held_out["chance"]
    if name == "image":  # pure tones are told apart by any filters on a log-mel
        assert np.mean(trained) > np.mean(random) + 0.04  # measured: 0.09


@pytest.mark.parametrize("name", SHAPES)
def test_net_and_its_state(name: str, signal: SignalSpec) -> None:
    config = EncoderConfig()
    model = EncoderTrainer(config, signal, classes=0)
    net = model.net()
    x = Toys(signal, 3, 0).data
    features = net(x)
    assert features.shape == (3, 128) == (3, net.dim)
    assert features.dtype == torch.float32
    assert not any(p.requires_grad for p in net.parameters())
    assert all(p.requires_grad for p in model.parameters())
    other = EncoderTrainer(config, signal, classes=0)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.net()(x), features)
    # Contrast and loudness are seen, not normalised away.
    assert float((net(x * 0.5) - features).norm() / features.norm()) > 0.02


@pytest.mark.parametrize("name", SHAPES)
def test_estimated_flops_equal_the_counted(name: str, signal: SignalSpec) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    config = EncoderConfig()
    net = EncoderTrainer(config, signal, classes=0).net()
    x = torch.zeros(1, signal.channels, *signal.shape)
    picture = net.front(x)
    assert tuple(picture.shape[2:]) == config.picture(signal)
    with FlopCounterMode(display=False) as counter:
        net.trunk(picture)
    assert counter.get_total_flops() == config.estimate_flops(signal)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (64, 48), (256, 256)])
def test_any_image_size(shape: tuple[int, int]) -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=1, shape=shape)
    model = EncoderTrainer(EncoderConfig(), signal, classes=0)
    x = torch.rand(2, 1, *shape)
    assert model.net()(x).shape == (2, 128)
    assert bool(model.losses((x, None), group="model", step=0, steps=1)["loss"].isfinite())


def test_very_short_waveforms() -> None:
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=2, shape=(100,), rate=16_000.0)
    assert EncoderTrainer(EncoderConfig(), signal, classes=0).net()(torch.randn(2, 2, 100)).shape == (2, 128)


def test_contrastive_loss_is_nt_xent() -> None:
    z = torch.randn(8, 5)
    logits, partner = contrast_logits(z, 0.5)
    loss = torch.nn.functional.cross_entropy(logits, partner)
    # Equation 1 of the paper, pair by pair.
    unit = z / z.norm(dim=1, keepdim=True)
    terms = []
    for i in range(8):
        j = (i + 4) % 8
        similar = [float((unit[i] @ unit[k] / 0.5).exp()) for k in range(8)]
        terms.append(-np.log(similar[j] / sum(s for k, s in enumerate(similar) if k != i)))
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-5)


def test_labelled_source(make_signal: Callable[..., SignalSpec]) -> None:
    toys = Toys(make_signal("image", SHAPES["image"]), 6, 0)
    x, labels = LabelledSource(toys).batch(np.array([4, 1]), CPU)
    assert torch.equal(x, toys.data[[4, 1]])
    assert labels.tolist() == toys.kinds[[4, 1]].tolist()
    toys.labels = None
    assert LabelledSource(toys).batch(np.array([4, 1]), CPU)[1].tolist() == [0, 0]


def test_config_is_checked() -> None:
    config = check(EncoderConfig, {"training": {"steps": 5}}, where="suite.toml: encoder")
    assert config.training.steps == 5
    assert replace(config, width=8).width == 8
    with pytest.raises(UserError, match=r"suite.toml: encoder: widht: unknown key; did you mean 'width'"):
        check(EncoderConfig, {"widht": 5}, where="suite.toml: encoder")
    with pytest.raises(UserError, match="dim must be at least 1"):
        check(EncoderConfig, {"dim": 0}, where="suite.toml: encoder")
