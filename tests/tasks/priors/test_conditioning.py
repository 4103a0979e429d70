"""Class labels: dropout, the labels of samples, guidance, and their way through the discrete priors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.latents import LatentBatch
from latentbench.tasks.priors.ar_config import ARConfig
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.conditioning import Labels, guided
from latentbench.tasks.priors.config import resolve_prior
from latentbench.tasks.priors.interface import Prior
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))
COARSE = LatentGrid(shape=(2,), channels=4, codebook_sizes=(6,))
FINE = LatentGrid(shape=(4,), channels=4, codebook_sizes=(5, 3))
SPECS = {
    "ar": LatentSpec(signal=SIGNAL, grids=(FINE,)),
    "maskgit": LatentSpec(signal=SIGNAL, grids=(FINE,)),
    "hierarchical": LatentSpec(signal=SIGNAL, grids=(COARSE, FINE)),
}


def make(name: str, **options) -> Prior:
    torch.manual_seed(4)
    spec = SPECS[name]
    defaults = {"width": 16, "layers": 2, "attention_heads": 2, "classes": 3}
    prior = build_prior(resolve_prior(name, {**defaults, **options}, spec, where="test"), spec)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.4)
    return prior.eval()


def batch_for(name: str, labels: list[int] | None) -> LatentBatch:
    n = 4 if labels is None else len(labels)
    torch.manual_seed(1)
    levels = [
        Latents(
            codes=torch.stack([torch.randint(k, (1, *grid.shape)) for k in grid.codebook_sizes], 1).expand(n, -1, -1)
        )
        for grid in SPECS[name].grids
    ]
    latents = Latents(codes=levels[0].codes, rest=tuple(levels[1:]))
    return LatentBatch(
        latents=latents,
        labels=None if labels is None else torch.tensor(labels),
        indices=torch.zeros(n, dtype=torch.long),
    )


def all_codes(latents: Latents) -> Tensor:
    return torch.cat([level.codes.flatten(1) for level in latents.levels], dim=1)


def test_labels_are_dropped_in_training_alone() -> None:
    labels = Labels(3, 5, dropout=0.25)
    drawn = torch.randint(3, (8000,))
    labels.train()
    dropped = (labels(drawn) == labels.weight[3]).all(1).double().mean().item()
    assert dropped == pytest.approx(0.25, abs=0.02)
    labels.eval()
    torch.testing.assert_close(labels(drawn), labels.weight[drawn])
    torch.testing.assert_close(labels(labels.none(2)), labels.weight[3].expand(2, 5))


def test_samples_take_labels_from_the_training_histogram() -> None:
    labels = Labels(4, 2, dropout=0.1)
    split = torch.tensor([0] * 10 + [2] * 30)
    labels.count([LatentBatch(latents=Latents(codes=torch.zeros(20, 1, 1)), labels=part) for part in split.split(20)])
    assert labels.counts.tolist() == [10, 0, 30, 0]
    drawn = labels.draw(range(2000), seed=3)
    shares = torch.bincount(drawn, minlength=4) / 2000
    torch.testing.assert_close(shares, torch.tensor([0.25, 0, 0.75, 0]), atol=0.04, rtol=0)
    assert torch.equal(labels.draw(range(5, 9), seed=3), drawn[5:9])
    assert not torch.equal(labels.draw(range(2000), seed=4), drawn)
    assert Labels(4, 2, dropout=0.1).draw(range(100), seed=0).unique().numel() == 4


def test_bad_labels_are_one_clear_line() -> None:
    labels = Labels(3, 2, dropout=0.1)
    latents = Latents(codes=torch.zeros(2, 1, 1))
    with pytest.raises(UserError, match="classes is 3, and the data has no labels"):
        labels.count([LatentBatch(latents=latents)])
    with pytest.raises(UserError, match="classes is 3, and the data's labels run from 0 to 3"):
        labels.count([LatentBatch(latents=latents, labels=torch.tensor([0, 3]))])
    for options, message in [
        ({"classes": -1}, "classes"),
        ({"guidance": 2.0}, "guidance needs classes"),
        ({"classes": 2, "guidance": 2.0, "label_dropout": 0.0}, "label_dropout above 0"),
        ({"classes": 2, "label_dropout": 1.0}, "label_dropout"),
    ]:
        with pytest.raises(UserError, match=message):
            resolve_prior("ar", options, SPECS["ar"], where="s")


def test_guidance_is_the_formula() -> None:
    conditional, free = torch.randn(2, 5), torch.randn(2, 5)
    torch.testing.assert_close(guided(conditional, free, 3.0), free + 3 * (conditional - free))
    assert torch.equal(guided(conditional, free, 1.0), conditional)


def test_options_at_their_default_stay_out_of_job_keys() -> None:
    assert not ARConfig().identity().keys() & {"classes", "label_dropout", "guidance", "order"}
    assert ARConfig(classes=4).identity()["classes"] == 4
    assert ARConfig(order="delay").identity()["order"] == "delay"
    assert ARConfig().identity()["top_p"] == 1.0
    assert ARConfig().protocol == "ar v2, temperature 1, top_k 0, top_p 1"
    assert ARConfig(classes=4, guidance=1.5).protocol.endswith("top_p 1, 4 classes, guidance 1.5")


@pytest.mark.parametrize("name", SPECS)
def test_the_likelihood_is_given_the_label(name: str) -> None:
    prior = make(name)
    scores = prior.held_out(batch_for(name, [0, 1, 2, 1]))
    bits = next(iter(scores.values()))
    assert (bits[0] - bits[1]).abs() > 0.05
    torch.testing.assert_close(bits[1], bits[3])
    with pytest.raises(UserError, match="no labels"):
        prior.held_out(batch_for(name, None))
    prior.train().losses(batch_for(name, [0, 1, 2, 1]), group="model", step=0, steps=1)["loss"].backward()
    assert prior.labels.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", SPECS)
def test_guidance_at_sampling(name: str) -> None:
    plain, sharp = make(name), make(name, guidance=4.0)
    nearly_plain, free = make(name, guidance=1 + 1e-9), make(name, guidance=0.0)
    whole = all_codes(sharp.sample(9, seed=2, batch_size=9))
    assert torch.equal(all_codes(sharp.sample(9, seed=2, batch_size=2)), whole)
    assert not torch.equal(all_codes(plain.sample(9, seed=2)), whole)
    assert torch.equal(all_codes(nearly_plain.sample(9, seed=2)), all_codes(plain.sample(9, seed=2)))
    with torch.no_grad():
        plain.labels.weight[:3] = plain.labels.weight[3]
    assert torch.equal(all_codes(free.sample(9, seed=2)), all_codes(plain.sample(9, seed=2)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ar", "maskgit"])
def test_samples_follow_their_labels(name: str, learn) -> None:
    prior = make(name, width=32, guidance=2.0)

    def draw(n: int) -> LatentBatch:
        labels = torch.randint(3, (n,))
        first = torch.where(torch.rand(n, 4) < 0.8, labels[:, None], torch.randint(5, (n, 4)))
        return LatentBatch(latents=Latents(codes=torch.stack((first, torch.randint(3, (n, 4))), 1)), labels=labels)

    learn(prior, draw, steps=80, lr=3e-3)
    labels = prior.labels.draw(range(300), seed=0)
    codes = prior.sample(300, seed=0, batch_size=300).codes[:, 0]
    # guidance sharpens: more than the data's 0.8 + 0.2 / 5
    assert (codes == labels[:, None]).double().mean() > 0.88
