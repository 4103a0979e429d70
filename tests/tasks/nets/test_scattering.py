"""The scattering net: its wavelets against formulas in the Fourier domain, invariances, and that it ranks damage."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.features import collect
from latentbench.tasks.interface import FeatureNet
from latentbench.tasks.metrics.frechet import FrechetReference, frechet_distance
from latentbench.tasks.nets import nets
from latentbench.tasks.nets.scattering import whitening
from latentbench.tasks.nets.synthetic import synthetic
from latentbench.tokenizers.mel import LogMel
from latentbench.tokenizers.scattering import Scattering, audible, contrasts, half, morlet
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec
from latentbench.tokenizers.target_sizes import octaves

CPU = torch.device("cpu")
SIGNALS = [
    ("image", (32, 32)),
    ("image", (4, 4)),
    ("image", (17, 5)),
    ("video", (1, 8, 8)),
    ("video", (2, 16, 12)),
    ("video", (9, 21, 32)),
    ("waveform", (400,)),
    ("waveform", (8000,)),
    ("spectrogram", (64, 20)),
    ("spectrogram", (7, 4)),
]


def _net(signal: SignalSpec) -> FeatureNet:
    net = nets.get("scattering")().load(signal, CPU)
    assert isinstance(net, FeatureNet)
    return net


@pytest.mark.parametrize("degrees", [0, 45, 90, 135])
def test_the_wavelet_is_morlets(degrees: int) -> None:
    """Its transform is the Gaussian at ξ less κ times the one at 0: none of a constant, a peak near ξ."""
    psi = morlet(math.radians(degrees)).numpy()
    assert abs(psi.sum()) < 1e-12
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(psi, (256, 256))))
    row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
    peak = 2 * math.pi * np.array([column - 128, row - 128]) / 256
    direction = np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
    assert peak @ direction == pytest.approx(0.75 * math.pi, rel=0.05)
    assert abs(peak @ np.array([-direction[1], direction[0]])) < 0.1
    opposite = spectrum[(256 - row) % 256, (256 - column) % 256]
    assert opposite < 0.4 * spectrum.max()  # so near the Nyquist frequency, sampling folds a part of the peak over


def test_the_modulus_equals_filtering_in_the_fourier_domain() -> None:
    scattering = Scattering(Modality.IMAGE, 1)
    x = torch.rand(1, 1, 24, 20)
    ours = scattering.modulus(x)[0, 0]
    for i in range(4):
        psi = morlet(math.pi * i / 4).numpy()
        # A correlation is a convolution with the mirrored filter, here with its centre at the origin.
        filter_ = np.zeros((24, 20), complex)
        for dy in range(-3, 4):
            for dx in range(-3, 4):
                filter_[-dy % 24, -dx % 20] = psi[dy + 3, dx + 3]
        theirs = np.abs(np.fft.ifft2(np.fft.fft2(x[0, 0].numpy()) * np.fft.fft2(filter_)))
        np.testing.assert_allclose(ours[i, 3:-3, 3:-3], theirs[3:-3, 3:-3], atol=1e-5)


def test_contrasts_are_luminance_and_opponent_colours() -> None:
    torch.testing.assert_close(contrasts(3)[1:], torch.tensor([[0.5, -0.5, 0], [0.25, 0.25, -0.5]]))
    for channels in (1, 2, 3, 5):
        matrix = contrasts(channels)
        assert matrix[0].sum() == pytest.approx(1)
        assert torch.linalg.matrix_rank(matrix) == channels
        torch.testing.assert_close(matrix[1:].sum(1), torch.zeros(channels - 1))


def test_octaves_and_halves() -> None:
    assert [octaves(n, 99) for n in (1, 4, 8, 15, 16, 31, 32, 512)] == [1, 1, 1, 1, 2, 2, 3, 3]
    odd = torch.arange(15.0).view(1, 1, 3, 5)
    assert half(odd)[0, 0].tolist() == [[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]


@pytest.mark.slow
@pytest.mark.parametrize(("modality", "shape"), SIGNALS)
def test_serves_every_modality_and_size(
    modality: str, shape: tuple[int, ...], make_signal: Callable[..., SignalSpec]
) -> None:
    signal = make_signal(modality, shape)
    net = _net(signal)
    x = torch.rand(5, signal.channels, *shape) * 2 - 1
    whole = collect(net, [x])
    assert whole.shape == (5, net.dim)
    assert whole.isfinite().all()
    assert not any(p.requires_grad for p in net.parameters())
    torch.testing.assert_close(collect(net, [x[:1], x[1:]]), whole, atol=2e-3, rtol=1e-3)
    assert torch.equal(collect(_net(signal), [x]), whole)
    for flat in (torch.zeros_like(x), torch.ones_like(x)):
        assert collect(net, [flat]).isfinite().all()


def test_grey_and_stereo(make_signal: Callable[..., SignalSpec]) -> None:
    grey = SignalSpec(modality=Modality.IMAGE, channels=1, shape=(28, 28))
    assert collect(_net(grey), [torch.rand(2, 1, 28, 28)]).shape == (2, 96)
    stereo = SignalSpec(modality=Modality.WAVEFORM, channels=2, shape=(2000,), rate=8000.0)
    assert collect(_net(stereo), [torch.rand(2, 2, 2000) - 0.5]).shape == (2, 96)


@pytest.mark.parametrize(("modality", "shape"), [("image", (3, 9)), ("waveform", (8,)), ("spectrogram", (64, 3))])
def test_refuses_what_has_no_picture(
    modality: str, shape: tuple[int, ...], make_signal: Callable[..., SignalSpec]
) -> None:
    with pytest.raises(UserError, match="feature net 'scattering': it needs at least 4 positions along both axes"):
        nets.get("scattering").check(make_signal(modality, shape))


@pytest.mark.slow
def test_a_shift_changes_little() -> None:
    """Means over the whole do not know where things are, save at the edges."""
    image = synthetic(8, 3, (64, 64))
    net = _net(SignalSpec(modality=Modality.IMAGE, channels=3, shape=(64, 64)))
    features = collect(net, [image, image.roll((8, 16), (2, 3)), image.roll(1, 0)])
    here, moved, other = features.split(8)
    assert (moved - here).norm(dim=1).median() < 0.25 * (other - here).norm(dim=1).median()


@pytest.mark.slow
def test_the_whitening_is_of_unit_variance_and_of_one_kind_for_all_large_shapes() -> None:
    centre, projection = whitening(Modality.IMAGE, 3, (32, 32), 96)
    numbers = Scattering(Modality.IMAGE, 3)(synthetic(1024, 3, (32, 32)))
    covariance = torch.cov(((numbers - centre) @ projection).T)
    variances = covariance.diagonal()
    assert variances[0] == pytest.approx(1, abs=0.01)
    assert variances.max() < 1.01
    assert (covariance - variances.diag()).abs().max() < 0.02
    assert torch.equal(whitening(Modality.IMAGE, 3, (256, 300), 96)[1], projection)


def test_a_soft_floor_hides_what_is_inaudible() -> None:
    mel = MelSpec(sample_rate=8000)

    def level(decibels: float) -> float:
        return float(audible(torch.tensor((decibels + 80) / 130 * 2 - 1), mel))

    assert level(50) == pytest.approx(1, abs=1e-4)
    assert level(10) == pytest.approx(0, abs=1e-4)
    assert level(-30) == pytest.approx(2 * 3.0103 / 80 - 1, abs=1e-4)
    assert level(-80) == pytest.approx(level(-60), abs=2e-4)


def test_a_waveform_and_its_spectrogram_have_the_same_features(make_signal: Callable[..., SignalSpec]) -> None:
    wave = make_signal("waveform", (8000,))
    net = _net(wave)
    mel = net.mel
    assert isinstance(mel, MelSpec)
    x = 0.3 * torch.randn(3, 1, 8000)
    pictures = LogMel(mel)(x)
    spectrogram = SignalSpec(
        modality=Modality.SPECTROGRAM,
        channels=1,
        shape=tuple(pictures.shape[2:]),
        rate=8000.0,
        mel=mel,
        source_shape=(1, 8000),
    )
    torch.testing.assert_close(collect(_net(spectrogram), [pictures]), collect(net, [x]), atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_the_order_of_frames_shows(make_signal: Callable[..., SignalSpec]) -> None:
    """A frame's own statistics cannot tell a clip from its frames in another order; differences in time do."""
    texture = synthetic(32, 3, (24, 24))
    clip = torch.stack([texture.roll(i, 3) for i in range(12)], 2)
    mixed = clip[:, :, torch.randperm(12)]
    net = _net(make_signal("video", (12, 24, 24)))
    calm, shuffled, others = (collect(net, [x]) for x in (clip, mixed, clip.flip(2)))
    reference = FrechetReference.of(calm)
    assert frechet_distance(shuffled, reference) > 10 * max(frechet_distance(others, reference), 1e-3)


