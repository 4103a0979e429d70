"""The task "closed_form": priors without training against data that they describe exactly, and badly."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latentbench.results.record import JobResult
from latentbench.tasks.closed_form import measure
from latentbench.tasks.closed_forms import closed_forms
from latentbench.tasks.config import ClosedFormTaskConfig
from latentbench.tasks.distances import Reference
from latentbench.tasks.encoding import write_latents, write_statistics
from latentbench.tasks.latents import LatentStore

CPU = torch.device("cpu")


def measured(toys: SimpleNamespace, folder: Path, tokenizer: Any, data: Any, **options: Any) -> JobResult:
    for name in ("train", "val"):
        write_latents(tokenizer, getattr(data, name), folder, name, device=CPU, batch_size=64)
    write_statistics(folder)
    net = toys.Pixels()
    names = tuple(closed_forms.names())
    config = ClosedFormTaskConfig(**{"priors": names, "samples": 500, "batch_size": 100} | options)
    return measure(
        tokenizer,
        LatentStore.open(folder, tokenizer.spec),
        config,
        toys.context(folder, net),
        references={"pixels": Reference.of(net(data.val.data), "val")},
    )


def test_the_better_prior_is_nearer(toys: SimpleNamespace, tmp_path: Path) -> None:
    data = toys.Data(train=600, val=600)
    for split in (data.train, data.val):  # every sample of one grey, so that places depend on each other
        split.data = split.data.mean((1, 2, 3), keepdim=True).expand(-1, 3, 16, 16) * 20
    result = measured(toys, tmp_path, toys.Identity(), data)
    values = {metric.name: metric.value for metric in result.metrics}
    assert set(values) == {
        f"cfd_{name}_pixels"
        for name in (
            "autoregression",
            "gaussian",
            "independent",
            "interpolation",
            "kronecker",
            "patch_mixture",
            "stationary",
        )
    }
    # White pixels have 1/64 of the variance in the means of quarters: a distance of most of the variance.
    variance = float(data.val.data[:, 0, 0, 0].var())
    assert values["cfd_independent_pixels"] > 5 * variance
    assert values["cfd_gaussian_pixels"] < 0.1 * variance
    assert values["cfd_kronecker_pixels"] < 0.1 * variance
    (metric,) = (metric for metric in result.metrics if metric.name == "cfd_gaussian_pixels")
    assert (metric.role, metric.direction, metric.scope, metric.n) == ("modelability", "lower", "table", 500)
    assert metric.interval is not None
    assert set(result.extra["skipped"]) == {"markov", "order_0"}
    assert set(result.run["proxy_seconds"]) == {name.removeprefix("cfd_").removesuffix("_pixels") for name in values}


def test_codes_have_their_own(toys: SimpleNamespace, tmp_path: Path) -> None:
    result = measured(toys, tmp_path, toys.Levels(), toys.Data(train=100, val=100), samples=50)
    assert [metric.name for metric in result.metrics] == ["cfd_markov_pixels", "cfd_order_0_pixels"]
    assert all(metric.value is not None for metric in result.metrics)


def test_a_slow_pass_is_not_taken_for_that_of_the_next_prior(
    toys: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = measured(toys, tmp_path / "quick", toys.Levels(), toys.Data(), samples=50)
    monkeypatch.setattr("latentbench.tasks.chunks.SECONDS", 0.0)
    slow = measured(toys, tmp_path / "slow", toys.Levels(), toys.Data(), samples=50)
    assert slow.metrics == quick.metrics
    assert slow.metrics[0].value != slow.metrics[1].value


def test_one_that_was_ended_draws_nothing_again(
    toys: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentbench.tasks.chunks.SECONDS", 0.0)
    first = measured(toys, tmp_path, toys.Levels(), toys.Data(), samples=50)

    class Untouched(toys.Levels):
        def decode(self, latents: Any) -> Any:
            raise AssertionError("it has all samples")

    again = measured(toys, tmp_path, Untouched(), toys.Data(), samples=50)
    assert len(again.metrics) == 2
    assert again.metrics == first.metrics


def test_it_repeats_and_reads_what_it_is_told(toys: SimpleNamespace, tmp_path: Path) -> None:
    options = {"priors": ("gaussian",), "samples": 40}
    values = []
    for place, fitted in (("a", 0), ("b", 0), ("c", 30)):
        tokenizer = toys.Identity(std=0.5)  # with a posterior, whose samples are drawn anew each time
        result = measured(toys, tmp_path / place, tokenizer, toys.Data(), fitted=fitted, **options)
        values.append(result.metrics[0].value)
    assert values[0] == values[1]
    assert values[0] != values[2]


def test_what_does_not_apply_has_a_reason(toys: SimpleNamespace, tmp_path: Path) -> None:
    result = measured(toys, tmp_path, toys.Levels(), toys.Data(), priors=("gaussian",))
    assert result.metrics == ()
    assert "describes values" in result.extra["skipped"]["gaussian"]


def test_the_page_names_every_prior_and_its_example_works(toys: SimpleNamespace, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "closed_forms.md").read_text()
    assert [name for name in closed_forms.names() if f"| `{name}` |" not in page] == []
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code, "docs/closed_forms.md", "exec", dont_inherit=True), {"__name__": "example"})
    result = measured(toys, tmp_path, toys.Identity(), toys.Data(), priors=("white",))
    # Signals are white: it describes them as well as anything can.
    assert result.metrics[0].name == "cfd_white_pixels"
    assert 0 < result.metrics[0].value < 0.02
