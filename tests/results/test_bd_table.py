"""`latentbench bd-rate` on runs written by hand: curves, anchor, intervals, and a reason where there is no number."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from latentbench.bench.cli import main
from latentbench.results.bd_table import bd_rate_text
from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
from latentbench.results.samples import VALUES
from latentbench.results.store import Store

Add = Callable[..., dict[str, Any]]


@pytest.fixture
def runs(tmp_path: Path, add: Add) -> Path:
    """Curves of four points with values by sample: "new" takes 20 % fewer bits than "old", and "bad" gets worse where
    it takes more."""
    rng = np.random.default_rng(0)
    hard = rng.normal(size=64)
    store, cells = Store(tmp_path / "out"), []
    for label, saving, slope in (("old", 1.0, 2.0), ("new", 0.8, 2.0), ("bad", 1.0, -2.0)):
        for step in range(4):
            values = {
                "real_bits_per_pixel": saving * 2.0**step * np.exp(0.3 * hard + 0.05 * rng.normal(size=64)),
                "psnr": 24 + slope * step - 2 * hard + 0.3 * rng.normal(size=64),
            }
            places: dict[str, Any] = {"psnr": {"direction": "higher", "unit": "dB", "role": "distortion"}}
            places["real_bits_per_pixel"] = {"direction": "lower", "role": "rate", "shown": "first", "protocol": label}
            metrics = [Metric.from_samples(name, x.tolist(), **places[name]) for name, x in values.items()]
            name = f"{label}-{step}"
            cells.append(add(store, name, metrics=metrics, label=label, axes={"codec.quality": step}))
            folder = store.job_folder("reconstruction", f"{name}-0")
            save_file({key: x.astype(np.float32) for key, x in values.items()}, folder / VALUES)
            record = store.read("reconstruction", f"{name}-0")
            store.save(replace(record, artifacts={VALUES: (folder / VALUES).stat().st_size}))
    cells.append(add(store, "none-0", metrics=[metrics[1]], label="none"))
    store.write_suite("demo", cells)
    return store.root


def test_curves_are_compared_with_the_first(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new, bad = json.loads(bd_rate_text([runs], format="json"))
    assert (new["anchor"], new["curve"], new["points"], new["metric"]) == ("old", "new", 4, "psnr")
    assert new["interval"][0] < -20 < new["interval"][1]
    assert new["interval"][1] - new["interval"][0] < 6
    assert new["overlap"] > 0.95
    assert bad["bd_rate"] is None
    assert bad["reason"].startswith("bad does not get better with every bit: 2")
    assert main(["bd-rate", str(runs)]) == 0
    text = capsys.readouterr().out
    assert "BD-rate against old [%]" in text.replace("\\", "")
    line = next(line for line in text.splitlines() if line.startswith(("|   new", "| new")))
    low, high = (f"{x:.1f}" for x in new["interval"])
    assert f"{new['bd_rate']:.1f} | {low} to {high}" in " ".join(line.split())
    assert "No BD-rate: bad does not get better with every bit" in text


def test_the_anchor_turned_round_and_curves_by_other_columns(runs: Path) -> None:
    old = json.loads(bd_rate_text([runs], anchor="new", where="label!=bad", format="json"))
    (there,) = json.loads(bd_rate_text([runs], where="label!=bad", format="json"))
    assert [line["curve"] for line in old] == ["old"]
    assert (1 + old[0]["bd_rate"] / 100) * (1 + there["bd_rate"] / 100) == pytest.approx(1)
    by_recipe = json.loads(bd_rate_text([runs], group="recipe,label", where="label!=bad", format="json"))
    assert by_recipe[0]["curve"] == "kl-vae, new"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "pnsr"}, "--metric: unknown metric 'pnsr'; did you mean 'psnr'?"),
        ({"metric": "real_bits_per_pixel"}, "--metric real_bits_per_pixel: it is a rate; name a quality, as in psnr"),
        ({"rate": "bits_per_sample"}, "--rate: unknown metric 'bits_per_sample'"),
        ({"group": "lable"}, "--group: unknown column 'lable'; did you mean 'label'?"),
        ({"anchor": "odl"}, "--anchor: unknown curve 'odl'; did you mean 'old'?"),
        ({"format": "html"}, "unknown format 'html'"),
        ({"where": "label=old"}, "there are no two curves with a rate and a quality to compare"),
        ({"anchor": "none"}, "there are no two curves with a rate and a quality to compare"),
    ],
)
def test_mistakes_are_one_line(runs: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        bd_rate_text([runs], **options)
    assert str(caught.value).startswith(message)
