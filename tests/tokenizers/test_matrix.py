"""Every backbone x bottleneck x decoder in every modality: one training step, or one line that says why not.

What is legal is configured in every modality; so many combinations are trained that any two that can meet do in one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tokenizers.backbones.config import BACKBONES
from latentbench.tokenizers.bottlenecks.config import BOTTLENECKS
from latentbench.tokenizers.build import build
from latentbench.tokenizers.diffusion_decoders.config import DIFFUSION_DECODERS
from latentbench.tokenizers.interface import TrainableTokenizer
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import SignalSpec

SHAPES = {"image": (8, 16), "video": (2, 8, 8), "waveform": (256,), "spectrogram": (8, 16)}
DOWNSAMPLE = {"image": 4, "video": [2, 4, 4], "waveform": 32, "spectrogram": 4}

_VIT = {"kind": "vit", "width": 8, "layers": 1, "attention_heads": 2, "mlp_ratio": 1.0}
_CONV = {"kind": "conv", "width": 4, "multipliers": [1], "groups": 2}
HALVES: dict[str, dict[str, Any]] = {
    "conv": _CONV,
    "patch": {"kind": "patch"},
    "frozen": {"kind": "frozen"},
    "vit": _VIT,
    "seanet": {"kind": "seanet", "width": 4, "dilations": [1, 3], "stride": 4},
    "vit, tokens": {**_VIT, "tokens": 5},
    "vit, set": {**_VIT, "tokens": 5, "topology": "set"},
}
# Bottlenecks by kind, and in the variants that train other parameters.
BOTTLENECK: dict[str, dict[str, Any]] = {
    "identity": {},
    "linear": {"solve": "trained"},
    "linear, closed form": {"solve": "closed-form"},
    "standardise": {},
    "kl": {"beta": 1e-3},
    "vq": {"codebook_size": 8},
    "vq, ema": {"codebook_size": 8, "rule": "ema"},
    "multi_head_vq": {"codebook_size": 8, "heads": 2},
    "fsq": {"levels": [5, 4, 3, 3]},
    "rvq": {"codebook_size": 8, "levels": 2, "dropout": 0.0},
    "factorised_rvq": {"codebook_size": 8, "levels": 2, "dropout": 0.0, "code_channels": 2},
    "lfq": {},
    "vq_vae_2": {"codebook_size": 8},
    "vq_reg": {"codebook_size": 8},
    "soft_vq": {"codebook_size": 8},
}
DECODERS: dict[str, dict[str, Any] | None] = {"its own": None, **HALVES, "diffusion": {"kind": "diffusion"}}


def options(modality: str, backbone: str, bottleneck: str, decoder: str) -> dict[str, Any]:
    table: dict[str, Any] = {
        "downsample": DOWNSAMPLE[modality],
        "channels": 4,
        "backbone": HALVES[backbone],
        "bottleneck": {"kind": bottleneck.partition(",")[0], **BOTTLENECK[bottleneck]},
        "losses": {"l1": 0.0, "l2": 1.0},
        "training": {"steps": 10},
    }
    chosen = DECODERS[decoder]
    key = "diffusion_decoder" if decoder == "diffusion" else "decoder"
    return table if chosen is None else {**table, key: chosen}


def topology(backbone: str, decoder: str) -> str:
    """Where a decoder expects its latents; one of the backbone's kind takes over what it does not say itself."""
    first, second = HALVES[backbone], HALVES[decoder]
    table = {**first, **second} if first["kind"] == second["kind"] else second
    return table.get("topology", "sequence") if "tokens" in table else "grid"


def refused(modality: str, backbone: str, bottleneck: str, decoder: str) -> str:
    """What the message must say where a combination makes no sense; "" where it does."""
    if "seanet" in (backbone, decoder) and modality != "waveform":
        return "is for waveforms"
    if (backbone if decoder not in HALVES else decoder) == "frozen":
        return "'frozen' has no decoder"
    if decoder in HALVES and topology(backbone, decoder) != topology(backbone, backbone):
        return "can't read the grid"
    if bottleneck == "linear, closed form" and backbone != "patch":
        return 'needs backbone "patch"'
    if bottleneck == "standardise" and backbone not in ("patch", "frozen"):
        return "is for an encoder that is not trained"
    if bottleneck == "vq_vae_2" and topology(backbone, backbone) == "set":
        return "a hierarchy of grids needs an order"
    return ""


