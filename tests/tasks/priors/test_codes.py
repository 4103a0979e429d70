"""Embedding, predicting and drawing codes: what the discrete priors share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentbench.tasks.priors import codes as module
from latentbench.tasks.priors.ar_config import ARConfig
from latentbench.tasks.priors.codes import (
    CodeEmbedding,
    DepthHead,
    ParallelHead,
    filter_logits,
    guided_pick,
    inverse_cdf,
    picker,
)


def test_inverse_cdf_inverts() -> None:
    logits = torch.tensor([0.1, 0.0, 0.4, 0.5]).log().expand(5, 4)
    noise = torch.tensor([0.0, 0.0999, 0.1001, 0.4999, 0.99999])
    assert inverse_cdf(logits, noise).tolist() == [0, 0, 2, 2, 3]


def test_top_k_and_top_p_keep_what_they_say() -> None:
    logits = torch.tensor([[0.1, 0.4, 0.3, 0.2], [0.97, 0.01, 0.01, 0.01]]).log()
    allowed = filter_logits(logits, ARConfig(top_k=2)).isfinite()
    assert allowed[0].tolist() == [False, True, True, False]
    allowed = filter_logits(logits, ARConfig(top_p=0.75)).isfinite()
    assert allowed.tolist() == [[False, True, True, True], [True, False, False, False]]
    assert torch.equal(filter_logits(logits, ARConfig()), logits)


def test_codes_that_are_not_present_add_nothing() -> None:
    embedding = CodeEmbedding((5, 3), 4)
    codes = torch.tensor([[[4, 2], [1, 0]]])
    present = torch.tensor([[[True, False], [True, True]]])
    rows = embedding.weight
    expected = torch.stack((rows[4], rows[1] + rows[5]))
    torch.testing.assert_close(embedding(codes, present)[0], expected)
    torch.testing.assert_close(embedding(codes, torch.ones_like(present)), embedding(codes))


@pytest.mark.parametrize("head", [DepthHead((5, 3, 4), 8, 6, 1), ParallelHead((5, 3, 4), 8)])
def test_likelihood_and_drawing_agree(head: DepthHead | ParallelHead) -> None:
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
    hidden, codes = torch.randn(1, 1, 8), torch.tensor([[[2, 0, 3]]])
    seen: list[Tensor] = []

    def follow(logits: Tensor, noise: Tensor) -> Tensor:
        code = codes[0, :, len(seen)]
        seen.append(-logits.log_softmax(-1)[0, code])
        return code

    out = torch.zeros(1, 3, dtype=torch.long)
    head.draw(hidden[0], torch.zeros(1, 3), out, follow)
    assert torch.equal(out, codes[0])
    torch.testing.assert_close(torch.cat(seen), head.nll(hidden, codes)[0, 0])
    other = head.nll(hidden, torch.tensor([[[1, 0, 3]]]))[0, 0]
    depends = (other - torch.cat(seen)).abs() > 1e-4
    assert depends.tolist() == [True, isinstance(head, DepthHead), isinstance(head, DepthHead)]


def test_guided_drawing_uses_both_halves_and_draws_once() -> None:
    conditional, free = torch.randn(6, 9), torch.randn(6, 9)
    noise = torch.rand(6)
    pick = picker(ARConfig())
    both = guided_pick(pick, 2.5)(torch.cat((conditional, free)), noise.repeat(2))
    assert torch.equal(both[:6], both[6:])
    assert torch.equal(both[:6], pick(free + 2.5 * (conditional - free), noise))
    assert torch.equal(
        guided_pick(pick, 1.0)(torch.cat((conditional, free)), noise.repeat(2))[:6], pick(conditional, noise)
    )


def test_a_large_codebook_in_chunks_gives_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    head = DepthHead((50, 20), 8, 8, 1)
    hidden = torch.randn(3, 16, 8)
    codes = torch.stack((torch.randint(50, (3, 16)), torch.randint(20, (3, 16))), dim=-1)

    def gradients() -> list[Tensor]:
        head.zero_grad()
        head.nll(hidden, codes).mean().backward()
        return [p.grad.clone() for p in head.parameters()]

    whole = gradients()
    monkeypatch.setattr(module, "_LOGITS_AT_ONCE", 350)
    torch.testing.assert_close(gradients(), whole)
