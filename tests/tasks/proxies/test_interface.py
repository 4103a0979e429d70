from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
from latentbench.tasks.proxies import proxies
from latentbench.tasks.proxies.interface import ProxyInput, compute

OURS = [
    "channel_correlation",
    "code_bpe",
    "code_compression",
    "code_entropies",
    "code_mixing",
    "code_range",
    "codes",
    "correlation_decay",
    "effective_rank",
    "high_frequency_share",
    "local_correlation",
    "intrinsic_dimension",
    "label_consistency",
    "label_information",
    "mixture_likelihood",
    "moments",
    "nonlinear_predictability",
    "predictability",
    "self_similarity",
    "spectral_shape",
    "uniformity",
    "viv",
    "viv_full",
]
DEGENERATE = {
    "one sample": torch.randn(1, 3, 4, 4),
    "two samples": torch.randn(2, 3, 4, 4),
    "two samples of one position": torch.randn(2, 1, 1),
    "one position": torch.randn(20, 3, 1, 1),
    "one channel": torch.randn(20, 1, 4),
    "one sample alone varies": torch.cat([torch.ones(1, 1, 4, 4), torch.zeros(39, 1, 4, 4)]),
    "all constant": torch.full((20, 3, 4, 4), 1.7),
    "all zero": torch.zeros(20, 3, 2, 2, 2),
    "none": torch.zeros(0, 3, 4, 4),
    "not a number": torch.full((20, 3, 4), math.nan),
}


def measured(name: str, latents: ProxyInput) -> tuple[Metric, ...]:
    metrics: tuple[Metric, ...] = compute(name, latents)
    return metrics


@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("name", OURS)
def test_degenerate_latents_give_finite_numbers_or_none(name: str, case: str) -> None:
    values = DEGENERATE[case]
    codes = torch.zeros(len(values), 1, *values.shape[2:], dtype=torch.int64)
    for metric in measured(name, ProxyInput.of(values, codes=codes, codebook_sizes=(4,))):
        if metric.value is None:
            assert metric.missing == len(values) or name == "codes"
            assert metric.se is None
            assert metric.interval is None
        else:
            assert math.isfinite(metric.value)
            assert metric.se is None or math.isfinite(metric.se)


@pytest.mark.parametrize("name", OURS)
def test_samples_that_are_not_finite_are_left_out_and_counted(name: str) -> None:
    z = torch.randn(250, 3, 4, 4)
    broken = z.clone()
    broken[[3, 7], 1, 2, 2] = math.inf
    mean, std = z.double().mean((0, 2, 3)), z.double().std((0, 2, 3))
    mask = torch.ones(250, dtype=torch.bool)
    mask[[3, 7]] = False
    labels = torch.arange(250) % 2
    got = measured(name, ProxyInput(values=broken, mean=mean, std=std, labels=labels))
    expected = measured(name, ProxyInput(values=z[mask], mean=mean, std=std, labels=labels[mask]))
    for a, b in zip(got, expected, strict=True):
        assert a.value == pytest.approx(b.value)
        assert (a.n, a.missing) == (248, 2)


@pytest.mark.parametrize("name", [name for name in OURS if name != "moments"])
def test_scale_and_offset_of_channels_do_not_matter(name: str) -> None:
    z = torch.randn(260, 3, 4, 4)
    z[:, 1] += z[:, 0]
    moved = z * torch.tensor([0.1, 4.0, 30.0]).view(3, 1, 1) + torch.tensor([2.0, -1.0, 7.0]).view(3, 1, 1)
    for a, b in zip(measured(name, ProxyInput.of(z)), measured(name, ProxyInput.of(moved)), strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-4, abs=1e-5)


def test_every_proxy_is_registered_with_a_version_and_named_once() -> None:
    assert set(OURS) <= set(proxies.names())
    latents = ProxyInput.of(torch.randn(30, 3, 4), codes=torch.zeros(30, 1, 4, dtype=torch.int64), codebook_sizes=(4,))
    names = [metric.name for name in OURS for metric in measured(name, latents)]
    assert len(names) == len(set(names))
    assert all(proxies.get(name).version >= 1 for name in OURS)


def test_unknown_names_suggest_their_neighbour() -> None:
    with pytest.raises(UserError, match="did you mean 'viv'"):
        compute("vivi", ProxyInput.of(torch.randn(3, 3, 4)))


def test_bad_input_is_refused() -> None:
    z = torch.randn(4, 3, 2, 2)
    with pytest.raises(UserError, match="1 to 3 axes"):
        ProxyInput.of(torch.randn(4, 3))
    with pytest.raises(UserError, match=r"mean must be \[3\]"):
        ProxyInput(values=z, mean=torch.zeros(2), std=torch.ones(3))
    with pytest.raises(UserError, match="4 samples but 5 labels"):
        ProxyInput.of(z, labels=torch.zeros(5, dtype=torch.int64))
    with pytest.raises(UserError, match="2 heads"):
        ProxyInput.of(z, codes=torch.zeros(4, 2, 2, 2, dtype=torch.int64), codebook_sizes=(8,))


def test_the_documented_proxy_works() -> None:
    page = (Path(__file__).parents[3] / "docs" / "proxies.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[-1]
    assert len(code.splitlines()) < 40
    exec(compile(code, "docs/proxies.md", "exec"), {"__name__": "docs_proxies"})
