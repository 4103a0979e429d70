"""End to end with a flow: which loss reaches what, and both losses' formulas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.end_to_end import EndToEnd, path
from latentbench.tokenizers.spec import Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
Sample = Callable[..., Tensor]


def end_to_end(x: Tensor, recipe: str = "ae", **options: object) -> tuple[ComposedTokenizer, EndToEnd]:
    config = resolve(recipe, IMAGE, {"width": 16, "channels": 4, "regularisers": {"end_to_end": options}})
    tokenizer = build(config)
    assert isinstance(tokenizer, ComposedTokenizer)
    tokenizer.on_train_start([x])
    part = tokenizer.auxiliary_objectives["end_to_end"]
    assert isinstance(part, EndToEnd)
    torch.nn.init.normal_(part.flow.head.weight, std=0.1)
    return tokenizer, part


def step_losses(tokenizer: ComposedTokenizer, part: EndToEnd, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The part's losses with their graphs, and the latents that they are of."""
    seen: list[Tensor] = []
    terms: dict[str, Tensor] = {}
    inner = part.losses

    def listening(training_step):  # type: ignore[no-untyped-def]
        added = inner(training_step)
        terms.update(added.losses)
        seen.append(training_step.bottleneck_output.values)
        return added

    part.losses = listening  # type: ignore[method-assign]
    torch.manual_seed(3)
    tokenizer.losses(x, group="model", step=0, steps=1)
    return terms, seen[0]


def test_the_flows_own_loss_stops_at_the_latents_and_the_alignment_does_not(sample: Sample) -> None:
    x = sample(IMAGE, 4)
    tokenizer, part = end_to_end(x)
    terms, z = step_losses(tokenizer, part, x)
    (none,) = torch.autograd.grad(terms["flow_in_the_loop"], z, retain_graph=True, allow_unused=True)
    (pull,) = torch.autograd.grad(terms["flow_alignment"], z, retain_graph=True)
    assert none is None
    assert pull.norm().item() > 0
    for name in terms:  # both train the flow
        (gradient,) = torch.autograd.grad(terms[name], part.flow.embed.weight, retain_graph=True)
        assert gradient.norm().item() > 0, name


def test_both_losses_are_those_of_the_formula(sample: Sample) -> None:
    x = sample(IMAGE, 4)
    tokenizer, part = end_to_end(x, weight=0.2, layers=2, depth=1)
    terms, values = step_losses(tokenizer, part, x)
    mean, std = values.mean((0, 2, 3), keepdim=True), values.std((0, 2, 3), correction=0, keepdim=True)
    z = ((values - mean) / std).flatten(2).mT
    torch.manual_seed(3)
    t = (torch.arange(4) + torch.rand(4)) / 4
    noise = torch.randn_like(z)
    noisy = (1 - t).view(4, 1, 1) * z + t.view(4, 1, 1) * noise
    velocity, states = part.flow(noisy, t)
    torch.testing.assert_close(terms["flow_in_the_loop"], 0.05 * (velocity - noise + z).square().mean())
    cosine = F.cosine_similarity(part.project(states), part.normalised(x).flatten(1, 2), dim=-1)
    torch.testing.assert_close(terms["flow_alignment"], 0.2 * (1 - cosine.mean()))


def test_the_states_are_those_after_the_block_that_depth_names(sample: Sample) -> None:
    x = sample(IMAGE, 2)
    _, part = end_to_end(x, layers=3, depth=2)
    z, t = torch.randn(2, 16, 4), torch.tensor([0.2, 0.7])
    seen: list[Tensor] = []
    part.flow.blocks[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    _, states = part.flow(z, t)
    assert torch.equal(states, seen[0])
    assert torch.equal(path(z, torch.zeros_like(z), t)[1], z[1].lerp(torch.zeros(16, 4), t[1]))


def test_a_sequence_of_continuous_tokens_is_aligned_by_its_mean(sample: Sample) -> None:
    x = sample(IMAGE, 4)
    options = {"width": 16, "tokens": 5, "bottleneck": {"kind": "kl"}, "channels": 4}
    tokenizer = build(resolve("titok", IMAGE, {**options, "regularisers": {"end_to_end": {}}}))
    tokenizer.on_train_start([x])
    assert tokenizer.losses(x, group="model", step=0, steps=1)["flow_alignment"].item() > 0


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("vq-vae", {}, "for codes there is prior_in_the_loop"),
        ("vq-vae-2", {}, "one grid of latents, and 'vq_vae_2' has 2"),
        ("kl-vae", {"depth": 3}, "depth must lie between 1 and layers"),
    ],
)
def test_what_makes_no_sense_is_refused(recipe: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=f"regularisers.end_to_end: .*{message}"):
        resolve(recipe, IMAGE, {"regularisers": {"end_to_end": options}})
