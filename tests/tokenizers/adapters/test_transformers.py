"""Audio codecs of transformers: each at a stated rate, from a folder, with its traps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.contract import check_contract
from latentbench.tokenizers.adapters.describe import describe
from latentbench.tokenizers.adapters.tokenizer import AdapterTokenizer
from latentbench.tokenizers.adapters.transformers_config import TransformersConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import Modality, SignalSpec

ENCODEC = {
    "sampling_rate": 8000,
    "target_bandwidths": [2.0, 4.0, 8.0],
    "num_filters": 4,
    "hidden_size": 8,
    "codebook_size": 32,
    "codebook_dim": 8,
    "upsampling_ratios": [4, 5],
    "num_residual_layers": 1,
    "num_lstm_layers": 1,
}
CHUNKED = {"audio_channels": 2, "normalize": True, "chunk_length_s": 0.05, "overlap": 0.1, "use_causal_conv": False}
DAC = {
    "encoder_hidden_size": 4,
    "downsampling_ratios": [2, 5],
    "decoder_hidden_size": 16,
    "upsampling_ratios": [5, 2],
    "n_codebooks": 3,
    "codebook_size": 32,
    "codebook_dim": 4,
    "sampling_rate": 8000,
}
MIMI = {
    "sampling_rate": 8000,
    "hidden_size": 16,
    "num_filters": 4,
    "upsampling_ratios": [4, 5],
    "codebook_size": 32,
    "codebook_dim": 8,
    "vector_quantization_hidden_dimension": 8,
    "num_quantizers": 4,
    "num_hidden_layers": 1,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "upsample_groups": 16,
    "frame_rate": 200,
    "sliding_window": 8,
}

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    import transformers

    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(before)


def tiny(name: str) -> Any:
    """A small model with random weights, codebooks included."""
    import transformers as t

    torch.manual_seed(0)
    configs: dict[str, Callable[[], Any]] = {
        "encodec": lambda: t.EncodecModel(t.EncodecConfig(**ENCODEC)),
        "chunked": lambda: t.EncodecModel(t.EncodecConfig(**ENCODEC, **CHUNKED, norm_type="time_group_norm")),
        "dac": lambda: t.DacModel(t.DacConfig(**DAC)),
        "mimi": lambda: t.MimiModel(t.MimiConfig(**MIMI)),
        "xcodec": lambda: t.XcodecModel(_xcodec()),
    }
    model = configs[name]()
    for key, tensor in model.state_dict().items():
        if key.endswith(("embed", "embed_sum")):
            tensor.normal_()
    return model.eval()


def _xcodec() -> Any:
    import transformers as t

    ratios = [8, 5, 4, 2]
    acoustic = t.DacConfig(
        **{**DAC, "downsampling_ratios": ratios, "upsampling_ratios": ratios, "sampling_rate": 16000, "hidden_size": 16}
    )
    semantic = t.HubertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    return t.XcodecConfig(
        acoustic_model_config=acoustic,
        semantic_model_config=semantic,
        target_bandwidths=[0.5, 1.0],
        codebook_size=32,
        codebook_dim=32,
        sample_rate=16000,
    )


def sound(samples: int, *, channels: int = 1, rate: float = 8000.0) -> SignalSpec:
    """A sound's shape."""
    return SignalSpec(modality=Modality.WAVEFORM, channels=channels, shape=(samples,), rate=rate)


def real(signal: SignalSpec, count: int = 2) -> Tensor:
    """Noise of half the range."""
    return torch.rand(count, signal.channels, *signal.shape, generator=torch.Generator().manual_seed(1)) - 0.5


def load(name: str, folder: Path, signal: SignalSpec, **options: Any) -> tuple[Any, AdapterTokenizer]:
    """The model, and the tokenizer of the folder that it was saved to."""
    model = tiny(name)
    model.save_pretrained(folder / name)
    config = TransformersConfig(path=str(folder / name), **options).located("eval")
    return model, AdapterTokenizer(config, signal, describe(config, signal, "eval").grids)


