"""The registry of probes and the task."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latentbench.results.errors import UserError
from latentbench.tasks.config import ProbesConfig
from latentbench.tasks.probes import default_probes, probes
from latentbench.tasks.probing import probe

PAGE = Path(__file__).parents[3] / "docs" / "systems.md"


def test_what_makes_no_sense_is_named_with_its_reason(toys: SimpleNamespace, probed: Any) -> None:
    result = probe(probed(toys.Levels()), ProbesConfig())
    assert result.extra["refused"].keys() == {"normal_samples", "latent_noise", "permutation", "gradient_isolation"}
    assert all(result.extra["refused"].values())
    assert set(default_probes()) - set(result.extra["refused"]) == set(result.run["probe_seconds"])
    names = [metric.name for metric in result.metrics]
    assert len(names) == len(set(names))
    assert all(m.protocol for m in result.metrics)


def test_names_choose_and_samples_limit(toys: SimpleNamespace, probed: Any) -> None:
    result = probe(probed(toys.Identity(), samples=9), ProbesConfig(names=("losses",)))
    assert {metric.n for metric in result.metrics} == {9}
    with pytest.raises(UserError, match="unknown probe 'loses'; did you mean 'losses'"):
        probe(probed(toys.Identity()), ProbesConfig(names=("loses",)))


def test_listing_probes_takes_no_torch() -> None:
    code = "import sys; from latentbench.tasks.probes import probes; probes.names(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_the_example_on_the_page(toys: SimpleNamespace, probed: Any) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.splitlines()) < 40
    exec(compile(code, PAGE.name, "exec", dont_inherit=True), {"__name__": "example"})
    result = probe(probed(toys.Identity(error=0.1)), ProbesConfig(names=("cycle",)))
    (metric,) = result.metrics
    data = toys.Data().val.data
    expected = (((data + 0.1).clamp(-1, 1) - data).flatten(1).norm(dim=1) / data.flatten(1).norm(dim=1)).mean()
    assert metric.value == pytest.approx(float(expected), rel=1e-5)


def test_the_page_has_every_probe_and_metric(toys: SimpleNamespace, probed: Any) -> None:
    page = PAGE.read_text(encoding="utf-8")  # docs/systems.md
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == probes.names()
    for metric in probe(probed(toys.Identity()), ProbesConfig()).metrics:
        general = re.sub(r"^loss_.*", "loss_<term>", metric.name)
        general = re.sub(r"^(equivariance_error)_.*", r"\1_<τ>", general)
        general = re.sub(r"^psnr_noise_(20|50)$", r"_\1", general)
        assert f"`{general}`" in page, metric.name