def meetings(case: tuple[str, ...]) -> set[Any]:
    """The pairs of parts that a combination has, by place."""
    return set(itertools.combinations(enumerate(case), 2))


def covering() -> set[tuple[str, ...]]:
    """Legal combinations that have every pair that any legal one has, first those that bring most new pairs."""
    legal = [case for case in itertools.product(SHAPES, HALVES, BOTTLENECK, DECODERS) if not refused(*case)]
    chosen: set[tuple[str, ...]] = set()
    missing = set().union(*map(meetings, legal))
    for at_least in (6, 5, 4, 3, 2, 1):
        for case in legal:
            if len(missing & meetings(case)) >= at_least:
                chosen.add(case)
                missing -= meetings(case)
    return chosen


TRAINED = covering()


def frozen(name: str, backbone: str, bottleneck: str, decoder: str) -> bool:
    """Whether a parameter is not for the gradient to move: codes that are averages, a closed form, and the half of a
    linear shortcut that runs around a part without one."""
    if name.startswith("shortcut."):
        half = backbone if "down." in name else decoder
        return half in ("patch", "frozen", "seanet")
    return (bottleneck, name) == ("vq, ema", "bottleneck.codebook") or (
        bottleneck == "linear, closed form" and name.startswith("bottleneck.")
    )


def trained(tokenizer: TrainableTokenizer, x: Tensor) -> None:
    """One pass forward and back on weights away from zero, behind which gradients would vanish."""
    tokenizer.on_train_start([x])
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.normal_(std=0.1)
    losses = tokenizer.train().losses(x, group="model", step=0, steps=10)
    assert losses["loss"].isfinite()
    if tokenizer.param_groups()["model"]:  # a closed form between patches has nothing to train
        losses["loss"].backward()


def wrong_gradients(tokenizer: TrainableTokenizer, *case: str) -> Iterator[str]:
    for name, parameter in tokenizer.named_parameters():
        if frozen(name, *case):
            if parameter.grad is not None:
                yield f"{name} has a gradient"
        elif parameter.grad is None:
            yield f"{name} has no gradient"
        elif not parameter.grad.isfinite().all():
            yield f"{name} has a gradient that is not finite"
        elif not parameter.grad.any():
            yield f"{name} has a gradient of zeros"


@pytest.mark.slow
@pytest.mark.parametrize("backbone", HALVES)
@pytest.mark.parametrize("modality", SHAPES)
def test_every_combination_trains_or_says_why_not(
    modality: str, backbone: str, make_signal: Callable[..., SignalSpec]
) -> None:
    signal = make_signal(modality, SHAPES[modality])
    x = torch.tanh(torch.randn(8, signal.channels, *signal.shape))
    wrong, legal = [], 0
    for bottleneck in BOTTLENECK:
        for decoder in DECODERS:
            case = f"{backbone} x {bottleneck} x {decoder}"
            reason = refused(modality, backbone, bottleneck, decoder)
            try:
                config = resolve("ae", signal, options(modality, backbone, bottleneck, decoder), where="suite.toml")
            except UserError as error:
                if not reason or reason not in str(error) or "\n" in str(error):
                    wrong.append(f"{case}: refused by {error}")
                continue
            if reason:
                wrong.append(f"{case}: should be refused ({reason})")
                continue
            legal += 1
            if (modality, backbone, bottleneck, decoder) not in TRAINED:
                continue
            torch.manual_seed(0)
            tokenizer = build(config)
            trained(tokenizer, x)
            wrong += [f"{case}: {what}" for what in wrong_gradients(tokenizer, backbone, bottleneck, decoder)]
    assert not wrong, "\n".join(wrong)
    assert legal >= len(BOTTLENECK) - 2 or (backbone, modality == "waveform") == ("seanet", False)


def test_the_matrix_is_complete() -> None:
    assert {table["kind"] for table in HALVES.values()} == set(BACKBONES.names())
    assert {name.partition(",")[0] for name in BOTTLENECK} == set(BOTTLENECKS.names())
    assert set(DIFFUSION_DECODERS.names()) <= set(DECODERS)
