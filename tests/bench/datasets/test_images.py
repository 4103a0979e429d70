from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latentbench.bench.datasets.config import DataConfig
from latentbench.bench.datasets.image_file import read_image
from latentbench.bench.datasets.images import cut_image, decode_image_file
from latentbench.bench.datasets.source import Skip


def config(**options: object) -> DataConfig:
    return DataConfig(source="folder", path="x", **options)  # type: ignore[arg-type]


def cut(image: torch.Tensor, **options: object) -> np.ndarray:
    return cut_image(image, config(**options), np.random.default_rng(0))


def ramp(height: int, width: int) -> torch.Tensor:
    """Red counts rows, green counts columns."""
    rows = torch.arange(height).reshape(-1, 1).expand(height, width)
    columns = torch.arange(width).expand(height, width)
    return torch.stack([rows, columns, torch.zeros_like(rows)]).to(torch.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    data = io.BytesIO()
    image.save(data, path.suffix[1:].replace("jpg", "jpeg"), **options)
    path.write_bytes(data.getvalue())
    return path


def test_native_crops_are_where_they_should_be() -> None:
    image = ramp(70, 100)
    centre = cut(image, size=32, resize="none")
    assert centre.shape == (1, 3, 32, 32)
    assert (centre[0, 0, 0, 0], centre[0, 1, 0, 0]) == (19, 34)
    tiles = cut(image, size=32, resize="none", crop="tiles")
    assert [(t[0, 0, 0], t[1, 0, 0]) for t in tiles] == [(3, 2), (3, 34), (3, 66), (35, 2), (35, 34), (35, 66)]
    two = cut(image, size=32, resize="none", crop="tiles", per_file=2)
    assert [(t[0, 0, 0], t[1, 0, 0]) for t in two] == [(3, 34), (35, 34)]


def test_random_crops_are_seeded_and_inside() -> None:
    image = ramp(70, 100)
    first, again = (cut(image, size=32, resize="none", crop="random", per_file=9) for _ in range(2))
    assert np.array_equal(first, again)
    assert len({(t[0, 0, 0], t[1, 0, 0]) for t in first}) == len(first) > 5
    assert first[:, 0].max() <= 69


def test_crops_that_are_no_squares() -> None:
    """The picture just covers the crop: of a square one 24 x 40 takes the width, of a wide one the height."""
    image = ramp(70, 100)
    tiles = cut(image, size=[20, 32], resize="none", crop="tiles")
    assert tiles.shape == (9, 3, 20, 32)
    assert [(t[0, 0, 0], t[1, 0, 0]) for t in tiles[:4]] == [(5, 2), (5, 34), (5, 66), (25, 2)]
    assert cut(image, size=[20, 32], resize="none", crop="random", per_file=5).shape[1:] == (3, 20, 32)
    for height, width, rows, columns in ((80, 80, 24, 40), (48, 160, 24, 40), (300, 40, 24, 40), (96, 48, 40, 24)):
        plane = torch.stack([torch.full((height, width), value) for value in (0, 60, 250)]).to(torch.uint8)
        plane[0] = torch.linspace(0, 255, width).round().to(torch.uint8)
        crop = cut(plane, size=[rows, columns])
        assert crop.shape == (1, 3, rows, columns)
        scale = max(rows / height, columns / width)
        slope = np.diff(crop[0, 0, rows // 2].astype(float))[4:-4].mean()
        assert slope == pytest.approx(255 / (width * scale), rel=0.06)
    with pytest.raises(Skip, match="too small: 19 x 40 pixels for crops of 40 x 24"):
        cut(ramp(40, 19), size=[24, 40])


def test_short_side_fits() -> None:
    # A horizontal ramp of 0..255 over 256 columns keeps its slope per unit of width.
    image = torch.arange(256).expand(3, 128, 256).to(torch.uint8)
    out = cut(image, size=32)
    assert out.shape == (1, 3, 32, 32)
    assert np.diff(out[0, 0, 0].astype(int)).mean() == pytest.approx(4, abs=0.1)
    assert out[0, 0, 0].mean() == pytest.approx(127.5, abs=1)


def test_tiles_use_the_largest_multiple_that_does_not_enlarge() -> None:
    assert len(cut(ramp(100, 100), size=32, crop="tiles")) == 9
    assert len(cut(ramp(100, 200), size=32, crop="tiles", per_file=99)) == 18


def test_resize_equals_torchvision() -> None:
    from torchvision.transforms.v2.functional import InterpolationMode, center_crop, resize

    image = torch.randint(0, 256, (3, 90, 131), dtype=torch.uint8)
    expected = center_crop(resize(image, 32, interpolation=InterpolationMode.BICUBIC, antialias=True), [32, 32])
    assert np.abs(cut(image, size=32)[0].astype(int) - expected.numpy().astype(int)).max() <= 1


def test_grey() -> None:
    image = torch.tensor([255, 0, 0], dtype=torch.uint8).reshape(3, 1, 1).expand(3, 32, 32)
    assert (cut(image, channels=1) == 76).all()


@pytest.mark.parametrize(("size", "resize", "fits"), [(15, "short", False), (16, "short", True), (31, "none", False)])
def test_too_small(size: int, resize: str, fits: bool) -> None:
    if fits:
        assert cut(ramp(size, 40), resize=resize).shape == (1, 3, 32, 32)
    else:
        with pytest.raises(Skip, match=f"too small: 40 x {size} pixels for crops of 32"):
            cut(ramp(size, 40), resize=resize)


def test_formats_agree(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    expected = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    for name in ("rgb.png", "lossless.webp"):
        options = {"lossless": True} if name.endswith("webp") else {}
        assert torch.equal(read_image(save(tmp_path / name, image, **options)), expected)
    grey = read_image(save(tmp_path / "grey.png", image.convert("L")))
    assert torch.equal(grey, torch.from_numpy(np.array(image.convert("L"))).expand(3, -1, -1))
    assert (read_image(save(tmp_path / "bits.png", image.convert("1"))).unique() == torch.tensor([0, 255])).all()


@pytest.mark.parametrize("colours", [2, 4, 16, 256])
@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palettes(colours: int, suffix: str, tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).quantize(colours)
    shown = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(read_image(save(tmp_path / f"a.{suffix}", image)), shown)
    if suffix == "png":
        clear = torch.from_numpy(np.array(image)) == 1
        seen = read_image(save(tmp_path / "clear.png", image, transparency=1))
        assert torch.equal(seen, torch.where(clear, torch.tensor(255, dtype=torch.uint8), shown))


def test_transparency_is_over_white(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:, 3] = 255
    pixels[0, 0] = (100, 0, 0, 128)
    image = read_image(save(tmp_path / "a.png", Image.fromarray(pixels)))
    assert (image[:, 1:, :4] == 255).all()
    assert (image[:, :, 4:] == 0).all()
    assert image[:, 0, 0].tolist() == [177, 127, 127]


def test_sixteen_bits(tmp_path: Path) -> None:
    deep = Image.fromarray(np.array([[0, 128, 129, 257, 65535]], np.uint16))
    assert read_image(save(tmp_path / "deep.png", deep))[0, 0].tolist() == [0, 0, 1, 1, 255]


def test_exif_orientation(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((20, 40, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    assert read_image(save(tmp_path / "turned.jpg", image, exif=exif)).shape == (3, 40, 20)


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 200)]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert (read_image(path) == 10).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif"])
def test_truncated(suffix: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(pixels))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Skip, match=r"^(cut short|damaged): "):
        list(decode_image_file(path, config(), np.random.default_rng(0)))
