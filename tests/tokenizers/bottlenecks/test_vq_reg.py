"""VQ-reg is VQ whose latents are what it was about to quantise."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from latentbench.tokenizers.bottlenecks.vq import VQ
from latentbench.tokenizers.bottlenecks.vq_config import VQConfig
from latentbench.tokenizers.bottlenecks.vq_reg import VQReg
from latentbench.tokenizers.bottlenecks.vq_reg_config import VQRegConfig
from latentbench.tokenizers.build import build
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import LatentSpec, Modality, SignalSpec

Specify = Callable[[int], LatentSpec]

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


@pytest.mark.parametrize("normalise", [False, True])
def test_it_decodes_what_vq_decodes_from_continuous_latents(latent: Specify, normalise: bool) -> None:
    reg = VQReg(VQRegConfig(codebook_size=8, normalise=normalise), latent(4), features=4)
    vq = VQ(VQConfig(codebook_size=8, normalise=normalise), latent(4), features=4)
    vq.load_state_dict(reg.state_dict())
    x = torch.randn(2, 4, 3, 3)
    latents = reg.encode(x)
    assert latents.codes is None
    assert torch.equal(latents.values, x)  # type: ignore[arg-type]
    assert torch.equal(reg.expand(latents), vq.encode(x).values)  # type: ignore[arg-type]
    ours, theirs = reg(x), vq(x)
    assert torch.equal(ours.values, theirs.values)
    assert {k: v.item() for k, v in ours.losses.items()} == {k: v.item() for k, v in theirs.losses.items()}


def test_the_latents_are_continuous_and_a_sample_near_a_code_decodes_as_that_code() -> None:
    config = resolve("vq-reg", SIGNAL, {"width": 8, "codebook_size": 4})
    assert not config.spec.discrete
    assert config.spec.grid.elements == 16 * 4
    assert resolve("vq-reg", SIGNAL, {"tsr": 24}).channels == 2
    tokenizer = build(config).eval()
    codes = tokenizer.bottleneck.codebook[0].detach()  # type: ignore[index,union-attr]
    exact = codes[torch.randint(4, (2, 4, 4))].movedim(-1, 1)
    near = exact + 1e-3 * torch.randn_like(exact)
    assert torch.equal(tokenizer.decode(Latents(values=near)), tokenizer.decode(Latents(values=exact)))
    with pytest.raises(ValueError, match="these have no values"):
        tokenizer.decode(Latents(codes=torch.zeros(2, 1, 4, 4, dtype=torch.int64)))
