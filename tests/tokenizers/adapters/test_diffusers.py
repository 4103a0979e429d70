"""Autoencoders of diffusers: every class loads from a folder, and its traps are not fallen into."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks.metrics.posterior import kl_bits_by_channel
from latentbench.tokenizers.adapters.describe import describe
from latentbench.tokenizers.adapters.diffusers_config import CLASSES, DiffusersConfig
from latentbench.tokenizers.adapters.tokenizer import AdapterTokenizer
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import SignalSpec

MakeSignal = Callable[..., SignalSpec]
Save = Callable[..., tuple[Any, Path]]

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("probed_for_real"),
]


def load(folder: Path, signal: SignalSpec, **options: Any) -> AdapterTokenizer:
    """The tokenizer in a folder, as jobs build it."""
    config = DiffusersConfig(path=str(folder), **options).located("eval")
    return AdapterTokenizer(config, signal, describe(config, signal, "eval").grids)


def real(signal: SignalSpec, count: int = 2) -> Tensor:
    """Signals in [-1, 1]."""
    return torch.rand(count, signal.channels, *signal.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_every_class_has_a_tiny_model(tiny_diffusers: Mapping[str, Any]) -> None:
    assert sorted(tiny_diffusers) == sorted(CLASSES)


@pytest.mark.slow
@torch.no_grad()
def test_scale_and_shift_are_applied_as_the_pipelines_do(save: Save, make_signal: MakeSignal) -> None:
    signal = make_signal("image", (16, 16))
    model, folder = save("AutoencoderKL")
    tokenizer, x = load(folder, signal), real(signal)
    latents, dist = tokenizer.encode(x), model.encode(x).latent_dist
    torch.testing.assert_close(latents.values, (dist.mean - 0.25) * 0.5)
    torch.testing.assert_close(latents.scale, dist.std * 0.5)
    torch.testing.assert_close(tokenizer.decode(latents), model.decode(dist.mode()).sample)
    assert (tokenizer.spec.tsr, tokenizer.spec.bits_per_sample) == (3, 32 * 256)
    raw = load(folder, signal, normaliser="none")
    torch.testing.assert_close(raw.encode(x).values, dist.mean)


@pytest.mark.slow
@torch.no_grad()
def test_flux2_is_scored_on_what_its_prior_sees(save: Save, make_signal: MakeSignal) -> None:
    """128 (here 16) channels at twice the downsampling, normalised by the model's batch norm: the pipeline's steps."""
    import diffusers

    signal = make_signal("image", (16, 16))
    model, folder = save("AutoencoderKLFlux2")
    torch.nn.init.uniform_(model.bn.running_mean)
    torch.nn.init.uniform_(model.bn.running_var, 0.5, 2.0)
    model.save_pretrained(folder)
    tokenizer, x = load(folder, signal), real(signal)
    latents = tokenizer.encode(x)
    patchified = diffusers.Flux2Pipeline._patchify_latents(model.encode(x).latent_dist.mode())
    mean, var = (row.view(1, -1, 1, 1) for row in (model.bn.running_mean, model.bn.running_var))
    torch.testing.assert_close(latents.values, (patchified - mean) / torch.sqrt(var + model.config.batch_norm_eps))
    torch.testing.assert_close(tokenizer.decode(latents), model.decode(model.encode(x).latent_dist.mode()).sample)
    with pytest.raises(UserError, match="height 18 is no multiple of 4"):
        load(folder, make_signal("image", (18, 16)))


@pytest.mark.slow
@torch.no_grad()
def test_the_codes_of_vqmodel_are_what_is_decoded(save: Save, make_signal: MakeSignal) -> None:
    """`encode` of VQModel gives what is before the quantiser: measured through that, it would look continuous."""
    signal = make_signal("image", (16, 16))
    model, folder = save("VQModel")
    tokenizer, x = load(folder, signal), real(signal)
    latents = tokenizer.encode(x)
    assert latents.codes is not None
    assert latents.values is not None
    book = model.quantize.embedding.weight
    torch.testing.assert_close(latents.values, book[latents.codes[:, 0]].movedim(-1, 1))
    before = model.encode(x).latents
    assert float((latents.values - before).abs().max()) > 0.01
    nearest = (before.movedim(1, -1).unsqueeze(-2) - book).square().sum(-1).argmin(-1)
    assert float((nearest == latents.codes[:, 0]).double().mean()) > 0.99
    expected = model.decode(before).sample  # which quantises
    torch.testing.assert_close(tokenizer.decode(Latents(codes=latents.codes)), expected)
    torch.testing.assert_close(tokenizer.decode(Latents(values=latents.values)), expected)
    assert tokenizer.spec.bits_per_sample == 64 * 5


@pytest.mark.slow
@torch.no_grad()
def test_taesd_is_not_measured_through_its_8_bit_forward(save: Save, make_signal: MakeSignal) -> None:
    signal = make_signal("image", (16, 16))
    model, folder = save("AutoencoderTiny")
    tokenizer, x = load(folder, signal), real(signal)
    ours = tokenizer.decode(tokenizer.encode(x))
    torch.testing.assert_close(ours, model.decode(model.encode(x).latents).sample)
    assert not torch.allclose(ours, model(x).sample, atol=1e-5)


@torch.no_grad()
def test_the_consistency_decoder_gives_a_sample_one_picture(save: Save, make_signal: MakeSignal) -> None:
    signal = make_signal("image", (16, 16))
    _, folder = save("ConsistencyDecoderVAE")
    tokenizer, x = load(folder, signal), real(signal, 3)
    latents = tokenizer.encode(x)
    assert latents.values is not None
    torch.manual_seed(5)
    decoded = tokenizer.decode(latents)
    torch.testing.assert_close(tokenizer.decode(Latents(values=latents.values[2:])), decoded[2:])


@pytest.mark.slow
@torch.no_grad()
def test_kl_of_five_axes_is_summed_over_all_of_them(save: Save, make_signal: MakeSignal) -> None:
    """diffusers' own `kl()` sums three axes and leaves one of a clip's: its rate would be wrong."""
    signal = make_signal("video", (9, 16, 16))
    model, folder = save("AutoencoderKLWan")
    latents, dist = load(folder, signal, normaliser="none").encode(real(signal)), model.encode(real(signal)).latent_dist
    bits = kl_bits_by_channel(latents.values, latents.scale).sum(1)
    exact = 0.5 * (dist.mean**2 + dist.var - 1 - dist.logvar).flatten(1).sum(1) / torch.log(torch.tensor(2.0))
    torch.testing.assert_close(bits.float(), exact)
    assert dist.kl().shape != bits.shape


@pytest.mark.slow
@torch.no_grad()
def test_a_clip_of_31_frames_is_refused_and_a_picture_is_a_clip_of_one(save: Save, make_signal: MakeSignal) -> None:
    model, folder = save("AutoencoderKLWan")
    with pytest.raises(UserError, match=r"clips have 4k\+1 frames, and 31 would be cut .*; nearest: 29 or 33"):
        load(folder, make_signal("video", (31, 16, 16)))
    signal = make_signal("image", (16, 16))
    tokenizer, x = load(folder, signal), real(signal)
    latents = tokenizer.encode(x)
    expected = (model.encode(x.unsqueeze(2)).latent_dist.mode()[:, :, 0] - 0.5) / 2
    torch.testing.assert_close(latents.values, expected)
    assert tokenizer.decode(latents).shape == x.shape


@pytest.mark.slow
@torch.no_grad()
def test_hunyuan_s_frame_wise_coding_is_off(save: Save, make_signal: MakeSignal) -> None:
    """It is on by default, and blends pieces of more than 16 frames."""
    signal = make_signal("video", (33, 16, 16))
    model, folder = save("AutoencoderKLHunyuanVideo")
    tokenizer, x = load(folder, signal), real(signal, 1)
    assert model.use_framewise_encoding
    assert tokenizer.adapter.tiling() == []
    blended = model.encode(x).latent_dist.mode() * model.config.scaling_factor
    ours = tokenizer.encode(x).values
    assert ours is not None
    assert float((ours - blended).abs().max()) > 1e-5
    model.use_framewise_encoding = model.use_framewise_decoding = False
    torch.testing.assert_close(ours, model.encode(x).latent_dist.mode() * model.config.scaling_factor)


@pytest.mark.slow
@torch.no_grad()
def test_cosmos_is_normalised_by_latent_frame(save: Save, make_signal: MakeSignal) -> None:
    signal = make_signal("video", (9, 32, 32))
    model, folder = save("AutoencoderKLCosmos", latents_std=[1.0 + i for i in range(64)])
    tokenizer, x = load(folder, signal), real(signal, 1)
    latents = tokenizer.encode(x)
    std = torch.arange(1.0, 65.0).view(1, 4, 16, 1, 1)[:, :, :2]
    torch.testing.assert_close(latents.values, model.encode(x).latent_dist.mode() / std)
    assert latents.scale is None
    torch.testing.assert_close(tokenizer.decode(latents), model.decode(model.encode(x).latent_dist.mode()).sample)


@pytest.mark.slow
def test_a_discrete_vidtok_has_codes(save: Save, make_signal: MakeSignal) -> None:
    signal = make_signal("video", (5, 16, 16))
    _, folder = save("AutoencoderVidTok", regularizer="fsq", z_channels=3, codebook_size=512, double_z=False)
    tokenizer = load(folder, signal)
    latents = tokenizer.encode(real(signal))
    assert latents.codes is not None
    assert tokenizer.spec.grid.codebook_sizes == (512,)
    decoded = tokenizer.decode(Latents(codes=latents.codes))
    torch.testing.assert_close(tokenizer.decode(Latents(values=latents.values)), decoded)


def test_allegro_refuses_what_its_tiles_do_not_cover(save: Save, make_signal: MakeSignal) -> None:
    _, folder = save("AutoencoderKLAllegro")
    with pytest.raises(UserError, match="height 32: Allegro's tiles cover 16, and leave the rest black"):
        load(folder, make_signal("video", (24, 32, 16)))


@pytest.mark.slow
def test_weights_in_half_are_told_and_evaluated_in_float32(save: Save, tmp_path: Path, make_signal: MakeSignal) -> None:
    signal = make_signal("image", (16, 16))
    model, _ = save("AutoencoderKL")
    model.half().save_pretrained(tmp_path / "half")
    (tmp_path / "half" / "README.md").write_text("---\nlicense: apache-2.0\ntags: []\n---\n")
    tokenizer = load(tmp_path / "half", signal)
    assert (tokenizer.dtype, tokenizer.declaration.dtype) == (torch.float32, "float16")
    assert tokenizer.declaration.licence == "apache-2.0"
    assert load(tmp_path / "half", signal, dtype="native").dtype == torch.float16


@pytest.mark.slow
def test_a_pipeline_s_folder_is_taken_by_its_vae(save: Save, tmp_path: Path, make_signal: MakeSignal) -> None:
    _, folder = save("AutoencoderKL")
    (tmp_path / "pipeline").mkdir()
    folder.rename(tmp_path / "pipeline" / "vae")
    config = DiffusersConfig(path=str(tmp_path / "pipeline")).located("eval")
    assert {Path(path).parent.name for path in config.files.values()} == {"vae"}


@pytest.mark.slow
def test_shards_are_found_by_their_index(save: Save, tmp_path: Path, make_signal: MakeSignal) -> None:
    model, _ = save("AutoencoderKL")
    model.save_pretrained(tmp_path / "shards", max_shard_size="4KB")
    config = DiffusersConfig(path=str(tmp_path / "shards")).located("eval")
    assert len([name for name in config.files if name.endswith(".safetensors")]) > 1
    signal = make_signal("image", (16, 16))
    x = real(signal)
    torch.testing.assert_close(
        load(tmp_path / "shards", signal).encode(x).values, load(tmp_path / "AutoencoderKL", signal).encode(x).values
    )
    next(path for path in (tmp_path / "shards").glob("*-00001-*.safetensors")).unlink()
    with pytest.raises(UserError, match=r"missing, and .*index.json names it"):
        DiffusersConfig(path=str(tmp_path / "shards")).located("eval")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"_class_name": "AutoencoderKLWann"},
            "unknown autoencoder 'AutoencoderKLWann'; did you mean 'AutoencoderKLWan'?",
        ),
        ({"_class_name": None}, "has no _class_name, so it is no model of diffusers"),
    ],
)
def test_other_models_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(change))
    with pytest.raises(UserError) as error:
        DiffusersConfig(path=str(tmp_path)).located("eval")
    assert message in str(error.value)


def test_nothing_is_fetched_unasked_and_pickles_need_trust(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder: stabilityai/sd-vae; --allow-download fetches"):
        DiffusersConfig(path="stabilityai/sd-vae").located("eval")
    with pytest.raises(UserError, match="no such folder: /nowhere/at/all"):
        DiffusersConfig(path="/nowhere/at/all").located("eval")
    with pytest.raises(UserError, match=r"no config.json in"):
        DiffusersConfig(path=str(tmp_path)).located("eval")
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(UserError, match=r"no weights in .*: looked for diffusion_pytorch_model.safetensors"):
        DiffusersConfig(path=str(tmp_path)).located("eval")
    (tmp_path / "diffusion_pytorch_model.bin").touch()
    with pytest.raises(UserError, match="is a pickle, which can run code"):
        DiffusersConfig(path=str(tmp_path)).located("eval")
    assert len(DiffusersConfig(path=str(tmp_path), trust_pickle=True).located("eval").files) == 2


def test_a_name_of_the_hub_is_fetched_once_it_is_allowed(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is out of reach of a test: what is asked of it is looked at, and the revision that it answers with."""
    import huggingface_hub

    from latentbench.tokenizers.adapters.files import revision_of

    _, folder = save("AutoencoderKL")
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--some--vae" / "snapshots" / commit
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    asked: list[Any] = []

    def fetch(name: str, **options: Any) -> str:
        asked.append((name, options["revision"]))
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    config = DiffusersConfig(path="some/vae", allow_download=True, revision="v2").located("eval")
    assert asked == [("some/vae", "v2")]
    assert revision_of(config.files) == commit
    assert not config.allow_download


