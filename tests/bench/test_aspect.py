"""Pictures that are no squares and clips of 4k + 1 frames: from data to generation, with everything in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.runner import run_suite
from latentbench.results.rows import rows

BUDGET = {"steps": 2, "batch_size": 8}
SMALL: dict[str, Any] = {
    "maskgit": {"width": 16, "layers": 1, "attention_heads": 2},
    "mar": {"width": 16, "layers": 1, "attention_heads": 2, "head_layers": 1, "head_steps": 2, "iterations": 3},
    "pixelcnn": {"width": 8, "layers": 1},
    "unet": {"width": 8, "attention_heads": 2, "steps": 2},
}
EVERYTHING: dict[str, Any] = {
    "tasks": ["reconstruction", "generation", "modelability", "closed_form", "probes"],
    "modelability": {},
    "probes": {"names": ["corrupted_input", "equivariance", "high_frequency", "larger_signals", "permutation"]},
}


# Of a tokenizer whose kind of latents another one has: what a prior reads, and makes of it.
FEW: dict[str, Any] = {"tasks": ["reconstruction", "generation"]}


@pytest.fixture
def run(mini: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that runs the small suite on other data and tokenizers, and gives its rows by label."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))

    def run(data: dict[str, Any], tokenizers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        prior = {**mini["prior"], **SMALL, "training": BUDGET}
        suite = {**mini, "data": {"samples": 32, "val": 32, **data}, "training": BUDGET, "prior": prior, **more}
        outcome = run_suite({**suite, "tokenizers": tokenizers}, out=tmp_path / "out", engine="inline", devices="cpu")
        table = {row["label"]: row for row in rows([outcome.root])}
        assert {row["status"] for row in table.values()} == {"finished"}
        return table

    return run


def test_pictures_of_24_by_40(run: Any) -> None:
    recipes = [
        {"recipe": "kl-vae", "downsample": 4, "channels": 4, "width": 8},
        {"recipe": "vq-vae", "downsample": [4, 8], "codebook_size": 16, "width": 8},
    ]
    table = run({"modality": "image", "size": [24, 40]}, recipes)
    kl, vq = table["kl-vae"], table["vq-vae"]
    assert (kl["tsr"], vq["bits_per_sample"]) == (pytest.approx(24 * 40 * 3 / (4 * 6 * 10)), 6 * 5 * 4)
    for row in (kl, vq):
        assert row["psnr"] > 0
        assert row["gfd_encoder_supervised"] > 0


@pytest.mark.slow
def test_clips_of_17_frames_have_5_latent_frames(run: Any) -> None:
    causal = {"backbone": {"kind": "conv", "causal": True, "width": 8}, "downsample": [4, 4, 4]}
    recipes = [{"recipe": "kl-vae", "channels": 4, **causal}, {"recipe": "vq-vae", "codebook_size": 16, **causal}]
    table = run({"modality": "video", "size": [16, 24], "frames": 17}, recipes)
    kl, vq = table["kl-vae"], table["vq-vae"]
    assert (kl["tsr"], vq["bits_per_sample"]) == (pytest.approx(17 * 16 * 24 * 3 / (4 * 5 * 4 * 6)), 5 * 4 * 6 * 4)
    for row in (kl, vq):
        assert row["psnr"] > 0
        assert row["gfd_encoder_supervised"] > 0


@pytest.mark.slow
def test_every_task_and_prior_takes_what_is_no_square(run: Any) -> None:
    small = {"downsample": 8, "width": 8}
    recipes = [
        {"recipe": "titok", "width": 16, "codebook_size": 16, "prior": "maskgit", "label": "tokens"},
        {"recipe": "kl-vae", "channels": 2, **small, "prior": "unet", "label": "unet"},
        {"recipe": "kl-vae", "channels": 2, **small, "prior": "mar", "label": "mar"},
        {"recipe": "vq-vae", "codebook_size": 16, **small, "prior": "pixelcnn", "label": "pixelcnn", **FEW},
        {"recipe": "adaptive-resolution", "width": 8, "codebook_size": 16, "label": "adaptive", **FEW},
    ]
    table = run({"modality": "image", "size": [24, 40]}, recipes, **EVERYTHING)
    assert all(row["psnr"] > 0 for row in table.values())
    assert table["unet"]["larger_gain"] is not None


@pytest.mark.slow
def test_every_task_takes_clips_of_9_frames(run: Any) -> None:
    """But the one that makes signals twice as long: 18 frames are none of 4k + 1."""
    causal = {"backbone": {"kind": "conv", "causal": True, "width": 8}, "downsample": [4, 4, 4]}
    recipes = [{"recipe": "kl-vae", "channels": 4, **causal}]
    table = run({"modality": "video", "size": 16, "frames": 9}, recipes, **EVERYTHING)
    assert table["kl-vae"]["psnr"] > 0
    assert "larger_gain" not in table["kl-vae"].metrics
