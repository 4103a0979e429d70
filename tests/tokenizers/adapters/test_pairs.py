"""Encoders and decoders exported to files: TorchScript and ONNX, whose facts a TOML file declares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentbench.results.errors import UserError
from latentbench.tasks.contract import check_contract
from latentbench.tokenizers.adapters.describe import describe
from latentbench.tokenizers.adapters.pair_config import ONNXConfig, PairConfig, TorchScriptConfig
from latentbench.tokenizers.adapters.tokenizer import AdapterTokenizer
from latentbench.tokenizers.spec import SignalSpec

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
