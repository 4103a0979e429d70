"""A run of a tokenizer and its scrambles: one training, the same reconstructions, other latents for all that follow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.bench.runner import run_suite
from latentbench.results.rows import rows
from latentbench.results.store import Store

SCRAMBLES = ["none", "positions", "position_mix", "signs"]

SUITE: dict[str, Any] = {
    "name": "controls",
    "data": {"name": "shapes", "modality": "image", "size": 8, "samples": 64, "val": 32},
    "tokenizers": {"recipe": "kl-vae", "downsample": 4, "channels": 4, "width": 8, "grid": {"scramble": SCRAMBLES}},
    "features": ["encoder"],
    "training": {"steps": 30, "batch_size": 8},
    "encoder": {"width": 8, "training": {"steps": 5, "batch_size": 8}},
    "prior": {
        "training": {"steps": 5, "batch_size": 8},
        "flow": {"width": 16, "layers": 1, "attention_heads": 2, "steps": 2},
    },
    "generation": {"samples": 32},
}


@pytest.mark.slow
def test_reconstructions_are_the_same_to_the_bit_and_generation_is_not(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    out = tmp_path / "out"
    assert run_suite(SUITE, out=out, engine="inline", devices="cpu").failed == 0
    plain, *scrambled = table = rows([out])
    assert [row["scramble"] for row in table] == SCRAMBLES
    reconstructed = {
        name: metric
        for name, metric in plain.metrics.items()
        if metric.role in ("distortion", "distribution") and not name.startswith(("g", "fd_floor"))
    }
    assert {"psnr", "ssim", "rfd_encoder_supervised", "rkd_encoder_supervised"} <= reconstructed.keys()
    for row in scrambled:
        assert {name: row.metrics[name] for name in reconstructed} == reconstructed
        assert row["parameters"] == plain["parameters"]
    assert len({row["gfd_encoder_supervised"] for row in table}) == len(SCRAMBLES)
    kinds = [record.kind for record in Store(out).iterate()]
    assert kinds.count("tokenizer") == 1
    assert kinds.count("scramble") == len(SCRAMBLES) - 1
    capsys.readouterr()
    assert cli.main(["calibrate", str(out), "--outcome", "gfd_encoder_supervised", "--format", "json"]) == 0
    assert "local_correlation" in json.dumps(json.loads(capsys.readouterr().out))
