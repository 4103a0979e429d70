"""The interface every prior shares, and the documentation's example of a new one."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import choose, priors, resolve_prior
from latentbench.tasks.priors.interface import concatenate, evaluating
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

PAGE = Path(__file__).parents[3] / "docs" / "priors.md"


@pytest.fixture
def example(tmp_path: Path) -> Iterator[ModuleType]:
    """The documentation's example, imported as a module of its own; unregistered afterwards."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) < 40
    path = tmp_path / "independent_prior.py"
    path.write_text(code, encoding="utf-8")
    spec = spec_from_file_location("independent_prior", path)
    module = module_from_spec(spec)
    sys.modules["independent_prior"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["independent_prior"], priors._entries["independent"]


def test_the_documented_prior_works(example: ModuleType) -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=1, shape=(8, 8))
    spec = LatentSpec(signal=signal, grids=(LatentGrid(shape=(2,), channels=4, codebook_sizes=(3, 2)),))
    assert choose(spec) == "ar"
    prior = build_prior(resolve_prior("independent", {"training": {"steps": 5}}, spec, where="docs"), spec)
    everything = torch.tensor(list(itertools.product(range(3), range(3), range(2), range(2)))).view(-1, 2, 2)
    batch = LatentBatch(latents=Latents(codes=everything))
    with torch.no_grad():
        prior.logits[0].copy_(torch.tensor([0.7, 0.2, 0.1]).log())
    assert torch.exp2(-prior.held_out(batch)["nll_bits"]).sum().item() == pytest.approx(1, abs=1e-5)
    drawn = prior.sample(1000, seed=0, batch_size=300).codes
    assert drawn.shape == (1000, 2, 2)
    shares = np.bincount(drawn[:, 0].flatten().numpy(), minlength=3) / 2000
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=0.04)
    prior.losses(batch, group="model", step=0, steps=1)["loss"].backward()
    assert prior.logits[0].grad.abs().max() > 0


def test_batches_join_level_by_level() -> None:
    parts = [
        Latents(values=torch.full((n, 2, 3), float(n)), rest=(Latents(codes=torch.full((n, 1, 4), n)),)) for n in (2, 1)
    ]
    whole = concatenate(parts)
    assert whole.values[:, 0, 0].tolist() == [2, 2, 1]
    assert whole.rest[0].codes[:, 0, 0].tolist() == [2, 2, 1]
    assert whole.codes is None
    assert whole.rest[0].values is None


def test_evaluating_restores_the_mode() -> None:
    layer = torch.nn.Dropout()
    with evaluating(layer):
        assert not layer.training
    assert layer.training

    def fail() -> None:
        with evaluating(layer):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert layer.training
