"""Audio codecs by their own packages: real classes with few channels and random weights, each with its traps."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.contract import check_contract, failures
from latentbench.tokenizers.adapters.audio_codecs_config import (
    DACConfig,
    EnCodecConfig,
    SNACConfig,
)
from latentbench.tokenizers.adapters.chunked import Chunks
from latentbench.tokenizers.adapters.config import AdapterConfig
from latentbench.tokenizers.adapters.describe import describe
from latentbench.tokenizers.adapters.tokenizer import AdapterTokenizer
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import SignalSpec

MakeSignal = Callable[..., SignalSpec]
SNAC = {
    "sampling_rate": 8000,
    "encoder_dim": 4,
    "encoder_rates": [2, 5],
    "decoder_dim": 16,
    "decoder_rates": [5, 2],
    "codebook_size": 32,
    "codebook_dim": 4,
    "vq_strides": [4, 2, 1],
    "attn_window_size": None,
}
DAC = {
    "encoder_dim": 4,
    "encoder_rates": [2, 5],
    "decoder_dim": 16,
    "decoder_rates": [5, 2],
    "n_codebooks": 3,
    "codebook_size": 32,
    "codebook_dim": 4,
    "sample_rate": 8000,
}

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def real(signal: SignalSpec, count: int = 2) -> Tensor:
    """Noise of half the range."""
    return torch.rand(count, signal.channels, *signal.shape, generator=torch.Generator().manual_seed(1)) - 0.5


def load(config: AdapterConfig, signal: SignalSpec) -> AdapterTokenizer:
    """The tokenizer as jobs build it."""
    located = config.located("eval")
    return AdapterTokenizer(located, signal, describe(located, signal, "eval").grids)


@pytest.fixture
def snac_folder(tmp_path: Path) -> Path:
    """A small SNAC as the hub has it: config.json and pytorch_model.bin."""
    snac = pytest.importorskip("snac")
    model = snac.SNAC(**SNAC)
    (tmp_path / "config.json").write_text(json.dumps(SNAC))
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    return tmp_path


@pytest.mark.slow
@torch.no_grad()
def test_snac_has_codes_at_three_rates_and_seeded_noise(snac_folder: Path, make_signal: MakeSignal) -> None:
    import snac

    signal = make_signal("waveform", (403,))
    with pytest.raises(UserError, match=r"pytorch_model.bin is a pickle.*--trust-pickle"):
        SNACConfig(path=str(snac_folder)).located("eval")
    tokenizer = load(SNACConfig(path=str(snac_folder), trust_pickle=True), signal)
    assert [(grid.shape, grid.codebook_sizes) for grid in tokenizer.spec.grids] == [((n,), (32,)) for n in (11, 22, 44)]
    assert tokenizer.spec.bits_per_sample == 77 * 5
    assert tokenizer.declaration.knob == "3 levels, all of them; the decoder's noise is seeded"
    model, x = snac.SNAC.from_pretrained(str(snac_folder)), real(signal, 4)
    latents = tokenizer.encode(x)
    for level, codes in zip(latents.levels, model.encode(x), strict=True):
        assert torch.equal(level.codes, codes.unsqueeze(1))  # type: ignore[arg-type]
    findings, _ = check_contract(tokenizer, x)
    assert failures(findings, "marked") == []
    assert {finding.verdict for finding in findings} == {"passed"}
    codes = model.encode(x)
    assert not torch.allclose(model.decode(codes), model.decode(codes))  # the package draws anew each time
    values = Latents(values=latents.values, rest=tuple(Latents(values=level.values) for level in latents.rest))
    torch.testing.assert_close(tokenizer.decode(values), tokenizer.decode(latents))


@pytest.mark.slow
@torch.no_grad()
def test_snac_without_noise_is_the_decoder_without_its_noise_blocks(snac_folder: Path, make_signal: MakeSignal) -> None:
    import snac

    signal = make_signal("waveform", (400,))
    trusted = {"path": str(snac_folder), "trust_pickle": True}
    off, seeded = (load(SNACConfig(**trusted, noise=noise), signal) for noise in ("off", "seeded"))  # type: ignore[arg-type]
    model = snac.SNAC.from_pretrained(str(snac_folder))
    for block in model.modules():
        if isinstance(block, snac.layers.NoiseBlock):
            block.forward = lambda x: x
    latents = off.encode(real(signal))
    expected = model.decode([level.codes.squeeze(1) for level in latents.levels if level.codes is not None])[..., :400]
    torch.testing.assert_close(off.decode(latents), expected)
    assert not torch.allclose(seeded.decode(latents), expected, atol=1e-4)
    assert off.declaration.knob.endswith("the decoder's noise is off")


@pytest.mark.slow
def test_snac_s_weights_may_be_safetensors(snac_folder: Path, make_signal: MakeSignal) -> None:
    signal = make_signal("waveform", (400,))
    before = load(SNACConfig(path=str(snac_folder), trust_pickle=True), signal).encode(real(signal))
    file = snac_folder / "pytorch_model.bin"
    save_file(torch.load(file, weights_only=True), snac_folder / "model.safetensors")
    file.unlink()
    after = load(SNACConfig(path=str(snac_folder)), signal).encode(real(signal))
    assert torch.equal(before.codes, after.codes)  # type: ignore[arg-type]


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[bool], tuple[Any, Path]]:
    """A function that saves a narrow EnCodec of Meta's package as the package's own files are, for mono or stereo."""
    encodec = pytest.importorskip("encodec")
    modules = encodec.model.m
    narrow = {"n_filters": 2, "dimension": 8}
    monkeypatch.setattr(modules, "SEANetEncoder", partial(modules.SEANetEncoder, **narrow))
    monkeypatch.setattr(modules, "SEANetDecoder", partial(modules.SEANetDecoder, **narrow))

    def save(stereo: bool) -> tuple[Any, Path]:
        cls = encodec.EncodecModel
        model = (cls.encodec_model_48khz if stereo else cls.encodec_model_24khz)(pretrained=False)
        for name, tensor in model.state_dict().items():
            if name.endswith("embed"):
                tensor.normal_()
        path = tmp_path / f"encodec_{48 if stereo else 24}khz.th"
        torch.save(model.state_dict(), path)
        return model, path

    return save


@pytest.mark.slow
@torch.no_grad()
def test_encodec_of_meta_s_package_needs_a_bandwidth(meta: Any, make_signal: MakeSignal) -> None:
    """Without one it takes all 32 codebooks."""
    signal = make_signal("waveform", (2401,), rate=24000.0)
    model, path = meta(False)
    with pytest.raises(UserError, match=r"encodec_24khz.th is a pickle"):
        load(EnCodecConfig(path=str(path), bandwidth=6.0), signal)
    trusted = {"path": str(path), "trust_pickle": True}
    with pytest.raises(UserError, match=r"bandwidth: missing; EncodecModel 24 kHz has 1.5, 3, 6, 12, 24 kbit/s"):
        load(EnCodecConfig(**trusted), signal)
    with pytest.raises(UserError, match=r"has 1.5, 3, 6, 12, 24 kbit/s, got 5"):
        load(EnCodecConfig(**trusted, bandwidth=5.0), signal)
    tokenizer, x = load(EnCodecConfig(**trusted, bandwidth=3.0), signal), real(signal, 4)
    assert (tokenizer.spec.grid.heads, tokenizer.spec.grid.shape) == (4, (8,))
    assert tokenizer.declaration.knob == "bandwidth = 3 kbit/s"
    padded = torch.nn.functional.pad(x, (0, 159))
    assert model.encode(padded)[0][0].shape[1] == 32
    model.set_target_bandwidth(3.0)
    latents, expected = tokenizer.encode(x), model.encode(padded)
    assert torch.equal(latents.codes, expected[0][0])  # type: ignore[arg-type]
    torch.testing.assert_close(tokenizer.decode(latents), model.decode(expected)[..., :2401])
    torch.testing.assert_close(tokenizer.decode(Latents(values=latents.values)), tokenizer.decode(latents))
    findings, _ = check_contract(tokenizer, x)
    assert {finding.verdict for finding in findings} == {"passed"}
    assert "causality" in [finding.check for finding in findings]


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("samples", [48000 + 9000, 47520 + 160])
def test_encodec_of_48_khz_has_a_loudness_per_chunk(meta: Any, make_signal: MakeSignal, samples: int) -> None:
    """Also of a sound that ends within the overlap of its last two chunks, of which neither is whole."""
    model, path = meta(True)
    mono = make_signal("waveform", (samples,), rate=48000.0)
    config = EnCodecConfig(path=str(path), trust_pickle=True, bandwidth=6.0)
    with pytest.raises(UserError, match=r"it takes 2 channels, not 1: set data\.channels"):
        load(config, mono)
    signal = SignalSpec(modality=mono.modality, channels=2, shape=mono.shape, rate=mono.rate)
    tokenizer, x = load(config, signal), real(signal, 1)
    model.eval().set_target_bandwidth(6.0)
    padded = torch.nn.functional.pad(x, (0, -samples % 320))
    expected = model.encode(padded)
    latents = tokenizer.encode(x)
    assert [grid.shape for grid in tokenizer.spec.grids] == [(2,), (sum(c.shape[-1] for c, _ in expected),)]
    assert torch.equal(latents.rest[0].codes, torch.cat([codes for codes, _ in expected], dim=-1))  # type: ignore[arg-type]
    decoded = model.decode(expected)[..., :samples]
    assert float((tokenizer.decode(latents) - decoded).abs().max() / decoded.abs().max()) < 0.03  # half a step: 2.3 %


def test_positions_of_chunks_add_up() -> None:
    chunks = Chunks(length=48000, stride=47520, hop=320)
    assert chunks.positions(30, 1) == [30]
    assert chunks.positions(150 + 29, 2) == [150, 29]
    assert chunks.positions(149 + 1, 2) == [149, 1]
    assert chunks.positions(300 + 150 + 150, 4) == [150, 150, 150, 150]


DAC_STAND_IN = '''
"""The parts of descript-audio-codec 1.0.0 that the adapter calls, with its signatures; one linear map each way."""
import math
import torch
from torch import nn

class Codebook(nn.Module):
    def __init__(self, size, dim, latent_dim):
        super().__init__()
        self.in_proj, self.out_proj = nn.Conv1d(latent_dim, dim, 1), nn.Conv1d(dim, latent_dim, 1)
        self.codebook = nn.Embedding(size, dim)
    def forward(self, z):
        far = torch.cdist(self.in_proj(z).mT.contiguous(), self.codebook.weight.expand(len(z), -1, -1))
        codes = far.argmin(-1)
        return self.value(codes), codes
    def value(self, codes):
        return self.out_proj(self.codebook(codes).mT)

class Residual(nn.Module):
    def __init__(self, latent_dim, n_codebooks, size, dim):
        super().__init__()
        self.n_codebooks = n_codebooks
        self.quantizers = nn.ModuleList(Codebook(size, dim, latent_dim) for _ in range(n_codebooks))
    def forward(self, z, n_quantizers=None):
        if n_quantizers is None or self.training:  # as the package: in training mode it ignores n_quantizers
            n_quantizers = self.n_codebooks
        total, codes = 0, []
        for quantizer in self.quantizers[:n_quantizers]:
            value, chosen = quantizer(z - total)
            total, codes = total + value, [*codes, chosen]
        zero = z.new_zeros(())
        return total, torch.stack(codes, dim=1), z, zero, zero
    def from_codes(self, codes):
        values = [self.quantizers[k].value(codes[:, k]) for k in range(codes.shape[1])]
        return sum(values), torch.cat(values, dim=1), codes

class DAC(nn.Module):
    def __init__(self, encoder_dim=64, encoder_rates=(2, 4, 8, 8), latent_dim=None, decoder_dim=1536,
                 decoder_rates=(8, 8, 4, 2), n_codebooks=9, codebook_size=1024, codebook_dim=8,
                 quantizer_dropout=False, sample_rate=44100):
        super().__init__()
        self.kwargs = {"encoder_dim": encoder_dim, "encoder_rates": encoder_rates, "latent_dim": latent_dim,
                       "decoder_dim": decoder_dim, "decoder_rates": decoder_rates, "n_codebooks": n_codebooks,
                       "codebook_size": codebook_size, "codebook_dim": codebook_dim, "sample_rate": sample_rate}
        latent_dim = latent_dim or encoder_dim * 2 ** len(encoder_rates)
        self.hop_length, self.sample_rate = math.prod(encoder_rates), sample_rate
        self.n_codebooks, self.codebook_size = n_codebooks, codebook_size
        self.encoder = nn.Conv1d(1, latent_dim, self.hop_length, self.hop_length)
        self.decoder = nn.ConvTranspose1d(latent_dim, 1, self.hop_length, self.hop_length)
        self.quantizer = Residual(latent_dim, n_codebooks, codebook_size, codebook_dim)
    def preprocess(self, audio_data, sample_rate):
        assert sample_rate in (None, self.sample_rate)
        return nn.functional.pad(audio_data, (0, -audio_data.shape[-1] % self.hop_length))
    def encode(self, audio_data, n_quantizers=None):
        return self.quantizer(self.encoder(audio_data), n_quantizers)
    def decode(self, z):
        return self.decoder(z)
    def save(self, path, metadata=None, package=True):
        assert not package
        torch.save({"state_dict": self.state_dict(), "metadata": {**(metadata or {}), "kwargs": self.kwargs}}, path)
'''


@pytest.fixture(params=["package", "stand-in"])
def dac_file(request: pytest.FixtureRequest, tmp_path: Path, install: Any) -> tuple[Any, Path]:
    """A small DAC and the file that it saves: of the package where it is installed, and of a stand-in anywhere.

    The package wants another protobuf than onnx, so few environments have it. The stand-in assumes of it what its
    docstring and the first test below say; with the package the same tests show whether that holds.
    """
    if request.param == "stand-in":
        install("dac", "descript-audio-codec", {"__init__.py": DAC_STAND_IN})
    dac = pytest.importorskip("dac")
    model = dac.DAC(**DAC)
    for name, tensor in model.state_dict().items():
        if name.endswith("codebook.weight"):
            tensor.normal_()
    model.save(tmp_path / "weights.pth", package=False)
    return model.eval(), tmp_path / "weights.pth"


@torch.no_grad()
def test_dac_has_the_codes_that_are_asked_for_in_any_mode(dac_file: Any, make_signal: MakeSignal) -> None:
    """In training mode the package ignores n_quantizers."""
    signal = make_signal("waveform", (403,))
    model, path = dac_file
    with pytest.raises(UserError, match="n_quantizers: DAC has 1 to 3, got 4"):
        load(DACConfig(path=str(path), trust_pickle=True, n_quantizers=4), signal)
    for chosen, heads in ((None, 3), (2, 2)):
        tokenizer, x = load(DACConfig(path=str(path), trust_pickle=True, n_quantizers=chosen), signal), real(signal, 4)
        tokenizer.train()
        latents = tokenizer.encode(x)
        assert (tokenizer.spec.grid.heads, tokenizer.spec.grid.shape) == (heads, (41,))
        padded = model.preprocess(x, 8000)
        z, codes, *_ = model.encode(padded, n_quantizers=chosen)
        assert torch.equal(latents.codes, codes)  # type: ignore[arg-type]
        decoded = model.decode(z)
        torch.testing.assert_close(tokenizer.decode(latents)[..., : decoded.shape[-1]], decoded[..., :403])
        torch.testing.assert_close(tokenizer.decode(Latents(values=latents.values)), tokenizer.decode(latents))
        findings, _ = check_contract(tokenizer, x)
        assert {finding.verdict for finding in findings} == {"passed"}
    model.train()
    assert model.encode(padded, n_quantizers=2)[1].shape[1] == 3


def test_dac_s_weights_may_be_a_folder_of_safetensors(dac_file: Any, tmp_path: Path, make_signal: MakeSignal) -> None:
    signal = make_signal("waveform", (400,))
    model, path = dac_file
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(DAC))
    save_file(model.state_dict(), folder / "model.safetensors")
    one = load(DACConfig(path=str(path), trust_pickle=True), signal)
    other = load(DACConfig(path=str(folder)), signal)
    assert torch.equal(one.encode(real(signal)).codes, other.encode(real(signal)).codes)  # type: ignore[arg-type]
    torch.save({"state_dict": model.state_dict()}, tmp_path / "bare.pth")
    with pytest.raises(UserError, match=r"bare.pth: holds no metadata.kwargs .*KeyError"):
        load(DACConfig(path=str(tmp_path / "bare.pth"), trust_pickle=True), signal)