@pytest.mark.slow
@torch.no_grad()
def test_encodec_needs_a_bandwidth_and_has_the_codes_of_it(tmp_path: Path) -> None:
    """Without one, the library takes the smallest and the original all: papers take neither."""
    signal = sound(810)
    with pytest.raises(UserError, match=r"bandwidth: missing; EncodecModel has 2, 4, 8 kbit/s"):
        load("encodec", tmp_path, signal)
    with pytest.raises(UserError, match=r"bandwidth: EncodecModel has 2, 4, 8 kbit/s, got 6"):
        load("encodec", tmp_path, signal, bandwidth=6.0)
    for bandwidth, heads in ((2.0, 1), (4.0, 2), (8.0, 4)):
        model, tokenizer = load("encodec", tmp_path, signal, bandwidth=bandwidth)
        assert (tokenizer.spec.grid.heads, tokenizer.spec.grid.shape) == (heads, (41,))
        assert tokenizer.spec.bits_per_sample == 41 * heads * 5
        assert tokenizer.declaration.knob == f"bandwidth = {bandwidth:g} kbit/s"
        x = real(signal)
        latents = tokenizer.encode(x)
        padded = torch.nn.functional.pad(x, (0, 10))
        expected = model.encode(padded, bandwidth=bandwidth)
        assert torch.equal(latents.codes, expected.audio_codes[0])  # type: ignore[arg-type]
        decoded = model.decode(expected.audio_codes, expected.audio_scales).audio_values[..., :810]
        torch.testing.assert_close(tokenizer.decode(latents), decoded)
        torch.testing.assert_close(tokenizer.decode(Latents(values=latents.values)), decoded)


@torch.no_grad()
def test_the_chunks_of_encodec_48_khz_have_a_loudness_each(tmp_path: Path) -> None:
    signal = sound(810, channels=2)
    model, tokenizer = load("chunked", tmp_path, signal, bandwidth=4.0)
    assert [(grid.shape, grid.codebook_sizes) for grid in tokenizer.spec.grids] == [((3,), (256,)), ((45,), (32, 32))]
    x = real(signal)
    latents = tokenizer.encode(x)
    padded = torch.nn.functional.pad(x, (0, 10))
    expected = model.encode(padded, bandwidth=4.0)
    whole = model.decode(
        expected.audio_codes, expected.audio_scales, last_frame_pad_length=expected.last_frame_pad_length
    ).audio_values[..., :810]
    ours = tokenizer.decode(latents)
    assert float((ours - whole).abs().max() / whole.abs().max()) < 0.023  # half a step of loudness is 2.3 %
    assert tokenizer.spec.topology == "hierarchy"


@pytest.mark.slow
@torch.no_grad()
def test_dac_obeys_n_quantizers_and_keeps_its_channel(tmp_path: Path) -> None:
    """`n_quantizers` has no effect in training mode, which nothing here leaves it in; `decode` drops an axis."""
    signal = sound(83)
    for chosen, heads in ((None, 3), (2, 2)):
        model, tokenizer = load("dac", tmp_path, signal, n_quantizers=chosen)
        assert (tokenizer.spec.grid.heads, tokenizer.spec.grid.shape) == (heads, (9,))
        tokenizer.train()
        latents = tokenizer.encode(real(signal))
        assert latents.codes is not None
        assert latents.codes.shape[1] == heads
        decoded = model.decode(audio_codes=latents.codes).audio_values
        torch.testing.assert_close(tokenizer.decode(latents)[:, 0, : decoded.shape[1]], decoded[:, :83])
        assert tokenizer.decode(latents).shape == (2, 1, 83)
        assert torch.equal(tokenizer.decode(Latents(values=latents.values)), tokenizer.decode(latents))
    with pytest.raises(UserError, match="n_quantizers: DacModel has 3, got 4"):
        load("dac", tmp_path, signal, n_quantizers=4)
    with pytest.raises(UserError, match="bandwidth: the rate of DacModel is n_quantizers"):
        load("dac", tmp_path, signal, bandwidth=6.0)


@pytest.mark.slow
@torch.no_grad()
def test_mimi_needs_n_quantizers(tmp_path: Path) -> None:
    signal = sound(810)
    with pytest.raises(UserError, match="n_quantizers: missing; MimiModel has up to 4"):
        load("mimi", tmp_path, signal)
    model, tokenizer = load("mimi", tmp_path, signal, n_quantizers=3)
    latents = tokenizer.encode(real(signal))
    assert (tokenizer.spec.grid.heads, tokenizer.spec.grid.shape) == (3, (21,))
    padded = torch.nn.functional.pad(real(signal), (0, 30))
    assert torch.equal(latents.codes, model.encode(padded, num_quantizers=3).audio_codes)  # type: ignore[arg-type]
    torch.testing.assert_close(tokenizer.decode(latents), model.decode(latents.codes).audio_values[..., :810])
    torch.testing.assert_close(tokenizer.decode(Latents(values=latents.values)), tokenizer.decode(latents))


