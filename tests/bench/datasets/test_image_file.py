"""Pixels of the image files that people have, against Pillow or by hand."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from latentbench.bench.datasets.image_file import read_image
from latentbench.bench.datasets.source import Skip

PICTURE = np.add.outer(np.arange(40) * 5, np.arange(56))[..., None] * np.array([1, 0, 0]) + [0, 90, 200]
IMAGE = Image.fromarray(PICTURE.astype(np.uint8))


def seen(path: Path) -> np.ndarray:
    """`[H, W, 3]` as the project reads it."""
    return read_image(path).numpy().transpose(1, 2, 0).astype(int)


def shown(path: Path) -> np.ndarray:
    """`[H, W, 3]` by Pillow: upright and over white."""
    with Image.open(path) as image:
        pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGBA")).astype(int)
    return (pixels[..., :3] * pixels[..., 3:] + 255 * (255 - pixels[..., 3:]) + 127) // 255


def exif(orientation: int, order: str = "<") -> Image.Exif:
    tags = Image.Exif()
    tags.endian = order
    tags[0x0112] = orientation
    return tags


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write_png(path: Path, rows: list[bytes], width: int, *, depth: int, colours: int, extra: bytes = b"") -> Path:
    head = struct.pack(">IIBBBBB", width, len(rows), depth, colours, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + data + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_in_every_format(orientation: int, order: str, tmp_path: Path) -> None:
    tags = exif(orientation, order)
    for name, options, tolerance in (
        ("a.jpg", {"quality": 95}, 3),
        ("a.png", {}, 0),
        ("lossless.webp", {"lossless": True}, 0),
        ("lossy.webp", {"quality": 80}, 1),
        ("animated.webp", {"lossless": True, "save_all": True, "append_images": [Image.new("RGB", (56, 40))]}, 0),
    ):
        path = tmp_path / name
        IMAGE.save(path, exif=tags, **options)
        assert seen(path).shape == shown(path).shape
        assert np.abs(seen(path) - shown(path)).max() <= tolerance, name


def test_orientation_in_odd_places(tmp_path: Path) -> None:
    IMAGE.save(tmp_path / "a.png", exif=exif(6))
    expected, data = shown(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()
    begin = data.index(b"eXIf") - 4
    end = begin + 12 + int.from_bytes(data[begin : begin + 4], "big")
    last = data.index(b"IEND") - 4
    (tmp_path / "a.png").write_bytes(data[:begin] + data[end:last] + data[begin:end] + data[last:])
    np.testing.assert_array_equal(seen(tmp_path / "a.png"), expected)

    IMAGE.save(tmp_path / "b.jpg", exif=exif(8), quality=95)
    expected, data = seen(tmp_path / "b.jpg"), (tmp_path / "b.jpg").read_bytes()
    other = b"http://ns.adobe.com/xap/1.0/\0<x/>"
    (tmp_path / "b.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(other) + 2) + other + data[2:])
    np.testing.assert_array_equal(seen(tmp_path / "b.jpg"), expected)
    assert expected.shape == (56, 40, 3)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_colour_keys(depth: int, tmp_path: Path) -> None:
    values = np.random.default_rng(depth).integers(0, 2**depth, (8, 24))
    bits = (values[..., None] >> np.arange(depth)[::-1]) & 1
    rows = [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in bits]
    full = np.rint(values * 255 / (2**depth - 1)).astype(int)
    key = int(values[0, 0])
    clear = chunk(b"tRNS", struct.pack(">H", key))
    for extra, expected in ((b"", full), (clear, np.where(values == key, 255, full))):
        path = write_png(tmp_path / "a.png", rows, 24, depth=depth, colours=0, extra=extra)
        np.testing.assert_array_equal(seen(path), np.repeat(expected[..., None], 3, 2))


@pytest.mark.parametrize(("depth", "kind"), [(8, "u1"), (16, ">u2")])
def test_rgb_colour_keys(depth: int, kind: str, tmp_path: Path) -> None:
    values = np.random.default_rng(depth).integers(0, 2**depth, (8, 8, 3))
    values[1, 1] = values[0, 0]
    values[2, 2] = values[0, 0] ^ [0, 0, 1]
    rows = [row.astype(kind).tobytes() for row in values]
    clear = chunk(b"tRNS", struct.pack(">HHH", *(int(v) for v in values[0, 0])))
    path = write_png(tmp_path / "a.png", rows, 8, depth=depth, colours=2, extra=clear)
    expected = np.rint(values * 255 / (2**depth - 1)).astype(int)
    expected[(values == values[0, 0]).all(-1)] = 255
    np.testing.assert_array_equal(seen(path), expected)


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.webp", "grey.png", "alphas.png", "palette.gif"])
def test_transparency(name: str, tmp_path: Path) -> None:
    path, clear = tmp_path / name, IMAGE.convert("RGBA")
    clear.putalpha(Image.fromarray(np.tile(np.arange(56, dtype=np.uint8) * 4, (40, 1))))
    if name == "grey.png":
        clear.convert("LA").save(path)
    elif name == "alphas.png":
        IMAGE.quantize(16).save(path, transparency=bytes(range(0, 256, 16)))
    elif name == "palette.gif":
        IMAGE.quantize(16).save(path, transparency=0)
    else:
        clear.save(path, **({"lossless": True, "exact": True} if name.endswith("webp") else {}))
    np.testing.assert_array_equal(seen(path), shown(path))


def test_a_first_frame_smaller_than_the_picture(tmp_path: Path) -> None:
    image = Image.fromarray(np.full((20, 20), 1, np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.gif")
    data = bytearray((tmp_path / "a.gif").read_bytes())
    frame = data.index(b",", 13)
    data[6:10], data[frame + 1 : frame + 5] = struct.pack("<HH", 40, 30), struct.pack("<HH", 5, 7)
    (tmp_path / "a.gif").write_bytes(data)
    expected = np.full((30, 40, 3), 255)
    expected[7:27, 5:25] = (0, 255, 0)
    np.testing.assert_array_equal(seen(tmp_path / "a.gif"), expected)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_animations_give_their_first_frame(name: str, tmp_path: Path) -> None:
    options = {"lossless": True} if name == "a.webp" else {}
    others = [Image.new("RGB", IMAGE.size, (0, 255, 0))]
    IMAGE.save(tmp_path / name, save_all=True, append_images=others, **options)
    np.testing.assert_array_equal(seen(tmp_path / name), shown(tmp_path / name))


@pytest.mark.parametrize("kind", ["TIFF", "BMP"])
def test_other_formats_under_a_wrong_name(kind: str, tmp_path: Path) -> None:
    IMAGE.save(tmp_path / "a.jpg", kind)
    with pytest.raises(Skip, match=f"unsupported: {kind}, whatever its name says; read are GIF, JPEG, PNG and WebP"):
        read_image(tmp_path / "a.jpg")
    IMAGE.save(tmp_path / "b.jpg", "PNG")
    np.testing.assert_array_equal(seen(tmp_path / "b.jpg"), PICTURE)


def test_pixels_are_bounded_before_they_are_decoded(tmp_path: Path) -> None:
    bomb = bytearray(write_png(tmp_path / "a.png", [b""], 300_000, depth=8, colours=2).read_bytes())
    bomb[20:24] = struct.pack(">I", 300_000)
    IMAGE.save(tmp_path / "b.gif")
    canvas = bytearray((tmp_path / "b.gif").read_bytes())
    canvas[6:10] = struct.pack("<HH", 65535, 65535)
    for data in (bomb, canvas):
        (tmp_path / "c.png").write_bytes(data)
        with pytest.raises(Skip, match=r"too large: \d+ x \d+ pixels, more than 200 million"):
            read_image(tmp_path / "c.png")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("how", ["zeroed", "random"])
def test_damaged_jpegs(how: str, progressive: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    file = BytesIO()
    Image.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(file, "JPEG", progressive=progressive)
    data = bytearray(file.getvalue())
    (tmp_path / "a.jpg").write_bytes(data)
    assert seen(tmp_path / "a.jpg").shape == (200, 200, 3)
    data[len(data) // 2 : len(data) // 2 + 1000] = bytes(1000) if how == "zeroed" else rng.bytes(1000)
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(Skip, match=r"^damaged: "):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("progressive", [False, True])
def test_blank_pages_are_not_damaged(progressive: bool, tmp_path: Path) -> None:
    # With tables of their own, blank blocks are zero bits: long runs of zero bytes.
    Image.new("RGB", (1600, 1200), "white").save(tmp_path / "a.jpg", optimize=True, progressive=progressive)
    assert (seen(tmp_path / "a.jpg") == 255).all()


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp"])
@pytest.mark.parametrize("share", [0, 0.0003, 0.01, 0.3, 0.95])
def test_every_complaint_is_one_line_in_our_words(suffix: str, share: float, tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8))
    path = tmp_path / f"a.{suffix}"
    noise.save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(Skip, match=r"^(empty|damaged|cut short): [^\n\[\]<>]{5,100}$"):
        read_image(path)