def _jpeg(x: Tensor, quality: int) -> Tensor:
    out = []
    for image in ((x + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        out.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    return torch.stack(out).float() / 127.5 - 1


def _blur(x: Tensor, sigma: float) -> Tensor:
    kernel = torch.exp(-(torch.arange(-6, 7.0) ** 2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, 13)
    x = F.conv2d(F.pad(x, (6, 6, 6, 6), "reflect"), kernel, groups=3)
    return F.conv2d(x, kernel.transpose(2, 3), groups=3)


DAMAGE: dict[str, tuple[Callable[[Tensor, float], Tensor], tuple[float, ...]]] = {
    "noise": (lambda x, s: (x + s * torch.randn_like(x)).clamp(-1, 1), (0.03, 0.08, 0.16, 0.3)),
    "blur": (_blur, (0.5, 0.8, 1.2, 2.0)),
    "JPEG": (lambda x, q: _jpeg(x, int(q)), (90, 50, 25, 8)),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
def test_distances_rise_with_damage(kind: str) -> None:
    """A small version of tests/coverage/degradations.py: r and g (from its floor on) at N = 128."""
    net = _net(SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32)))
    random = torch.randperm(640, generator=torch.Generator().manual_seed(1))
    pictures = synthetic(640, 3, (32, 32))[random]
    reference, others, train = pictures[:128], pictures[128:256], pictures[256:]
    damage, strengths = DAMAGE[kind]
    for clean, against in ((reference, reference), (others, train)):
        target = FrechetReference.of(collect(net, [against]))
        sets = [clean, *(damage(clean, s) for s in strengths)]
        distances = [frechet_distance(collect(net, [x]), target) for x in sets]
        assert all(a < b for a, b in pairwise(distances)), distances
