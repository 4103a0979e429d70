"""Each trap that a tokenizer of somebody else's may hold is caught by the contract: one small model per trap."""

from __future__ import annotations

import socket
import urllib.request
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentbench.tasks.contract import Finding, check_contract, failures
from latentbench.tokenizers.adapters.describe import describe
from latentbench.tokenizers.adapters.live import register
from latentbench.tokenizers.adapters.network import NetworkUsedError, network_cut
from latentbench.tokenizers.adapters.tokenizer import AdapterTokenizer
from latentbench.tokenizers.spec import Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(8, 8))
SOUND = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(64,), rate=8000.0)


class Good(nn.Module):
    """Passes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 2, 2), nn.ConvTranspose2d(4, 3, 2, 2)

    def encode(self, x: Tensor) -> Any:
        return self.down(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.up(z)


class Dropping(Good):
    def encode(self, x: Tensor) -> Any:
        return nn.functional.dropout(super().encode(x), 0.5)  # whatever its mode


class Noisy(Good):
    def decode(self, z: Tensor) -> Tensor:
        decoded = super().decode(z)
        return decoded + 0.1 * torch.randn_like(decoded)


class Crowded(Good):
    def encode(self, x: Tensor) -> Any:
        return super().encode(x) - super().encode(x).mean(0, keepdim=True)


class Quantised(Good):
    start = 0

    def encode(self, x: Tensor) -> Any:
        return ((x + 1) * 7.5).round().long().clamp(0, 15) + self.start

    def decode(self, z: Tensor) -> Tensor:
        return (z - self.start) / 7.5 - 1


class FromOne(Quantised):
    start = 1


class Broken(Good):
    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z) / 0.0


class Averaging(nn.Module):
    """A sound by its mean over 8 samples; `ahead` looks into the next ones too."""

    def __init__(self, ahead: int = 0) -> None:
        super().__init__()
        self.ahead = ahead

    def encode(self, x: Tensor) -> Any:
        padded = nn.functional.pad(x, (0, self.ahead))
        return nn.functional.avg_pool1d(padded, 8 + self.ahead, 8)

    def decode(self, z: Tensor) -> Tensor:
        return z.repeat_interleave(8, -1)


class Overflowing(Good):
    def encode(self, x: Tensor) -> Any:
        return super().encode(x) * 1e5 if x.dtype == torch.float16 else super().encode(x)


def check(model: nn.Module, signal: SignalSpec = IMAGE, **spec: Any) -> tuple[list[Finding], dict[str, float]]:
    """The findings for a module with this spec."""
    config = register(model, {"modality": str(signal.modality), **spec})
    grids = describe(config, signal, "check").grids
    torch.manual_seed(3)
    real = torch.rand(4, signal.channels, *signal.shape) - 0.5
    tokenizer = AdapterTokenizer(config, signal, grids)
    return check_contract(tokenizer, real, native=lambda: AdapterTokenizer(config, signal, grids, dtype="native"))


def test_what_keeps_the_contract_passes_every_check() -> None:
    findings, measured = check(Good())
    assert {finding.verdict for finding in findings} == {"passed"}
    assert len(findings) == 14
    assert measured.keys() == {"mean", "std"}


@pytest.mark.parametrize(
    ("model", "spec", "mark"),
    [
        (Dropping, {}, "two encodes differ by"),
        (Noisy, {}, "its decoder draws noise"),
        (Noisy, {"stochastic": True}, "as declared, its decoder draws noise"),
        (Crowded, {}, "batch of 1 against a row of the batch differ"),
        (Good, {"normaliser": {"scale": 0.001}}, "latents normalised by the user's spec have mean"),
        (Overflowing, {"dtype": "float16"}, "in float16, its native type, it gives NaN or infinity"),
    ],
)
def test_what_can_be_lived_with_is_marked(model: type[nn.Module], spec: dict[str, Any], mark: str) -> None:
    findings, _ = check(model(), **spec)
    marks = failures(findings, "marked")
    assert any(mark in says for says in marks), marks
    assert failures(findings, "error") == []


@pytest.mark.parametrize(
    ("model", "spec", "error"),
    [
        (FromOne, {"codebook_sizes": [16, 16, 16]}, "codebook has 16; do they count from 1? spec.first_code = 1"),
        (Quantised, {"codebook_sizes": [8, 8, 8]}, "gives codes up to 1"),
        (Broken, {}, "real signals give NaN or infinity"),
    ],
)
def test_what_makes_numbers_worthless_is_an_error(model: type[nn.Module], spec: dict[str, Any], error: str) -> None:
    errors = failures(check(model(), **spec)[0], "error")
    assert any(error in says for says in errors), errors


def test_codes_that_are_declared_to_count_from_1_pass() -> None:
    findings, _ = check(FromOne(), codebook_sizes=[16, 16, 16], first_code=1)
    assert {finding.verdict for finding in findings} == {"passed"}
    assert "codes in [0, K), real" in [finding.check for finding in findings]


def test_a_module_in_training_mode_is_an_error() -> None:
    config = register(Good(), {"modality": "image"})
    tokenizer = AdapterTokenizer(config, IMAGE, describe(config, IMAGE, "check").grids)
    tokenizer.held[0].train()
    findings, _ = check_contract(tokenizer, torch.zeros(4, 3, 8, 8))
    assert failures(findings, "error") == ["in training mode: held.0, held.0.down, held.0.up"]


@pytest.mark.parametrize(("ahead", "kept"), [(0, True), (8, False)])
def test_a_claim_of_causality_is_tried(ahead: int, kept: bool) -> None:
    findings, _ = check(Averaging(ahead), SOUND, causal=True)
    (finding,) = (f for f in findings if f.check == "causality")
    assert (finding.verdict == "passed") is kept
    if not kept:
        assert finding.says == "declared causal, but the first 4 of 8 latents change with later samples"
    assert "causality" not in [f.check for f in check(Averaging(ahead), SOUND)[0]]


def test_the_gap_to_the_native_type_is_measured() -> None:
    findings, measured = check(Good(), dtype="bfloat16")
    assert failures(findings, "marked") == []
    assert 45 < measured["native_db"] < 75


def test_the_network_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch() -> None:
        socket.create_connection(("localhost", 9), timeout=0.1)

    with pytest.raises(NetworkUsedError), network_cut():
        fetch()
    with pytest.raises(OSError):  # afterwards it is as it was: nothing listens there
        fetch()


def test_a_library_with_a_cache_goes_on_with_it() -> None:
    """torch.hub and huggingface_hub do so where asking the network gives an OSError."""

    def load(cache: dict[str, str]) -> str:
        try:
            urllib.request.urlopen("http://localhost:9/weights", timeout=0.1)
        except OSError as error:
            if "weights" not in cache:
                raise ValueError("no such file in the cache") from error
        return cache["weights"]

    with network_cut():
        assert load({"weights": "stored"}) == "stored"
    with pytest.raises(NetworkUsedError, match=r"^it tries to reach the network$"), network_cut():
        load({})
    with pytest.raises(KeyError), network_cut():
        {}["what has nothing to do with it"]


def test_other_latents_than_described_are_an_error() -> None:
    config = register(Good(), {"modality": "image"})
    described = describe(config, IMAGE, "check").grids
    wide = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(8, 16))
    findings, _ = check_contract(AdapterTokenizer(config, wide, described), torch.zeros(4, 3, 8, 16))
    assert failures(findings, "error") == ["latents [(4, 4, 8)], and [(4, 4, 4)] were described"]
