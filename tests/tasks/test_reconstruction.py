"""The reconstruction task on tokenizers whose scores are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from latentbench.results.metric import Metric
from latentbench.results.record import JobResult
from latentbench.results.samples import VALUES, read_samples
from latentbench.tasks.config import ReconstructionConfig
from latentbench.tasks.distances import Reference
from latentbench.tasks.metrics import metrics
from latentbench.tasks.metrics.entropy import codes_in_use, entropy_bits
from latentbench.tasks.metrics.psnr import CAP_DB
from latentbench.tasks.reconstruction import PAIRS, reconstruct
from latentbench.tokenizers.build import build
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import LatentSpec, Modality, SignalSpec

CPU = torch.device("cpu")


def scored(toys: SimpleNamespace, folder: Path, tokenizer: Any, data: Any, *nets: Any, **config: Any) -> JobResult:
    index = np.arange(len(data.val))
    references = {}
    for net in nets:
        known = data.val.sources(index, CPU) if net.reads == "waveform" else data.val.batch(index, CPU)
        references[net.name] = Reference.of(net(known), "val")
    options = ReconstructionConfig(**{"batch_size": 7} | config)
    return reconstruct(tokenizer, data, options, toys.context(folder, *nets), references=references)


def values(result: JobResult) -> dict[str, Metric]:
    return {metric.name: metric for metric in result.metrics}


def test_the_identity_is_perfect(toys: SimpleNamespace, tmp_path: Path) -> None:
    result = values(scored(toys, tmp_path, toys.Identity(), toys.Data(), toys.Pixels()))
    assert result["psnr"].value == CAP_DB
    assert result["ssim"].value == pytest.approx(1)
    assert result["rfd_pixels"].value == pytest.approx(0, abs=1e-9)
    assert result["psnr"].n == 20
    assert result["rate_bits"].value is None  # nothing can be rounded without an error
    assert "code_bits_per_sample" not in result
    assert all(metric.protocol.endswith("; validation split") for metric in result.values())


def test_values_by_sample_are_kept_in_the_splits_order(toys: SimpleNamespace, tmp_path: Path) -> None:
    data = toys.Data()
    result = scored(toys, tmp_path, toys.Identity(error=0.1), data)
    assert result.artifacts == (VALUES,)
    metric = values(result)["psnr"]
    stored = read_samples(tmp_path / VALUES, "psnr", "data/x")
    assert stored is not None
    assert stored.values.mean() == pytest.approx(metric.value, rel=1e-6)
    truth = data.val.batch(np.array([13]), CPU)
    alone = (
        metrics.get("psnr")().build().values(toys.Identity(error=0.1).decode(Latents(values=truth)), truth, data.signal)
    )
    assert stored.values[13] == pytest.approx(float(alone), rel=1e-6)
    first = (tmp_path / VALUES).read_bytes()
    (tmp_path / "again").mkdir()
    scored(toys, tmp_path / "again", toys.Identity(error=0.1), data, batch_size=3)
    assert (tmp_path / "again" / VALUES).read_bytes() == first


def test_a_constant_error_has_its_psnr(toys: SimpleNamespace, tmp_path: Path) -> None:
    # 10 of 255 grey levels, nowhere clipped
    data = toys.Data()
    data.val.data = data.val.data.clamp(-0.8, 0.8)
    error = 10 / 127.5
    result = values(scored(toys, tmp_path, toys.Identity(error=error), data, rate=False))
    assert result["psnr"].value == pytest.approx(20 * math.log10(255 / 10), abs=1e-6)
    assert not {"rate_bits", "real_bits"} & set(result)  # continuous latents would be rounded for it


def test_what_leaves_the_range_is_clamped(toys: SimpleNamespace, tmp_path: Path) -> None:
    data = toys.Data()
    data.val.data = torch.ones_like(data.val.data)
    assert values(scored(toys, tmp_path, toys.Identity(error=5.0), data))["psnr"].value == CAP_DB


def test_batches_make_no_difference(toys: SimpleNamespace, tmp_path: Path) -> None:
    rates = [
        values(scored(toys, tmp_path, toys.Identity(error=0.1, std=0.3), toys.Data(), toys.Pixels(), batch_size=size))
        for size in (3, 20)
    ]
    for name, metric in rates[0].items():
        assert metric.value == pytest.approx(rates[1][name].value, rel=1e-6), name


def test_pairs_leave_together(toys: SimpleNamespace, tmp_path: Path) -> None:
    # Without pairs of their own the interval would be that of two sets; a constant error costs every sample the same.
    done = scored(toys, tmp_path, toys.Identity(error=0.1), toys.Data(), toys.Pixels(), rate=False)
    distance = values(done)["rfd_pixels"]
    assert distance.se is not None
    assert distance.value is not None
    assert distance.se < 0.2 * distance.value
    assert len(done.extra["left_out"]["rfd_pixels"]) == 10


def test_samples_limit_what_is_scored(toys: SimpleNamespace, tmp_path: Path) -> None:
    result = values(scored(toys, tmp_path, toys.Identity(error=0.1), toys.Data(), toys.Pixels(), samples=9))
    assert (result["psnr"].n, result["rfd_pixels"].n, result["rate_bits"].n) == (9, 9, 9)


def test_a_posterior_has_its_divergence(toys: SimpleNamespace, tmp_path: Path) -> None:
    data, std = toys.Data(), 0.5
    metric = values(scored(toys, tmp_path, toys.Identity(std=std), data))["kl_bits"]
    mean = data.val.data
    posterior = torch.distributions.Normal(mean, torch.full_like(mean, std))
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(posterior, prior).flatten(1).sum(1) / math.log(2)
    assert metric.value == pytest.approx(float(expected.mean()), rel=1e-5)
    assert metric.se == pytest.approx(float(expected.std() / math.sqrt(20)), rel=1e-4)


def test_a_collapsed_channel_shows(toys: SimpleNamespace, tmp_path: Path) -> None:
    data = toys.Data()
    data.val.data[:, 0] = 0.0
    result = scored(toys, tmp_path, toys.Identity(std=1.0), data)
    mean = data.val.data.double()
    expected = (0.5 * mean.square()).flatten(2).sum(2).mean(0) / math.log(2)
    assert result.extra["kl_bits_by_channel"] == pytest.approx(expected.tolist(), rel=1e-6)
    active = (mean.var(0) > 0.01).flatten(1).sum(1).tolist()
    assert result.extra["active_units_by_channel"] == active
    assert active[0] == 0 < sum(active)
    assert values(result)["active_units"].value == sum(active)


def test_codes_are_counted_over_the_whole_split(toys: SimpleNamespace, tmp_path: Path) -> None:
    data, tokenizer = toys.Data(), toys.Levels(8)
    result = values(scored(toys, tmp_path, tokenizer, data, toys.Pixels()))
    codes = tokenizer.encode(data.val.data).codes.flatten()
    counts = torch.bincount(codes, minlength=8)
    entropy = entropy_bits(counts[counts > 0])
    assert result["codebook_use"].value == pytest.approx(codes_in_use(counts[counts > 0], 8) / 8)
    assert result["codebook_perplexity"].value == pytest.approx(2**entropy)
    assert result["code_bits_per_sample"].value == pytest.approx(16 * entropy)
    assert result["rate_bits"].value == result["code_bits_per_sample"].value
    assert result["real_bits"].value == pytest.approx(16 * entropy)
    assert result["real_bits"].se == result["rate_bits"].se
    assert result["real_bits_per_pixel"].value == pytest.approx(16 * entropy / (16 * 16))
    assert result["real_bits"].protocol.startswith("order-0 entropy of the codes")
    stored = read_samples(tmp_path / VALUES, "real_bits_per_pixel", "data/x")
    assert stored is not None
    assert stored.values.mean() == pytest.approx(result["real_bits_per_pixel"].value, rel=1e-6)
    assert "kl_bits" not in result


def test_codes_of_a_hierarchy_are_counted_by_grid(toys: SimpleNamespace, tmp_path: Path) -> None:
    class TwoGrids(toys.Levels):  # type: ignore[misc,name-defined]
        """The same codes twice."""

        @property
        def spec(self) -> LatentSpec:
            spec = super().spec
            return replace(spec, grids=(spec.grid, spec.grid))

        def encode(self, signal: torch.Tensor) -> Latents:
            latents = super().encode(signal)
            return replace(latents, rest=(latents,))

    data = toys.Data()
    one = values(scored(toys, tmp_path, toys.Levels(8), data))
    two = values(scored(toys, tmp_path, TwoGrids(8), data))
    assert two["grid0_codebook_use"].value == two["grid1_codebook_use"].value == one["codebook_use"].value
    assert two["rate_bits"].value == pytest.approx(2 * one["rate_bits"].value)
    assert two["real_bits"].value == pytest.approx(2 * one["real_bits"].value)
    assert two["real_bits"].se == pytest.approx(2 * one["real_bits"].se, rel=0.6)  # one grid's is a jackknife's
    for name in ("codebook_use", "codebook_perplexity"):
        assert two[name].value == pytest.approx(one[name].value)
        assert two[name].protocol == one[name].protocol


def test_a_clip_is_scored_by_frame_too(toys: SimpleNamespace, tmp_path: Path) -> None:
    error = torch.tensor([0.0, 10.0, 20.0]).view(1, 1, 3, 1, 1) / 127.5
    data = toys.Data(toys.VIDEO, val=6)
    data.val.data = data.val.data.clamp(-0.8, 0.8)
    result = scored(toys, tmp_path, toys.Identity(toys.VIDEO, error=error), data, toys.Pixels())
    expected = [CAP_DB, 20 * math.log10(25.5), 20 * math.log10(12.75)]
    assert result.extra["psnr_by_frame"] == pytest.approx(expected, abs=1e-6)
    assert values(result)["psnr"].value == pytest.approx(sum(expected) / 3)
    assert values(result)["temporal_error"].value is not None


def test_the_first_and_the_worst_frame_are_those_of_a_direct_computation(toys: SimpleNamespace, tmp_path: Path) -> None:
    error = torch.tensor([4.0, 20.0, 10.0]).view(1, 1, 3, 1, 1) / 127.5
    data = toys.Data(toys.VIDEO, val=6)  # errors are clipped with the signals, so that each clip's are its own
    result = scored(toys, tmp_path, toys.Identity(toys.VIDEO, error=error), data, toys.Pixels())
    true = data.val.data.float()
    pixels = [((x + 1) * 127.5).round().clamp(0, 255).double() for x in (true, true + error)]
    mse = (pixels[0] - pixels[1]).square().mean((1, 3, 4))
    direct = 10 * torch.log10(255**2 / mse)
    measured = values(result)
    assert measured["psnr_first"].value == pytest.approx(float(direct[:, 0].mean()), abs=1e-4)
    assert measured["psnr_worst_frame"].value == pytest.approx(float(direct.amin(1).mean()), abs=1e-4)
    assert result.extra["psnr_by_frame"] == pytest.approx(direct.mean(0).tolist(), abs=1e-4)
    assert len(result.extra["ssim_by_frame"]) == 3
    by_sample = load_file(tmp_path / "values.safetensors")
    torch.testing.assert_close(by_sample["psnr_worst_frame"].double(), direct.amin(1), atol=1e-4, rtol=0)
    for name in ("psnr_first", "psnr_worst_frame"):
        assert (measured[name].n, measured[name].direction, measured[name].unit) == (6, "higher", "dB")
        assert "frame" in measured[name].protocol
        assert measured[name].shown == "asked"


def test_only_clips_have_frames(toys: SimpleNamespace, tmp_path: Path) -> None:
    result = scored(toys, tmp_path, toys.Identity(toys.IMAGE), toys.Data(toys.IMAGE, val=4), toys.Pixels())
    assert not {"psnr_first", "psnr_worst_frame"} & set(values(result))


def test_the_vocoder_s_ceiling_stands_beside_what_is_heard(toys: SimpleNamespace, tmp_path: Path) -> None:
    data = toys.Data(toys.SOUND, val=6)
    nets = [toys.Pixels("ear", "waveform"), toys.Pixels("eye")]
    perfect = values(scored(toys, tmp_path, toys.Identity(toys.SOUND), data, *nets, vocoder_iterations=4))
    assert perfect["psnr"].value == CAP_DB  # the mel itself comes back
    assert perfect["rfd_eye"].value == pytest.approx(0, abs=1e-9)
    assert perfect["rfd_ear"].value != pytest.approx(0, abs=1e-9)  # the rendered sound has passed the vocoder
    assert "audio through Griffin-Lim, 4 iterations" in perfect["rfd_ear"].protocol
    worse = values(scored(toys, tmp_path, toys.Identity(toys.SOUND, error=0.2), data, *nets, vocoder_iterations=4))
    for name in ("mel_distance", "stft_distance"):
        ceiling = perfect[f"{name}_vocoder"]
        assert perfect[name].value == pytest.approx(ceiling.value)  # the tokenizer adds nothing to the vocoder's loss
        assert worse[f"{name}_vocoder"].value == pytest.approx(ceiling.value)  # and has no part in it
        assert "the vocoder's own" in ceiling.protocol
        assert (ceiling.direction, worse[name].direction != "none") == ("none", True)
    assert worse["mel_distance"].value > perfect["mel_distance"].value  # type: ignore[operator]


def test_progress_reaches_the_end(toys: SimpleNamespace, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    data = toys.Data()
    context = toys.context(tmp_path, progress=lambda done, total, message: told.append((done, total)))
    reconstruct(toys.Identity(), data, ReconstructionConfig(batch_size=8, rate=False), context, references={})
    assert told == [(8, 20), (16, 20), (20, 20)]


def test_the_first_pairs_are_kept_when_asked_for(toys: SimpleNamespace, tmp_path: Path) -> None:
    data = toys.Data()
    scored(toys, tmp_path, toys.Identity(error=0.1), data, rate=False)
    assert not (tmp_path / PAIRS).exists()
    scored(toys, tmp_path, toys.Identity(error=0.1), data, rate=False, keep=11)  # batches of 7
    pairs = load_file(tmp_path / PAIRS)
    assert torch.equal(pairs["true"], data.val.batch(np.arange(11), CPU))
    assert torch.allclose(pairs["reconstructed"], (pairs["true"] + 0.1).clamp(-1, 1))


def test_streams_have_the_rate_of_their_own_bytes(toys: SimpleNamespace, tmp_path: Path) -> None:
    """Opus at two bitrates has one nominal rate, the longest stream, and two real ones, near what it aims at."""
    signal = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(8000,), rate=8000.0)
    data = toys.Data(signal, val=4)
    rates = []
    for bitrate in (12000, 24000):
        tokenizer = build(resolve("opus", signal, {"codec": {"bitrate": bitrate}}))
        (folder := tmp_path / str(bitrate)).mkdir()
        result = values(scored(toys, folder, tokenizer, data))
        lengths = tokenizer.encode(data.val.data).lengths
        assert result["real_bits"].value == pytest.approx(8 * float(lengths.double().mean()))
        assert result["real_bits"].protocol == "actual bytes of the stream; validation split"
        assert result["real_kbits_per_second"].value == pytest.approx(result["real_bits"].value / 1000)
        stored = read_samples(folder / VALUES, "real_bits", "data/x")
        assert stored is not None
        assert stored.values.tolist() == (8 * lengths).tolist()
        rates.append(result["real_kbits_per_second"].value)
        assert tokenizer.spec.bitrate == 8 * (2 * 8000 + 1)
    assert rates == pytest.approx([12, 24], rel=0.25)


def _with_points(toys: SimpleNamespace) -> Any:
    class Two(toys.Identity):  # type: ignore[misc, name-defined]
        """A posterior, and a second way of decoding."""

        def operating_points(self) -> dict[str, Any]:
            return {"dimmer": lambda latents: 0.9 * self.decode(latents)}

    return Two(error=0.01, std=0.1)


@pytest.mark.parametrize("kind", ["posterior", "codes"])
def test_scoring_goes_on_where_it_was_ended(
    kind: str, toys: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentbench.tasks.chunks.SECONDS", 0.0)
    tokenizer = _with_points(toys) if kind == "posterior" else toys.Levels()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    data, net = toys.Data(), toys.Pixels()
    expected = scored(toys, whole, tokenizer, data, net, keep=9)
    seen: list[int] = []
    encode = type(tokenizer).encode

    def ends(self: Any, signal: torch.Tensor) -> Latents:
        seen.append(len(signal))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return encode(self, signal)  # type: ignore[no-any-return]

    monkeypatch.setattr(type(tokenizer), "encode", ends)
    with pytest.raises(KeyboardInterrupt):
        scored(toys, parts, tokenizer, data, net, keep=9)
    again = scored(toys, parts, tokenizer, data, net, keep=9)
    assert seen[:4] == [7, 7, 6, 6]
    assert again.metrics == expected.metrics
    assert again.extra == expected.extra
    assert set(again.run.get("decode_seconds", {})) == set(expected.run.get("decode_seconds", {}))
    for name in (VALUES, PAIRS):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


class _Waits(TorchDispatchMode):
    """Counts the numbers that are read off a tensor, each of which waits for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["posterior", "codes"])
