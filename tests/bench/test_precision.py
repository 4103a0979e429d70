"""`evaluation.precision`: in the keys of what evaluates, in protocols, and never two in a column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.plan import make_plan
from latentbench.bench.presets import applied, load_preset
from latentbench.bench.runner import run_suite
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.results.leaderboard import leaderboard
from latentbench.results.rows import rows

EVALUATING = {"closed_form", "generation", "latents", "modelability", "prior", "probes", "reconstruction", "reference"}


def _keys(suite: dict[str, Any]) -> dict[str, set[str]]:
    checked = load_suite(suite)
    kinds: dict[str, set[str]] = {}
    for job in make_plan(checked, {data.label: "f" for data in checked.data}).jobs.values():
        kinds.setdefault(job.kind, set()).add(job.key)
    return kinds


def test_it_moves_the_keys_of_what_evaluates_alone_and_none_at_float32(mini: dict[str, Any]) -> None:
    mini["tasks"] = ["reconstruction", "generation", "modelability", "closed_form", "probes"]
    plain = _keys(mini)
    assert _keys(mini | {"evaluation": {"precision": "float32"}}) == plain
    lower = _keys(mini | {"evaluation": {"precision": "bfloat16"}})
    assert {kind for kind in plain if not plain[kind] & lower[kind]} == EVALUATING
    assert {kind for kind in plain if plain[kind] == lower[kind]} == {"data", "encoder", "tokenizer"}


def test_latents_of_half_the_size_move_the_keys_of_what_reads_them_alone(mini: dict[str, Any]) -> None:
    mini["tasks"] = ["reconstruction", "generation", "modelability", "closed_form", "probes"]
    plain = _keys(mini)
    assert _keys(mini | {"evaluation": {"latents": "float32"}}) == plain
    half = _keys(mini | {"evaluation": {"latents": "float16"}})
    reading = {"closed_form", "generation", "latents", "modelability", "prior", "probes"}
    assert {kind for kind in plain if not plain[kind] & half[kind]} == reading
    assert {kind for kind in plain if plain[kind] == half[kind]} == set(plain) - reading


def test_what_is_no_precision_is_refused(mini: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"evaluation.*precision.*float32"):
        load_suite(mini | {"evaluation": {"precision": "float16"}})


def test_a_preset_pins_it(tmp_path: Path) -> None:
    text = 'description = "d"\ncount = 6\nrounding = "uint8"\n%s[data]\nsize = 16\n'
    (tmp_path / "a.toml").write_text(text % "")
    (tmp_path / "b.toml").write_text(text % 'precision = "bfloat16"\n')
    plain, lower = (load_preset(str(tmp_path / name)) for name in ("a.toml", "b.toml"))
    assert applied({}, plain, "s")["evaluation"] == {"precision": "float32"}
    assert applied({}, lower, "s")["evaluation"] == {"precision": "bfloat16"}
    with pytest.raises(UserError, match="pins 'float32', got 'bfloat16'"):
        applied({"evaluation": {"precision": "bfloat16"}}, plain, "s")


@pytest.mark.slow
def test_two_precisions_share_no_column(mini: dict[str, Any], tmp_path: Path) -> None:
    """One trained tokenizer in two precisions: the numbers differ by rounding, and may not be mixed."""
    mini |= {"tokenizers": [{"recipe": "kl-vae", "downsample": 4, "tsr": 12, "width": 8}], "features": ["scattering"]}
    mini |= {"training": {"steps": 2, "batch_size": 8}, "tasks": ["reconstruction", "modelability"]}
    low = mini | {"tokenizers": [mini["tokenizers"][0] | {"label": "low"}], "evaluation": {"precision": "bfloat16"}}
    run_suite(mini, out=tmp_path / "plain", devices="cpu", engine="inline")
    run_suite(low, out=tmp_path / "low", devices="cpu", engine="inline")
    (plain,), (low,) = rows([tmp_path / "plain"]), rows([tmp_path / "low"])
    assert plain.jobs["tokenizer"] == low.jobs["tokenizer"]
    for name, metric in low.metrics.items():
        assert metric.protocol.endswith("evaluated in bfloat16")
        assert "evaluated" not in plain.metrics[name].protocol
    assert 0 < abs(low["psnr"] - plain["psnr"]) < 0.1
    assert low["rfd_scattering"] != plain["rfd_scattering"]
    with pytest.raises(UserError, match="protocol"):
        leaderboard([tmp_path / "plain", tmp_path / "low"], columns=["psnr"])