BOARD = ("VQModel", "AutoencoderOobleck", "AutoencoderKLMagvit")  # codes, a sound, a clip


@pytest.mark.slow
@torch.no_grad()
def test_every_class_has_its_rate_and_gives_back_what_it_got(
    save: Save, make_signal: MakeSignal, tiny_diffusers: Mapping[str, Any]
) -> None:
    for name, tiny in tiny_diffusers.items():
        signal = make_signal(*tiny.signal)
        tokenizer = load(save(name)[1], signal)
        tsr, bits = _rate(tiny)
        assert tokenizer.spec.tsr == pytest.approx(tsr), name
        assert tokenizer.spec.bits_per_sample == bits, name
        x = real(signal, 1)
        decoded = tokenizer.decode(tokenizer.encode(x))
        assert decoded.shape == x.shape, name
        assert decoded.isfinite().all(), name


@pytest.mark.slow
@torch.no_grad()
def test_unlike_classes_stand_on_the_board(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_diffusers: Mapping[str, Any]
) -> None:
    """Each is a row with the right TSR, bits and shape, and what its contract says."""
    from latentbench.bench.runner import run_suite
    from latentbench.results.rows import rows

    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    data, tokenizers = [], []
    for name in BOARD:
        _, folder = save(name)
        data.append(_data(tiny_diffusers[name]))
        tokenizers.append({"adapter": "diffusers", "path": str(folder), "label": name, "data": [data[-1]["name"]]})
    suite = {"name": "all", "data": data, "tokenizers": tokenizers, "tasks": ["reconstruction"]}
    outcome = run_suite({**suite, "features": []}, out=tmp_path / "out", engine="inline", devices="cpu")
    by_label = {row["label"]: row for row in rows([outcome.root])}
    assert {row["status"] for row in by_label.values()} == {"finished"}
    for name in BOARD:
        row, tiny = by_label[name], tiny_diffusers[name]
        assert (row["tsr"], row["bits_per_sample"]) == (pytest.approx(_rate(tiny)[0]), _rate(tiny)[1]), name
        assert row["contract"] is not None, name
        assert row["psnr"] is not None or tiny.signal[0] == "waveform", name


def _rate(tiny: Any) -> tuple[float, int]:
    """The TSR, and the bits per sample."""
    channels, grid = tiny.latents
    elements = math.prod(grid) * (len(tiny.codebooks) or channels)
    signal = math.prod(tiny.signal[1]) * (1 if tiny.signal[0] == "waveform" else 3)
    return signal / elements, math.prod(grid) * (5 if tiny.codebooks else 32 * channels)


def _data(tiny: Any) -> dict[str, Any]:
    modality, shape = tiny.signal
    table = {"name": f"{modality}-{'x'.join(map(str, shape))}", "modality": modality, "samples": 4, "val": 4}
    if modality == "waveform":
        return {**table, "sample_rate": 8000, "seconds": shape[0] / 8000}
    return {**table, "size": shape[-1]} | ({"frames": shape[0]} if modality == "video" else {})