@pytest.mark.slow
@torch.no_grad()
def test_xcodec_needs_a_bandwidth(tmp_path: Path) -> None:
    """Without one the library takes the largest: the opposite of EnCodec."""
    signal = sound(1000, rate=16000.0)
    with pytest.raises(UserError, match=r"bandwidth: missing; XcodecModel has 0.5, 1 kbit/s"):
        load("xcodec", tmp_path, signal)
    model, tokenizer = load("xcodec", tmp_path, signal, bandwidth=0.5)
    assert (tokenizer.spec.grid.heads, tokenizer.spec.grid.shape) == (2, (4,))
    latents = tokenizer.encode(real(signal))
    torch.testing.assert_close(tokenizer.decode(latents), model.decode(latents.codes).audio_values[..., :1000])
    torch.testing.assert_close(tokenizer.decode(Latents(values=latents.values)), tokenizer.decode(latents))


@pytest.mark.parametrize(
    ("name", "options", "channels"),
    [
        ("encodec", {"bandwidth": 4.0}, 1),
        ("chunked", {"bandwidth": 4.0}, 2),
        ("dac", {"n_quantizers": 2}, 1),
        ("mimi", {"n_quantizers": 2}, 1),
    ],
)
def test_the_contract_is_kept(tmp_path: Path, name: str, options: dict[str, Any], channels: int) -> None:
    signal = sound(810, channels=channels)
    _, tokenizer = load(name, tmp_path, signal, **options)
    findings, _ = check_contract(tokenizer, real(signal, 4))
    assert {finding.verdict for finding in findings} == {"passed"}
    causal = "causality" in [finding.check for finding in findings]
    assert causal is (name in ("encodec", "mimi"))


def test_weights_that_are_missing_are_not_drawn(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    load("dac", tmp_path, sound(810))
    file = tmp_path / "dac" / "model.safetensors"
    state = load_file(file)
    name = next(key for key in state if key.startswith("decoder") and key.endswith("bias"))
    del state[name]
    save_file(state, file, {"format": "pt"})
    config = TransformersConfig(path=str(tmp_path / "dac")).located("eval")
    with pytest.raises(UserError, match=f"DacModel finds no weights for {name}, which would stay random"):
        describe(config, sound(810), "eval")


def test_a_rate_of_the_data_that_is_not_the_model_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it works at 8000 Hz, not 16000: set data.sample_rate=8000"):
        load("dac", tmp_path, sound(810, rate=16000.0))


@pytest.mark.parametrize(
    ("config", "message"),
    [({"model_type": "encodek"}, "unknown codec 'encodek'; did you mean 'encodec'?"), ({}, "has no model_type")],
)
def test_other_models_are_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError) as error:
        TransformersConfig(path=str(tmp_path)).located("eval")
    assert message in str(error.value)


@pytest.mark.slow
def test_codecs_stand_on_a_board_with_a_grid_of_bandwidths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from latentbench.bench.runner import run_suite
    from latentbench.results.rows import rows

    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    for name in ("encodec", "dac"):
        tiny(name).save_pretrained(tmp_path / name)
    entries = [
        {"adapter": "transformers", "path": str(tmp_path / "encodec"), "grid": {"bandwidth": [2.0, 8.0]}},
        {"adapter": "transformers", "path": str(tmp_path / "dac")},
    ]
    data = {"modality": "waveform", "sample_rate": 8000, "seconds": 0.1, "samples": 8, "val": 8}
    quick = {"training": {"steps": 1, "batch_size": 4}, "ar": {"width": 8, "layers": 1, "attention_heads": 1}}
    suite = {"name": "codecs", "data": data, "tokenizers": entries, "features": ["encoder"], "prior": quick}
    suite |= {"encoder": {"width": 8, "training": {"steps": 1, "batch_size": 4}}, "generation": {"samples": 8}}
    suite["tasks"] = ["reconstruction", "generation"]
    outcome = run_suite(suite, out=tmp_path / "out", engine="inline", devices="cpu")
    table = rows([outcome.root])
    assert [row["status"] for row in table] == ["finished"] * 3
    assert [(row["label"], row["axes"].get("bandwidth"), row["bits_per_sample"]) for row in table] == [
        ("encodec", 2.0, 40 * 5),
        ("encodec", 8.0, 40 * 4 * 5),
        ("dac", None, 80 * 3 * 5),
    ]
    assert [row["bitrate"] for row in table] == [2000.0, 8000.0, 12000.0]
    assert all(row["contract"] == 0 and row["prior"] == "ar" for row in table)
