"""LFQ: bits and codes, the entropies by brute force over all codes, and an independent implementation."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from latentbench.results.errors import UserError
from latentbench.tokenizers.bottlenecks.lfq import LFQ, bit_entropies, code_diversity
from latentbench.tokenizers.bottlenecks.lfq_config import LFQConfig
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import LatentSpec, Modality, SignalSpec

Specify = Callable[[int], LatentSpec]


def over_all_codes(x: Tensor, temperature: float) -> Tensor:
    """q over the whole codebook {-1, 1}^C, `[rows, 2^C]`, as equation 4 has it."""
    rows = x.movedim(1, -1).flatten(0, -2)
    codebook = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=rows.shape[1])))
    return torch.softmax(-(rows[:, None] - codebook[None]).square().sum(-1) / temperature, dim=-1)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_the_mean_entropy_is_that_over_all_codes(temperature: float) -> None:
    x = torch.randn(3, 5, 4)
    q = over_all_codes(x, temperature)
    each, overall = bit_entropies(x, temperature)
    torch.testing.assert_close(each * 5, torch.special.entr(q).sum(1).mean())
    assert overall * 5 >= torch.special.entr(q.mean(0)).sum() - 1e-6


def test_the_overall_entropy_is_exact_for_independent_bits() -> None:
    # All combinations of three values per channel: the channels are independent over the rows.
    x = torch.tensor(list(itertools.product([-0.4, 0.1, 0.9], [-1.0, 0.2, 0.3], [0.5, 0.6, -0.7]))).T.unsqueeze(0)
    _, overall = bit_entropies(x, 1.0)
    torch.testing.assert_close(overall * 3, torch.special.entr(over_all_codes(x, 1.0).mean(0)).sum())


def test_extreme_features_have_finite_entropies_and_gradients() -> None:
    x = torch.tensor([[-1e4, 0.0, 1e4]]).unsqueeze(-1).requires_grad_()
    each, overall = bit_entropies(x, 0.01)
    (each + overall).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert each.item() == pytest.approx(torch.log(torch.tensor(2.0)).item() / 3)


@pytest.mark.parametrize("heads", [1, 2])
def test_codes_and_values_are_a_bijection(latent: Specify, heads: int) -> None:
    lfq = LFQ(LFQConfig(heads=heads), latent(6), features=6)
    codes = torch.stack(torch.meshgrid(*[torch.arange(2 ** (6 // heads))] * heads, indexing="ij")).flatten(1)
    values = lfq.lookup(codes.unsqueeze(0))
    assert values.shape == (1, 6, 64)
    assert set(values.unique().tolist()) == {-1.0, 1.0}
    assert len(values[0].T.unique(dim=0)) == 64
    latents = lfq.encode(3 * values)
    assert torch.equal(latents.codes, codes.unsqueeze(0))  # type: ignore[arg-type]
    assert torch.equal(latents.values, values)  # type: ignore[arg-type]


def test_the_first_channel_is_the_lowest_bit(latent: Specify) -> None:
    lfq = LFQ(LFQConfig(), latent(3), features=3)
    assert lfq.encode(torch.tensor([[0.5, -1.0, 0.1]]).unsqueeze(-1)).codes.item() == 1 + 4  # type: ignore[union-attr]


def test_gradients_pass_straight_through_and_losses_are_what_they_say(latent: Specify) -> None:
    config = LFQConfig(entropy=0.3, diversity=2.0, commitment=0.5, temperature=0.7)
    lfq, x, gradient = (
        LFQ(config, latent(4), features=4),
        torch.randn(2, 4, 5, requires_grad=True),
        torch.randn(2, 4, 5),
    )
    quantised = lfq(x)
    quantised.values.backward(gradient, retain_graph=True)
    assert torch.equal(x.grad, gradient)  # type: ignore[arg-type]
    assert torch.equal(quantised.values, lfq.encode(x).values)  # type: ignore[arg-type]
    each, overall = bit_entropies(x, 0.7)
    torch.testing.assert_close(quantised.losses["entropy"], 0.3 * (each - 2 * overall))
    torch.testing.assert_close(quantised.losses["commitment"], 0.5 * F.mse_loss(x, x.detach().sign()))


@pytest.mark.parametrize("heads", [1, 3])
def test_an_independent_library_gives_the_same_codes_and_gradients(latent: Specify, heads: int) -> None:
    library = pytest.importorskip("vector_quantize_pytorch")
    theirs = library.LFQ(dim=6, codebook_size=2 ** (6 // heads), num_codebooks=heads, entropy_loss_weight=0.0)
    x, gradient = torch.randn(3, 6, 4, 5, requires_grad=True), torch.randn(3, 6, 4, 5)
    y = x.detach().clone().requires_grad_()
    # Its first channel is the highest bit: each head's channels go in backwards.
    order = torch.arange(6).view(heads, -1).flip(1).flatten()
    values, codes, _ = theirs(y[:, order])
    lfq = LFQ(LFQConfig(heads=heads), latent(6), features=6)
    latents = lfq.encode(x)
    assert torch.equal(latents.codes.movedim(1, -1), codes.view(3, 4, 5, heads))  # type: ignore[union-attr]
    torch.testing.assert_close(latents.values[:, order], values)  # type: ignore[index]
    lfq(x).values.backward(gradient)
    values.backward(gradient[:, order])
    torch.testing.assert_close(x.grad, y.grad)


def test_many_bits_are_split_over_heads() -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
    assert resolve("lfq", signal, {"channels": 18}).spec.grid.codebook_sizes == (2**18,)
    assert resolve("lfq", signal, {"channels": 36, "heads": 4}).spec.grid.codebook_sizes == (512,) * 4
    assert resolve("lfq", signal, {"tsr": 12}).spec.grid.codebook_sizes == (256,) * 4
    with pytest.raises(UserError, match=r"codes of 36 bits, at most 18 are allowed; heads = 2 would do"):
        resolve("lfq", signal, {"channels": 36})
    with pytest.raises(UserError, match="channels 7 is not divisible by heads 2; nearest: 6 or 8"):
        resolve("lfq", signal, {"channels": 7, "heads": 2})


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("bits", [1, 2, 5])
def test_the_codes_own_entropy_is_that_over_all_codes(latent: Specify, bits: int, heads: int) -> None:
    x = torch.randn(3, bits * heads, 4)
    expected = [torch.special.entr(over_all_codes(part, 0.7).mean(0)).sum() / bits for part in x.chunk(heads, dim=1)]
    exact = code_diversity(x, 0.7, heads)
    torch.testing.assert_close(exact, torch.stack(expected).mean())
    assert exact <= bit_entropies(x, 0.7)[1] + 1e-6
    joint = LFQ(
        LFQConfig(heads=heads, joint=True, temperature=0.7, diversity=2.0), latent(bits * heads), features=bits * heads
    )(x)
    torch.testing.assert_close(joint.losses["entropy"], 0.1 * (bit_entropies(x, 0.7)[0] - 2 * exact))


@pytest.mark.parametrize("heads", [1, 3])
def test_an_independent_library_gives_the_same_entropies_and_gradients(latent: Specify, heads: int) -> None:
    library = pytest.importorskip("vector_quantize_pytorch")
    theirs = library.LFQ(
        dim=6,
        codebook_size=2 ** (6 // heads),
        num_codebooks=heads,
        entropy_loss_weight=1.0,
        diversity_gamma=2.0,
        commitment_loss_weight=0.0,
    )
    x = torch.randn(3, 6, 4, 5, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    order = torch.arange(6).view(heads, -1).flip(1).flatten()
    theirs(y[:, order], inv_temperature=1.5)[2].backward()
    config = LFQConfig(heads=heads, joint=True, entropy=1.0, diversity=2.0, temperature=1 / 1.5, commitment=0.0)
    loss = LFQ(config, latent(6), features=6)(x).losses["entropy"] * (6 // heads)  # theirs is in nats per code
    loss.backward()
    # It cuts shares below 1e-5 before their logarithm.
    torch.testing.assert_close(loss, theirs(y[:, order], inv_temperature=1.5)[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-3, atol=1e-5)


def test_the_later_option_is_in_the_data_only_where_it_is_on() -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
    plain, joint = (resolve("lfq", signal, options) for options in ({}, {"bottleneck": {"joint": True}}))
    assert "joint" not in plain.to_json()["bottleneck"]
    assert joint.to_json()["bottleneck"]["joint"] is True
    for config in (plain, joint):
        assert type(config).from_json(config.to_json()) == config


def test_whole_codes_of_many_bits_are_too_many_to_count() -> None:
    reason = LFQConfig(joint=True).unsupported_reason(channels=18, features=32, backbone="conv")
    assert reason == "joint counts all codes of a head: at most 12 bits, not 18"
