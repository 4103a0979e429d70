"""Attention in two factors: equal to a dense mask, causal to the bit, blind to nothing before, counted exactly."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.bench.flops import counter
from latentbench.results.errors import UserError
from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import resolve_prior
from latentbench.tasks.priors.interface import Prior
from latentbench.tasks.priors.space_time import ClipAttention, FrameAttention, TimeAttention
from latentbench.tasks.priors.transformer import Transformer
from latentbench.tokenizers.backbones.attention import Attention, rotary_angles
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

CLIP = (4, 2, 3)
SIGNAL = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(4, 8, 12), rate=8)
SMALL = {"width": 16, "layers": 2, "attention_heads": 2, "attention": "factorised"}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("ar", {}),
    ("ar", {"order": "delay"}),
    ("ar", {"positions": "rotary"}),
    ("maskgit", {}),
    ("flow", {"steps": 2}),
    ("flow", {"steps": 2, "patch": [1, 2, 2]}),
    ("givt", {"mixtures": 2}),
    ("mar", {"head_steps": 2, "iterations": 3}),
    ("mar", {"head_steps": 2, "order": "raster"}),
]


def clips(discrete: bool, shape: tuple[int, ...] = CLIP) -> LatentSpec:
    grid = LatentGrid(shape=shape, channels=3, codebook_sizes=(5, 4) if discrete else ())
    return LatentSpec(signal=SIGNAL, grids=(grid,))


def make(name: str, shape: tuple[int, ...] = CLIP, **options: Any) -> Prior:
    """A small prior whose weights are random where they start at zero."""
    spec = clips(name in ("ar", "maskgit"), shape)
    prior = build_prior(resolve_prior(name, SMALL | options, spec, where="s"), spec)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return prior.eval()


def batch_for(prior: Prior, size: int = 2) -> LatentBatch:
    grid = prior.spec.grid
    codes = [torch.randint(k, (size, *grid.shape)) for k in grid.codebook_sizes]
    if codes:
        return LatentBatch(latents=Latents(codes=torch.stack(codes, 1)))
    return LatentBatch(latents=Latents(values=torch.randn(size, grid.channels, *grid.shape)))


def allowed(kind: type[ClipAttention], count: int, frame: int, *, causal: bool) -> Tensor:
    """Which of `count` positions (columns) each reads (rows), written out pair by pair."""
    rows = []
    for i in range(count):
        if kind is TimeAttention:
            rows.append([i % frame == j % frame and (j <= i or not causal) for j in range(count)])
        elif causal:
            rows.append([i - frame < j <= i for j in range(count)])
        else:
            rows.append([i // frame == j // frame for j in range(count)])
    return torch.tensor(rows)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", [FrameAttention, TimeAttention])
def test_it_is_full_attention_under_a_mask(kind: type[ClipAttention], causal: bool) -> None:
    factor = kind(16, 2, frame=4, causal=causal).eval()
    dense = Attention(16, 2)
    dense.load_state_dict(factor.state_dict())
    for count in (12, 4, 9, 3, 1) if causal else (12, 4):
        x = torch.randn(3, count, 16)
        query, key, value = (p.unflatten(-1, (2, 8)).transpose(1, 2) for p in factor.qkv(x).chunk(3, dim=-1))
        scores = query @ key.transpose(-1, -2) / 8**0.5
        scores = scores.masked_fill(~allowed(kind, count, 4, causal=causal), -torch.inf)
        expected = factor.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
        torch.testing.assert_close(factor(x), expected, atol=1e-5, rtol=1e-4)
        if count > 4:
            assert not torch.allclose(dense(x), expected, atol=1e-3)
    if not causal:
        with pytest.raises(ValueError, match="9 positions are no whole frames of 4"):
            factor(torch.randn(1, 9, 16))


@pytest.mark.parametrize("start", [1, 3, 6])
def test_cached_steps_equal_the_whole(start: int) -> None:
    net = Transformer(16, 3, 2, causal=True, frame=4).eval()
    cos, sin = rotary_angles((3, 2, 2), 8)
    x = torch.randn(2, 11, 16)
    whole = net(x, rotary=(cos[:11], sin[:11]))
    cache = net.cache(2, 12)
    cuts = [0, *range(start, 12)]
    pieces = [net(x[:, a:b], rotary=(cos[a:b], sin[a:b]), cache=cache) for a, b in itertools.pairwise(cuts)]
    torch.testing.assert_close(torch.cat(pieces, 1), whole)


@pytest.mark.parametrize("options", [{}, {"order": "delay"}, {"positions": "rotary"}])
def test_the_past_ignores_the_future_and_sees_all_before_it(options: dict[str, Any]) -> None:
    """Changing a code of one position moves no summary before or at it, to the bit, and every one after it."""
    prior = make("ar", **options)
    codes = batch_for(prior, 1).latents.codes.flatten(2).transpose(1, 2)
    count = codes.shape[1]
    with torch.no_grad():
        before = prior.hidden(codes[:, :-1])
        for place in range(count - 1):
            changed = codes.clone()
            changed[:, place] = (changed[:, place] + 1) % 4
            moved = (prior.hidden(changed[:, :-1]) - before).abs().amax(-1)[0]
            assert (moved[: place + 1] == 0).all()
            assert (moved[place + 1 :] > 0).all()


def test_every_position_reaches_every_other_where_all_are_seen() -> None:
    net = Transformer(16, 2, 2, causal=False, frame=6).eval()
    x = torch.randn(1, 24, 16, requires_grad=True)
    for place in (0, 8, 23):
        (gradient,) = torch.autograd.grad(net(x)[0, place].square().sum(), x)
        assert (gradient[0].abs().amax(-1) > 0).all()


def test_probabilities_of_all_clips_sum_to_one() -> None:
    spec = LatentSpec(signal=SIGNAL, grids=(LatentGrid(shape=(3, 2, 1), channels=1, codebook_sizes=(3,)),))
    prior = build_prior(resolve_prior("ar", SMALL, spec, where="s"), spec)
    codes = torch.tensor(list(itertools.product(range(3), repeat=6))).view(-1, 1, 3, 2, 1)
    bits = prior.held_out(LatentBatch(latents=Latents(codes=codes)))["nll_bits"]
    assert torch.exp2(-bits).sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_flops_are_those_that_torch_counts(name: str, options: dict[str, Any]) -> None:
    prior = make(name, **options)
    batch = batch_for(prior)
    with counter() as counted:
        prior.losses(batch, group="model", step=0, steps=1)
    total = counted.get_total_flops() / 2
    frame, frames, width = 6, 4 + (options.get("order") == "delay"), 16
    if name in ("ar", "givt") or options.get("order") == "raster":
        # half of what the products do is masked: in the first frame, in the others, and along time
        total -= 2 * width * (frame**2 + 2 * (frames - 1) * frame**2 + frame * frames**2)
    assert total == pytest.approx(prior.config.forward_flops(prior.spec), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "side", "share"), [("ar", 8, 0.66), ("flow", 8, 0.45), ("ar", 16, 0.35), ("flow", 16, 0.19)]
)
def test_long_clips_cost_less_than_with_full_attention(name: str, side: int, share: float) -> None:
    """As docs/priors.md says, of defaults."""
    grid = LatentGrid(shape=(16, side, side), channels=8, codebook_sizes=(1024,) if name == "ar" else ())
    spec = LatentSpec(signal=SIGNAL, grids=(grid,))
    options = {"max_tokens": 4096} if name == "flow" else {}
    full, factorised = (
        resolve_prior(name, {"attention": attention, **options}, spec, where="s").forward_flops(spec)
        for attention in ("full", "factorised")
    )
    assert factorised / full == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_samples_belong_to_seed_and_index(name: str, options: dict[str, Any]) -> None:
    prior = make(name, **options)
    whole = prior.sample(3, seed=3)
    part = prior.sample(1, seed=3, start=2)
    if whole.codes is not None:
        assert (part.codes == whole.codes[2:]).all()
        assert (whole.codes[0] != whole.codes[1]).any()
        return
    torch.testing.assert_close(part.values, whole.values[2:], atol=1e-4, rtol=1e-4)
    assert (whole.values[0] - whole.values[1]).abs().max() > 0.1


def test_cached_sampling_is_the_models_own() -> None:
    prior = make("ar")
    cached, anew = (prior.sample_at(range(3), seed=1, cached=cached).codes for cached in (True, False))
    assert (cached == anew).all()


def test_it_is_refused_in_one_line_without_frames() -> None:
    with pytest.raises(UserError, match=r"^s: prior 'flow' can't .*\"factorised\" over time, .* they have 2") as caught:
        resolve_prior("flow", SMALL, clips(False, (4, 4)), where="s")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="needs at least 2 layers"):
        resolve_prior("ar", SMALL | {"layers": 1}, clips(True), where="s")


@pytest.mark.parametrize("name", ["ar", "flow", "givt", "mar", "maskgit"])
def test_full_attention_stays_out_of_job_keys(name: str) -> None:
    spec = clips(name in ("ar", "maskgit"))
    assert "attention" not in resolve_prior(name, {}, spec, where="s").identity()
    assert resolve_prior(name, SMALL, spec, where="s").identity()["attention"] == "factorised"
