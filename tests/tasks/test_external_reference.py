"""A file's statistics as a reference: the number is that of the moments, and what needs features says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.distances import Reference, distances
from latentbench.tasks.external_reference import external_reference
from latentbench.tasks.interface import FeatureNet
from latentbench.tasks.statistics_file import StatisticsFile, write_moments
from latentbench.tokenizers.spec import Modality, SignalSpec

CPU = torch.device("cpu")
IMAGES = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(4, 4))


class Colours(FeatureNet):
    """The mean colour of each half, as if it were FID's Inception."""

    def __init__(self, name: str = "inception") -> None:
        super().__init__()
        self.name, self.dim, self.protocol = name, 6, "colours"

    def forward(self, signal: Tensor) -> Tensor:
        return torch.cat([signal[..., :2].mean((2, 3)), signal[..., 2:].mean((2, 3))], 1)


def pictures(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)


def features(images: np.ndarray) -> Tensor:
    return Colours()(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1)


def frechet(x: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> float:
    """Heusel et al., eq. 6, with scipy's root, as pytorch-fid computes it."""
    own = np.cov(x, rowvar=False)
    root = scipy.linalg.sqrtm(own @ sigma).real
    return float(((x.mean(0) - mu) ** 2).sum() + np.trace(own + sigma - 2 * root))


def test_moments_alone(tmp_path: Path) -> None:
    data, ours = features(pictures(40, 0)).numpy().astype(np.float64), features(pictures(30, 1))
    np.savez(tmp_path / "fid.npz", mu=data.mean(0), sigma=np.cov(data, rowvar=False))
    file = StatisticsFile.inspect(tmp_path / "fid.npz")
    reference = external_reference(file, Colours(), IMAGES, CPU, digest="0123abcd")
    reference.save(tmp_path / "job")
    reference = Reference.load(tmp_path / "job", "external")
    fid, kid = distances("g", Colours(), ours, reference, seed=0)
    expected = frechet(ours.numpy().astype(np.float64), data.mean(0), np.cov(data, rowvar=False))
    assert fid.name == "gfid"
    assert fid.value == pytest.approx(expected, rel=1e-6)
    assert "reference: statistics 0123abcd" in fid.protocol
    assert "n = 30 against a number that its file does not say" in fid.protocol
    assert kid.name == "gkid"
    assert kid.value is None
    assert "it needs features, and the reference holds moments alone" in kid.protocol
    assert distances("r", Colours(), ours, reference, seed=0)[0].name == "rfid"


def test_pictures_beside_moments_give_features(tmp_path: Path) -> None:
    """As in ADM's batches: the Fréchet distance is to the whole set's moments, the kernel distance to the pictures."""
    whole, some = features(pictures(80, 0)).numpy().astype(np.float64), pictures(20, 2)
    mu, sigma = whole.mean(0), np.cov(whole, rowvar=False)
    np.savez(tmp_path / "adm.npz", mu=mu, sigma=sigma, mu_s=mu + 1, sigma_s=2 * sigma, arr_0=some)
    file = StatisticsFile.inspect(tmp_path / "adm.npz")
    ours = features(pictures(30, 1))
    adm = external_reference(file, Colours(), IMAGES, CPU, digest="x")
    fid, kid = distances("g", Colours(), ours, adm, seed=0)
    assert fid.value == pytest.approx(frechet(ours.numpy().astype(np.float64), mu, sigma), rel=1e-6)
    torch.testing.assert_close(adm.features, features(some))
    own = distances("g", Colours(), ours, Reference.of(features(some), "train"), seed=0)[1]
    assert kid.value == pytest.approx(own.value)
    assert adm.manifold is not None
    other = external_reference(file, Colours("mobilenet_v2"), IMAGES, CPU, digest="x")  # whose moments it has not
    assert other.frechet.n == 20
    spatial = external_reference(file, Colours("inception_spatial"), IMAGES, CPU, digest="x")
    (sfid, _) = distances("g", Colours("inception_spatial"), ours, spatial, seed=0)
    assert sfid.name == "gfd_inception_spatial"
    assert sfid.value == pytest.approx(frechet(ours.numpy().astype(np.float64), mu + 1, 2 * sigma), rel=1e-6)


def test_another_size_net_or_protocol(tmp_path: Path) -> None:
    np.savez(tmp_path / "adm.npz", arr_0=np.zeros((9, 8, 4, 3), np.uint8))
    with pytest.raises(UserError, match="has pictures of 8x4 pixels, and the data have 4x4"):
        external_reference(StatisticsFile.inspect(tmp_path / "adm.npz"), Colours(), IMAGES, CPU, digest="x")
    data = features(pictures(40, 0)).numpy()
    write_moments(
        tmp_path / "ours.npz",
        mu=data.mean(0),
        sigma=np.cov(data, rowvar=False),
        n=40,
        net="inception",
        protocol="older",
    )
    with pytest.raises(UserError, match="is of 'older', and inception is 'colours' here"):
        external_reference(StatisticsFile.inspect(tmp_path / "ours.npz"), Colours(), IMAGES, CPU, digest="x")
    with pytest.raises(UserError, match="moments of inception alone, and none of yamnet"):
        external_reference(StatisticsFile.inspect(tmp_path / "ours.npz"), Colours("yamnet"), IMAGES, CPU, digest="x")