def test_no_batch_waits_for_the_device(kind: str, toys: SimpleNamespace, tmp_path: Path) -> None:
    """Three batches read as many numbers as twenty: what there is to be read is read at the end."""
    tokenizer = _with_points(toys) if kind == "posterior" else toys.Levels()
    counts = []
    for size in (1, 7):
        (tmp_path / str(size)).mkdir()
        with _Waits() as waits:
            scored(toys, tmp_path / str(size), tokenizer, toys.Data(), toys.Pixels(), batch_size=size, rate=False)
        counts.append(waits.count)
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("signal", ["IMAGE", "SOUND"])
def test_scores_do_not_depend_on_the_batch(signal: str, toys: SimpleNamespace, tmp_path: Path) -> None:
    data = toys.Data(getattr(toys, signal))
    tokenizer = toys.Identity(data.signal, error=0.05, std=0.1)
    results = []
    for size in (3, 20):
        (tmp_path / str(size)).mkdir()
        results.append(values(scored(toys, tmp_path / str(size), tokenizer, data, batch_size=size, rate=False)))
    assert results[0].keys() == results[1].keys()
    for name, metric in results[0].items():
        assert metric.value == pytest.approx(results[1][name].value, rel=1e-3), name


def test_histograms_and_variances_are_restored() -> None:
    from latentbench.tasks.metrics.codes import CodeHistogram
    from latentbench.tasks.metrics.posterior import UnitVariance

    sizes = (8, 1 << 30)
    codes = torch.randint(0, 8, (20, 2, 5))
    one, other = CodeHistogram(sizes), CodeHistogram(sizes)
    one.update(codes)
    other.restore(one.state())
    other.merge(one)
    one.update(codes)
    assert {k: v.tolist() for k, v in one.state().items()} == {k: v.tolist() for k, v in other.state().items()}
    mean, again = UnitVariance(), UnitVariance()
    mean.update(torch.randn(9, 2, 3))
    again.restore(mean.state())
    assert torch.equal(mean.variance(), again.variance())
