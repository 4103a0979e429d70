"""Spectra and components in closed form."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from latentbench.results.report.latents import latents, principal_components, spectrum
from latentbench.results.rows import rows


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    values = np.random.default_rng(0).standard_normal((6, 5, 7, 3)) * np.array([3, 1, 2, 0.5, 0.1])[:, None, None]
    flat = np.moveaxis(values, 1, -1).reshape(-1, 5)
    singular = np.linalg.svd(flat - flat.mean(0), compute_uv=False) ** 2
    shares, components = principal_components(values)
    assert np.allclose(shares, singular / singular.sum())
    assert np.allclose(components.T @ components, np.eye(5))


def test_a_wave_has_its_power_at_its_frequency() -> None:
    x = np.arange(32)
    slow, fast = np.cos(2 * np.pi * 2 * x / 32), np.cos(2 * np.pi * 15 * x / 32)
    assert spectrum(slow[None, None]).argmax() == 1
    assert spectrum(fast[None, None]).argmax() == 14
    plane = np.broadcast_to(slow, (1, 1, 32, 32))
    assert spectrum(np.ascontiguousarray(plane)).argmax() == 1


def test_white_noise_has_power_as_each_band_has_frequencies() -> None:
    noise = np.random.default_rng(1).standard_normal((200, 1, 64))
    assert np.allclose(spectrum(noise)[:-1], 2 / 63, rtol=0.25)


def test_every_modality_has_a_map_of_its_grid(folder: Path) -> None:
    saved: dict[str, bytes] = {}

    def save(ending: str, content: bytes) -> str:
        saved[str(len(saved))] = content
        return str(len(saved) - 1)

    shapes = {"image": (4, 1, 4, 4), "waveform": (4, 1, 1, 8), "video": (4, 2, 4, 4)}
    for modality, shape in shapes.items():
        row = next(row for row in rows([folder]) if row["modality"] == modality and row["status"] == "finished")
        found = latents(row, save)
        maps = found["maps"]
        assert (maps["count"], maps["frames"], maps["height"], maps["width"]) == shape
        picture = np.asarray(Image.open(io.BytesIO(saved[maps["sheet"]])))
        assert picture.shape == (shape[0] * shape[2], shape[1] * shape[3], 3)
        assert picture.std() > 10
        assert abs(sum(found["variances"]) - 1) < 1e-3
        assert abs(sum(found["codes"]["shares"]) - 1) < 1e-3


def test_latents_that_were_not_copied_along_are_left_out(folder: Path) -> None:
    row = next(row for row in rows([folder]) if row["status"] != "finished")
    assert latents(row, lambda ending, content: "") == {}
