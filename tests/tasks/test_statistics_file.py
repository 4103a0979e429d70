"""Statistics as pytorch-fid and ADM write them, and what is refused: pickles first of all."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentbench.results.errors import UserError
from latentbench.tasks.statistics_file import StatisticsFile, write_moments, write_pictures


def moments(dim: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    features = np.random.default_rng(seed).normal(size=(50, dim))
    return features.mean(0), np.cov(features, rowvar=False)


def test_pytorch_fids_form(tmp_path: Path) -> None:
    """As pytorch-fid's `--save-stats` writes it: `np.savez_compressed(path, mu=m1, sigma=s1)`."""
    mu, sigma = moments()
    np.savez_compressed(tmp_path / "fid.npz", mu=mu, sigma=sigma)
    file = StatisticsFile.inspect(tmp_path / "fid.npz")
    assert (file.dim, file.pictures, file.net, file.n) == (4, (), "", 0)
    np.testing.assert_array_equal(file.moments()[1], sigma)
    assert file.unsupported_reason("inception", 4) is None
    assert file.unsupported_reason("fidelity:inception-v3-compat", 4) is None
    assert "its mu has 4 numbers, and inception has 2048" in (file.unsupported_reason("inception", 2048) or "")
    assert "moments of FID's Inception alone" in (file.unsupported_reason("mobilenet_v2", 4) or "")


def test_adms_form(tmp_path: Path) -> None:
    """As ADM's reference batches: moments of a training set, spatial ones, and a batch of pictures."""
    (mu, sigma), (mu_s, sigma_s) = moments(), moments(3)
    arr_0 = np.zeros((5, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "adm.npz", mu=mu.astype(np.float32), sigma=sigma, mu_s=mu_s, sigma_s=sigma_s, arr_0=arr_0)
    file = StatisticsFile.inspect(tmp_path / "adm.npz")
    assert (file.dim, file.pictures) == (4, (5, 8, 8, 3))
    assert file.moments()[0].dtype == np.float64
    assert file.images().shape == (5, 8, 8, 3)
    assert file.has_moments_of("inception")
    assert file.unsupported_reason("mobilenet_v2", 1280) is None  # of its pictures
    assert not file.has_moments_of("mobilenet_v2")
    assert file.spatial_dim == 3
    assert file.unsupported_reason("inception_spatial", 3) is None
    assert "its mu_s has 3 numbers, and inception_spatial has 2023" in str(
        file.unsupported_reason("inception_spatial", 2023)
    )
    for read, expected in zip(file.moments("inception_spatial"), (mu_s, sigma_s), strict=True):
        np.testing.assert_array_equal(read, expected)
    np.testing.assert_array_equal(file.moments("inception")[1], sigma)
    np.savez(tmp_path / "half.npz", mu=mu, sigma=sigma, mu_s=mu_s)
    with pytest.raises(UserError, match=r"expected mu_s \[D\] and sigma_s \[D, D\], got \[3\] and \[\]"):
        StatisticsFile.inspect(tmp_path / "half.npz")
    np.savez(tmp_path / "batch.npz", arr_0)  # a batch of samples alone, whose first array numpy calls arr_0
    assert StatisticsFile.inspect(tmp_path / "batch.npz").dim == 0


def test_ours_say_whose_they_are_and_others_read_them(tmp_path: Path) -> None:
    mu, sigma = moments()
    write_moments(tmp_path / "ours.npz", mu=mu, sigma=sigma, n=50, net="yamnet", protocol="line")
    file = StatisticsFile.inspect(tmp_path / "ours.npz")
    assert (file.net, file.protocol, file.n) == ("yamnet", "line", 50)
    assert file.unsupported_reason("yamnet", 4) is None
    assert "moments of yamnet alone, and none of inception" in (file.unsupported_reason("inception", 4) or "")
    with np.load(tmp_path / "ours.npz") as read:  # as pytorch-fid does
        np.testing.assert_array_equal(read["mu"][:], mu)
        np.testing.assert_array_equal(read["sigma"][:], sigma)
    write_pictures(tmp_path / "pictures.npz", np.zeros((3, 4, 4, 3), np.uint8))
    with np.load(tmp_path / "pictures.npz") as read:
        assert read.files == ["arr_0"]  # ADM's evaluator takes `mu` to mean that `mu_s` is there too


class Trap:
    def __reduce__(self) -> Any:
        return os.mkdir, (str(Trap.folder),)

    folder = Path()


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    Trap.folder = tmp_path / "was run"
    mu, sigma = moments()
    np.savez(tmp_path / "trap.npz", mu=mu, sigma=sigma, extra=np.array([Trap()], dtype=object))
    with pytest.raises(UserError, match=r"trap\.npz: extra is a pickled array"):
        StatisticsFile.inspect(tmp_path / "trap.npz")
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match=r"plain\.npz: not an \.npz file"):
        StatisticsFile.inspect(tmp_path / "plain.npz")
    assert not Trap.folder.exists()


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        (
            {"mu": np.zeros(4), "sigma": np.zeros((4, 3))},
            r"expected mu \[D\] and sigma \[D, D\], got \[4\] and \[4, 3\]",
        ),
        ({"mu": np.zeros(4)}, r"expected mu \[D\] and sigma \[D, D\]"),
        ({"arr_0": np.zeros((2, 4, 4))}, "arr_0 must be uint8 pictures"),
        ({"arr_0": np.zeros((2, 4, 4, 3), np.float32)}, r"got float32 \[2, 4, 4, 3\]"),
        ({"features": np.zeros((2, 4))}, "holds features; expected mu and sigma, or arr_0"),
    ],
)
def test_other_files(tmp_path: Path, arrays: dict[str, np.ndarray], told: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=told):
        StatisticsFile.inspect(tmp_path / "x.npz", where="suite.toml: data[0].reference")


def test_broken_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        StatisticsFile.inspect(tmp_path / "none.npz")
    mu, sigma = moments()
    whole = io.BytesIO()
    np.savez(whole, mu=mu, sigma=sigma)
    damaged = bytearray(whole.getvalue())
    damaged[40:60] = bytes(20)
    (tmp_path / "damaged.npz").write_bytes(damaged)
    with pytest.raises(UserError, match=r"damaged\.npz: "):
        StatisticsFile.inspect(tmp_path / "damaged.npz").moments()
    np.savez(tmp_path / "nan.npz", mu=mu * np.nan, sigma=sigma)
    with pytest.raises(UserError, match="not finite"):
        StatisticsFile.inspect(tmp_path / "nan.npz").moments()
