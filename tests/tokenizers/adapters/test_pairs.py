"""Encoders and decoders exported to files: TorchScript and ONNX, whose facts a TOML file declares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentbench.results.errors import UserError
from latentbench.tasks.contract import check_contract, failures
from latentbench.tokenizers.adapters.describe import describe
from latentbench.tokenizers.adapters.pair_config import ONNXConfig, PairConfig, TorchScriptConfig
from latentbench.tokenizers.adapters.tokenizer import AdapterTokenizer
from latentbench.tokenizers.spec import Modality, SignalSpec

MakeSignal = Callable[..., SignalSpec]
SPEC = 'modality = "image"\nrange = [0.0, 1.0]\nmultiple = 4\nnormaliser = { scale = 2.0, shift = 0.5 }\n'

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


class TupleOf(nn.Module):
    """As Cosmos' encoder gives its latents: `(latent,)`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.inner(x),)


class IndicesAndCodes(nn.Module):
    """As Cosmos' discrete encoder: `(indices, codes)`, indices counted from 1."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        codes = ((x[:, :1] + 1) * 7.5).round().clamp(0, 15)
        return codes[:, 0].long() + 1, codes


class FromIndices(nn.Module):
    """The inverse, for grey pictures."""

    def forward(self, indices: Tensor) -> Tensor:
        return (indices.unsqueeze(1).float() - 1) / 7.5 - 1


@pytest.fixture
def layers() -> tuple[nn.Module, nn.Module]:
    """An encoder and a decoder."""
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 4, 4).eval(), nn.ConvTranspose2d(4, 3, 4, 4).eval()


def load(config: PairConfig, signal: SignalSpec) -> AdapterTokenizer:
    """The tokenizer, as jobs build it."""
    located = config.located("eval")
    return AdapterTokenizer(located, signal, describe(located, signal, "eval").grids)


@torch.no_grad()
def agree(tokenizer: AdapterTokenizer, layers: tuple[nn.Module, nn.Module], signal: SignalSpec) -> None:
    """The tokenizer does what the layers do, in the declared range and normalised as declared."""
    x = torch.rand(4, 3, *signal.shape) * 2 - 1
    latents = tokenizer.encode(x)
    raw = layers[0]((x + 1) / 2)
    torch.testing.assert_close(latents.values, (raw - 0.5) * 2)
    torch.testing.assert_close(tokenizer.decode(latents), layers[1](raw) * 2 - 1)
    assert {finding.verdict for finding in check_contract(tokenizer, x)[0]} <= {"passed", "marked"}


def test_torchscript_is_code_and_has_to_be_trusted(
    tmp_path: Path, layers: tuple[nn.Module, nn.Module], make_signal: MakeSignal
) -> None:
    for name, layer in zip(("enc.jit", "dec.jit"), (TupleOf(layers[0]), layers[1]), strict=True):
        torch.jit.script(layer).save(tmp_path / name)
    (tmp_path / "my.toml").write_text(SPEC)
    where: dict[str, Any] = {"path": f"{tmp_path}/enc.jit,{tmp_path}/dec.jit", "spec": str(tmp_path / "my.toml")}
    with pytest.raises(UserError, match=r"a TorchScript file is code, which runs when it is used; .*--trust-pickle"):
        TorchScriptConfig(**where).located("eval")
    signal = make_signal("image", (8, 8))
    agree(load(TorchScriptConfig(**where, trust_pickle=True), signal), layers, signal)


def test_indices_that_count_from_1(tmp_path: Path) -> None:
    """Of a tuple the indices are taken; taken for indices from 0, the highest is one that no codebook has."""
    for name, module in (("enc.jit", IndicesAndCodes()), ("dec.jit", FromIndices())):
        torch.jit.script(module).save(tmp_path / name)
    signal = SignalSpec(modality=Modality.IMAGE, channels=1, shape=(4, 4))
    table = {"modality": "image", "channels": 1, "codebook_sizes": [16]}
    where: dict[str, Any] = {"path": f"{tmp_path}/enc.jit,{tmp_path}/dec.jit", "trust_pickle": True}
    x = torch.linspace(-1, 1, 64).view(4, 1, 4, 4)
    wrong = load(TorchScriptConfig(**where, spec=table), signal)
    (error,) = failures(check_contract(wrong, x)[0], "error")
    assert error.endswith("and its codebook has 16; do they count from 1? spec.first_code = 1")
    tokenizer = load(TorchScriptConfig(**where, spec={**table, "first_code": 1}), signal)
    codes = tokenizer.encode(x).codes
    assert codes is not None
    assert (int(codes.min()), int(codes.max()), codes.shape) == (0, 15, (4, 1, 4, 4))
    assert float((tokenizer.decode(tokenizer.encode(x)) - x).abs().max()) <= 1 / 15 + 1e-6
    assert failures(check_contract(tokenizer, x)[0], "error") == []


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True])
def test_onnx(tmp_path: Path, layers: tuple[nn.Module, nn.Module], make_signal: MakeSignal, dynamic: bool) -> None:
    """Also graphs that were exported for a batch of one."""
    example = torch.zeros(2 if dynamic else 1, 3, 8, 8)
    shapes: Any = ({0: torch.export.Dim("batch")},) if dynamic else None
    for name, layer, tensor in zip(("enc.onnx", "dec.onnx"), layers, (example, layers[0](example)), strict=True):
        torch.onnx.export(layer, (tensor.detach(),), tmp_path / name, dynamo=True, dynamic_shapes=shapes, verbose=False)
    (tmp_path / "my.toml").write_text(SPEC)
    config = ONNXConfig(path=f"{tmp_path}/enc.onnx,{tmp_path}/dec.onnx", spec=str(tmp_path / "my.toml"))
    signal = make_signal("image", (8, 8))
    tokenizer = load(config, signal)
    agree(tokenizer, layers, signal)
    assert tokenizer.spec.tsr == 12
    assert sorted(config.located("eval").files) == ["decoder", "encoder"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("enc.onnx", "expected ENCODER,DECODER, two files with a comma between, got 'enc.onnx'"),
        ("enc.onnx,dec.onnx", "eval.path: no such file: enc.onnx"),
    ],
)
def test_two_files_are_asked_for(path: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        ONNXConfig(path=path).located("eval")
    assert message in str(error.value)
