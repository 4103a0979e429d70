"""Codecs of the package audiocodecs, by its one API: a stand-in of it, and its own EnCodec where it is installed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tasks.contract import check_contract
from latentbench.tokenizers.adapters.audio_codecs_config import (
    AudiocodecsConfig,
)
from latentbench.tokenizers.spec import SignalSpec

from .test_audio_codecs import load, real

MakeSignal = Callable[..., SignalSpec]

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


CODEC = '''
import torch
from torch import nn

class Codec(nn.Module):
    def __init__(self, sample_rate, orig_sample_rate):
        super().__init__()
        self.sample_rate, self.orig_sample_rate = sample_rate, orig_sample_rate
    def sig_to_toks(self, sig, length=None):
        assert self.sample_rate == self.orig_sample_rate, "it would be resampled"
        return self._sig_to_toks(sig, length)
    def toks_to_sig(self, toks, length=None):
        return self._toks_to_sig(toks, length)

class Steps(Codec):
    """Each position of 8 samples by its mean in 16 steps, then by what is left of it in finer ones."""
    def __init__(self, sample_rate, num_codebooks=8, weights="", size=16):
        super().__init__(sample_rate, 8000)
        if weights == "fetched":
            import socket
            socket.create_connection(("localhost", 9))
        self.num_codebooks, self.vocab_size = num_codebooks, size
        self.gain = nn.Parameter(torch.ones(()))
    def _sig_to_toks(self, sig, length):
        left, toks = sig.unflatten(1, (-1, 8)).mean(-1), []
        for k in range(self.num_codebooks):
            step = 2 / 16 ** (k + 1)
            toks.append(((left + 16 * step / 2) / step).floor().clamp(0, 15).long())
            left = left - (toks[-1] - 7.5) * step
        return torch.stack(toks, dim=-1)
    def _toks_to_sig(self, toks, length):
        steps = 2 / 16 ** torch.arange(1.0, toks.shape[2] + 1)
        return ((toks - 7.5) * steps).sum(-1).repeat_interleave(8, dim=1)[:, :-3]

class Fixed(Steps):
    def __init__(self, sample_rate):
        super().__init__(sample_rate, 1)

class Padding(Fixed):
    """Its decoder gives some samples more than it should."""
    def _toks_to_sig(self, toks, length):
        return nn.functional.pad(super()._toks_to_sig(toks, length), (0, 6))

class BiCodec(Fixed):
    """32 codes of the whole sound come first."""
    def _sig_to_toks(self, sig, length):
        toks = super()._sig_to_toks(sig, length)
        return torch.cat([toks[:, :1].expand(-1, 32, -1), toks], dim=1)
    def _toks_to_sig(self, toks, length):
        return super()._toks_to_sig(toks[:, 32:], length)

class Global(BiCodec):
    pass

class DyCAST(Fixed):
    """Silence takes half of the positions that noise takes."""
    def _sig_to_toks(self, sig, length):
        toks = super()._sig_to_toks(sig, length)
        return toks if sig.any() else toks[:, ::2]

class Dynamic(DyCAST):
    pass

class Encodec(Codec):
    """As the package has it: EnCodec of transformers, by its name on the hub."""
    def __init__(self, sample_rate, orig_sample_rate=24000, mode="reconstruct", num_codebooks=8, use_vocos=False):
        from transformers import EncodecModel
        super().__init__(sample_rate, orig_sample_rate)
        self.bandwidth, self.vocab_size = num_codebooks * 75 / 100, 1024
        self.model = EncodecModel.from_pretrained("facebook/encodec_24khz")
    def _sig_to_toks(self, sig, length):
        return self.model.encode(sig[:, None], bandwidth=self.bandwidth).audio_codes[0].movedim(-1, -2)
    def _toks_to_sig(self, toks, length):
        return self.model.decode(toks[None].movedim(-1, -2), [None]).audio_values[:, 0]

class Uneven(Fixed):
    def _toks_to_sig(self, toks, length):
        return super()._toks_to_sig(toks, length)[:, : 8 * toks.shape[1] - toks.shape[1] // 7]
'''


@pytest.fixture
def collection(install: Callable[..., Path]) -> Path:
    """A package with the API of audiocodecs, as its interface states it."""
    names = ", ".join(re.findall(r"^class (\w+)", CODEC, re.MULTILINE))
    init = f"from audiocodecs.steps import {names}\n"
    return install("audiocodecs", "audiocodecs", {"__init__.py": init, "steps.py": CODEC})


@torch.no_grad()
def test_a_codec_of_the_collection_is_called_at_its_own_rate(collection: Path, make_signal: MakeSignal) -> None:
    signal = make_signal("waveform", (403,))
    tokenizer, x = load(AudiocodecsConfig(path="Steps", n_quantizers=2), signal), real(signal, 4)
    assert (tokenizer.spec.grid.shape, tokenizer.spec.grid.codebook_sizes) == ((51,), (16, 16))
    assert tokenizer.declaration.knob == "n_quantizers = 2"
    held = torch.nn.functional.pad(x, (0, 5)).unflatten(2, (-1, 8)).mean(-1).repeat_interleave(8, -1)[..., :403]
    decoded = tokenizer.decode(tokenizer.encode(x))
    assert float((decoded - held)[..., :400].abs().max()) <= 1 / 256 + 1e-6
    findings, _ = check_contract(tokenizer, x)
    assert {finding.verdict for finding in findings} == {"passed"}
    assert load(AudiocodecsConfig(path="Fixed"), signal).spec.grid.heads == 1
    small = load(AudiocodecsConfig(path="Steps", n_quantizers=2, options={"size": 32}), signal)
    assert small.spec.bits_per_sample == 51 * 2 * 5
    assert load(AudiocodecsConfig(path="Padding"), signal).declaration.multiple == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "Step"}, "unknown codec 'Step'; did you mean 'Steps'?"),
        ({"path": "Steps"}, "n_quantizers: missing; Steps has a choice of it (its own default is 8)"),
        ({"path": "Fixed", "n_quantizers": 2}, "n_quantizers: Fixed has no choice of it"),
        ({"path": "BiCodec"}, "path: BiCodec has no grid of codes: the first 32 of its codes are of the whole"),
        ({"path": "DyCAST"}, "path: DyCAST has no grid of codes: the sound decides its number of positions"),
        ({"path": "Global"}, "Global: 32 of its codes are of the whole sound, with no place in time"),
        ({"path": "Dynamic"}, "Dynamic: the sound decides its number of positions, and grids are fixed"),
        ({"path": "Uneven"}, "Uneven: one and two seconds have 1000 and 2000 positions, 7858 and 15715 samples: no"),
        ({"path": "Steps", "options": {"num_codebooks": 2}}, "options.num_codebooks: say it by n_quantizers"),
        (
            {"path": "Steps", "n_quantizers": 1, "options": {"weights": "fetched"}},
            "Steps can't be constructed without the network; --allow-download fetches its weights, once",
        ),
    ],
)
def test_what_a_codec_of_the_collection_needs_is_said(
    collection: Path, make_signal: MakeSignal, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        load(AudiocodecsConfig(**options), make_signal("waveform", (403,)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_download_is_a_process_of_its_own(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(collection.parent))
    config = AudiocodecsConfig(path="Steps", n_quantizers=1, allow_download=True).located("eval")
    assert not config.allow_download
    assert config.files == {"module": str(collection / "steps.py")}
    with pytest.raises(UserError, match=r"audiocodecs can't fetch it: ConnectionRefusedError"):
        AudiocodecsConfig(path="Steps", n_quantizers=1, options={"weights": "fetched"}, allow_download=True).located(
            "eval"
        )


@torch.no_grad()
@pytest.mark.parametrize("source", ["package", "stand-in"])
def test_the_collection_s_encodec_is_that_of_transformers(
    source: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_signal: MakeSignal,
) -> None:
    """By the cache of the hub, where a download would have put it.

    With the package, from GitHub, this shows that the stand-in's interface is the package's.
    """
    if source == "stand-in":
        request.getfixturevalue("collection")
    pytest.importorskip("audiocodecs")
    import transformers
    from huggingface_hub import constants

    folder = tmp_path / "models--facebook--encodec_24khz"
    snapshot = folder / "snapshots" / ("0" * 40)
    narrow = {"num_filters": 2, "hidden_size": 8, "codebook_dim": 8, "num_lstm_layers": 1}
    model = transformers.EncodecModel(transformers.EncodecConfig(**narrow)).eval()
    for name, tensor in model.state_dict().items():
        if name.endswith("embed"):
            tensor.normal_()
    signal = make_signal("waveform", (2401,), rate=24000.0)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="Encodec can't be constructed without the network"):
        load(AudiocodecsConfig(path="Encodec", n_quantizers=8), signal)
    model.save_pretrained(snapshot)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    tokenizer, x = load(AudiocodecsConfig(path="Encodec", n_quantizers=8), signal), real(signal, 4)
    assert (tokenizer.spec.grid.heads, tokenizer.spec.grid.shape) == (8, (8,))
    latents = tokenizer.encode(x)
    expected = model.encode(torch.nn.functional.pad(x, (0, 159)), bandwidth=6.0)
    assert torch.equal(latents.codes, expected.audio_codes[0])  # type: ignore[arg-type]
    decoded = model.decode(expected.audio_codes, [None]).audio_values[..., :2401]
    torch.testing.assert_close(tokenizer.decode(latents), decoded)
