from __future__ import annotations

from dataclasses import replace

import torch

from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.scrambles.codes_config import CodesConfig
from latentbench.tokenizers.spec import LatentSpec


def test_every_codebook_has_its_own_permutation(discrete: LatentSpec) -> None:
    scramble = CodesConfig().build(discrete)
    codes = torch.stack([torch.randint(size, (50, 4, 6)) for size in (7, 16)], 1)
    values = torch.randn(50, 5, 4, 6)
    new = scramble.scramble(Latents(values=values, codes=codes), 0)
    assert torch.equal(new.values, values)
    for head, size in enumerate((7, 16)):
        pairs = torch.stack([codes[:, head].flatten(), new.codes[:, head].flatten()]).unique(dim=1)
        assert pairs.shape == (2, size)  # one new number for each
        assert pairs[1].sort().values.tolist() == list(range(size))
        assert pairs[1].tolist() != list(range(size))
    assert torch.equal(scramble.undo(Latents(codes=new.codes), 0).codes, codes)


def test_values_alone_and_huge_codebooks_are_refused(continuous: LatentSpec, discrete: LatentSpec) -> None:
    assert "continuous" in str(CodesConfig().unsupported_reason(continuous))
    huge = replace(discrete, grids=(replace(discrete.grid, codebook_sizes=(2**21,)),))
    assert "one has 2097152" in str(CodesConfig().unsupported_reason(huge))
