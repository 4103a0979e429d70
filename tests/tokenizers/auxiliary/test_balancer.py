"""The loss balancer: shares of the gradient at the reconstruction, moving averages, refusals, resume."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tokenizers.auxiliary.balancer import Balancer
from latentbench.tokenizers.auxiliary.balancer_config import BalancerConfig
from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

SOUND = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(256,), rate=8000.0)


def balancer(**options: Any) -> Balancer:
    config = BalancerConfig(**{"terms": ("l1", "l2"), "shares": (1.0, 3.0), "decay": 0.0} | options)
    return Balancer(config, resolve("ae", SOUND, {})).train()


def test_gradients_have_their_shares_whatever_the_weights() -> None:
    x = torch.randn(4, 1, 64, requires_grad=True)
    terms = {"l1": 1e4 * x.abs().mean(), "l2": 1e-4 * x.square().mean(), "kl": 2 * x.mean()}
    changed = balancer(weight=2.0).balanced(terms, x)
    for name, expected in (("l1", 2 / 4), ("l2", 2 * 3 / 4)):
        assert changed[name].item() == terms[name].item()  # what is logged stays
        (before,) = torch.autograd.grad(terms[name], x, retain_graph=True)
        (after,) = torch.autograd.grad(changed[name], x)
        assert after.flatten(1).norm(dim=1).mean().item() == pytest.approx(expected, rel=1e-5)
        cosine = torch.nn.functional.cosine_similarity(before.flatten(), after.flatten(), dim=0)
        assert cosine.item() == pytest.approx(1.0)
    assert changed["kl"] is terms["kl"]


def test_a_term_that_is_not_there_yet_leaves_its_share_to_the_others() -> None:
    x = torch.randn(2, 1, 16, requires_grad=True)
    changed = balancer().balanced({"l1": x.abs().mean()}, x)
    (gradient,) = torch.autograd.grad(changed["l1"], x)
    assert gradient.flatten(1).norm(dim=1).mean().item() == pytest.approx(1.0, rel=1e-5)


def test_the_average_is_corrected_for_its_start() -> None:
    """Norms 1, then 3, decay 0.5: (0.5 x 1 + 3) / 1.5; the second gradient is divided by that."""
    module = balancer(terms=("l1",), shares=(1.0,), decay=0.5)
    x = torch.zeros(1, 1, 4, requires_grad=True)
    for scale in (1.0, 3.0):
        changed = module.balanced({"l1": scale * x[0, 0, 0]}, x)
    (gradient,) = torch.autograd.grad(changed["l1"], x)
    assert gradient.norm().item() == pytest.approx(3 / (3.5 / 1.5), rel=1e-6)


def test_it_acts_in_training_and_its_averages_are_saved() -> None:
    options = {
        "losses": {"l1": 1.0, "stft": 5.0, "mel": 0.0},
        "auxiliary": {"balancer": {"terms": ["l1", "stft"], "shares": [1.0, 1.0]}},
    }
    tokenizer = build(resolve("ae", SOUND, {"width": 4, **options}))
    x = torch.randn(2, 1, 256)
    tokenizer.on_train_start([x])
    losses = tokenizer.train().losses(torch.randn(2, 1, 256), group="model", step=0, steps=10)
    losses["loss"].backward()
    assert losses["loss"].item() == pytest.approx(losses["l1"].item() + losses["stft"].item(), rel=1e-5)
    saved = {name: value for name, value in tokenizer.state_dict().items() if "norms" in name}
    assert len(saved) == 1
    assert (next(iter(saved.values())) > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": ["l1", "stfd"], "shares": [1.0, 1.0]}, "terms: this tokenizer has no loss 'stfd'"),
        ({"terms": ["adversary"], "shares": [1.0]}, "terms: this tokenizer has no loss 'adversary'"),
        ({"terms": ["l1", "l1"], "shares": [1.0, 1.0]}, "terms must be one or more losses, each once"),
        ({"terms": ["l1"], "shares": [1.0, 2.0]}, "shares must be 1 numbers above 0"),
        ({"terms": ["l1"], "shares": [1.0], "decay": 1.0}, "decay must lie in"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=r"auxiliary\.balancer") as error:
        resolve("ae", SOUND, {"losses": {"l1": 1.0, "stft": 1.0}, "auxiliary": {"balancer": options}})
    assert message in str(error.value)
