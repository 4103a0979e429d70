"""ADM's crop: against its steps done by hand, with means and cubic weights written out here, and through a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latentbench.bench.datasets import open_dataset
from latentbench.bench.datasets.adm_crop import adm_resize
from latentbench.bench.datasets.config import DataConfig
from latentbench.results.errors import UserError
from latentbench.tokenizers.validation import check


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 `[H, W, 3]`: smooth, with some noise."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / min(height, width)
    waves = np.stack([np.sin(5 * x + 2 * y), np.cos(4 * y), np.sin(9 * x * y)], -1)
    return np.clip(127 + 90 * waves + generator.normal(0, 15, waves.shape), 0, 255).round().astype(np.uint8)


def rounded(x: np.ndarray) -> np.ndarray:
    """To whole numbers of 8 bits, halves upwards."""
    return np.clip(np.floor(x + 0.5), 0, 255)


def halved(x: np.ndarray) -> np.ndarray:
    """The means of two neighbours, in each row and then in each column, both rounded; of sides that are even."""
    x = rounded((x[:, ::2] + x[:, 1::2]) / 2)
    return rounded((x[::2] + x[1::2]) / 2)


def cubic(t: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -1/2."""
    t = np.abs(t)
    inner, outer = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t < 1, inner, np.where(t < 2, outer, 0))


def weights(source: int, target: int) -> np.ndarray:
    """`[target, source]`: the kernel stretched by how much is taken away, so that it covers what it averages."""
    stretch = max(source / target, 1)
    centre = (np.arange(target) + 0.5) * source / target
    w = cubic((np.arange(source)[None] + 0.5 - centre[:, None]) / stretch)
    return w / w.sum(1, keepdims=True)


def by_hand(x: np.ndarray, size: int) -> np.ndarray:
    """ADM's steps, of sides that stay even: the centre crop `[size, size, 3]`."""
    x = x.astype(float)
    while min(x.shape[:2]) >= 2 * size:
        x = halved(x)
    target = [round(n * size / min(x.shape[:2])) for n in x.shape[:2]]
    x = rounded(np.einsum("tj,ijc->itc", weights(x.shape[1], target[1]), x))
    x = rounded(np.einsum("ti,ijc->tjc", weights(x.shape[0], target[0]), x))
    top, left = (x.shape[0] - size) // 2, (x.shape[1] - size) // 2
    return x[top : top + size, left : left + size]


@pytest.mark.parametrize(("height", "width"), [(88, 128), (200, 176), (60, 44), (352, 320)])
def test_it_is_box_by_halves_then_bicubic(height: int, width: int) -> None:
    x = picture(height, width)
    resized = adm_resize(torch.from_numpy(x).permute(2, 0, 1), 32).permute(1, 2, 0).numpy()
    top, left = (resized.shape[0] - 32) // 2, (resized.shape[1] - 32) // 2
    ours, expected = resized[top : top + 32, left : left + 32].astype(float), by_hand(x, 32)
    assert np.abs(ours - expected).max() <= 1  # Pillow's weights are whole numbers of 1/2^22
    assert (ours != expected).mean() < 0.02


def test_other_conventions_give_other_pixels() -> None:
    """The reason why it is pinned: a single antialiased resize of the same picture is several levels off."""
    x = picture(352, 352, seed=1)
    adm = adm_resize(torch.from_numpy(x).permute(2, 0, 1), 64).permute(1, 2, 0).numpy().astype(float)
    plain = np.asarray(Image.fromarray(x).resize((64, 64), Image.Resampling.BICUBIC)).astype(float)
    assert np.abs(adm - plain).max() > 1
    assert np.abs(adm - plain).mean() > 0.3


def test_a_ramp_stays_one() -> None:
    """24 x 20 pixels at size 6: halved once, and then 12 rows of step 14 become 7 (of 7.2) of step 24."""
    i, j = np.mgrid[:24, :20]
    x = np.repeat((7 * i + 3 * j).astype(np.uint8)[..., None], 3, -1)
    resized = adm_resize(torch.from_numpy(x).permute(2, 0, 1), 6)
    assert resized.shape == (3, 7, 6)
    assert torch.equal(resized[0], resized[2])
    assert np.diff(resized[0, 2:5, 2].tolist()).tolist() == pytest.approx([24, 24], abs=1)


def test_grey_and_exact_sizes() -> None:
    x = torch.from_numpy(picture(32, 40)).permute(2, 0, 1)
    assert torch.equal(adm_resize(x, 32), x)
    grey = adm_resize(x[:1], 16)
    assert grey.shape == (1, 16, 20)
    assert torch.equal(grey[0], adm_resize(x[:1].expand(3, -1, -1), 16)[1])


def test_a_folder_is_cut_so(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    pictures = [picture(88, 128, seed) for seed in range(3)]
    for number, x in enumerate(pictures):
        Image.fromarray(x).save(tmp_path / "photos" / f"{number}.png")
    config = DataConfig(source="folder", path=str(tmp_path / "photos"), size=32, resize="adm", val=1)
    data = open_dataset(config, cache=tmp_path / "cache")
    cuts = torch.cat([split.batch(np.arange(len(split)), torch.device("cpu")) for split in (data.train, data.val)])
    levels = ((cuts + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    for x in pictures:
        assert min(np.abs(levels - by_hand(x, 32)).max((1, 2, 3))) <= 1
    assert config.identity() != DataConfig(source="folder", path=str(tmp_path), size=32, val=1).identity()


def test_it_is_for_centre_crops_of_images() -> None:
    for table in ({"crop": "tiles"}, {"modality": "video"}):
        with pytest.raises(UserError, match="resize 'adm' is for images, with crop 'center'"):
            check(DataConfig, {"source": "folder", "path": "x", "resize": "adm", **table}, where="data[0]")
