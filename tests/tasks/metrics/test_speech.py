"""PESQ, STOI and ESTOI against the packages' own output, and what they can't score."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.bench.jobs import Job
from latentbench.bench.kinds.reconstruction import Reconstruction
from latentbench.bench.plan import make_plan
from latentbench.bench.suite import Suite, load_suite
from latentbench.results.errors import UserError
from latentbench.tasks.config import ReconstructionConfig
from latentbench.tasks.metrics.config import SPEECH, EstoiConfig, PesqConfig, StoiConfig
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec

pesq = pytest.importorskip("pesq")
pystoi = pytest.importorskip("pystoi")


def spec(samples: int, rate: int, channels: int = 1) -> SignalSpec:
    return SignalSpec(modality=Modality.WAVEFORM, channels=channels, shape=(samples,), rate=float(rate))


def voice(rate: int, seconds: float = 1.6, seed: int = 0) -> np.ndarray:
    """Something like speech: a buzz with formants in syllables, and pauses."""
    generator = np.random.default_rng(seed)
    t = np.arange(int(rate * seconds)) / rate
    pitch = 120 + 15 * np.sin(2 * np.pi * 1.3 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    wave = np.zeros_like(t)
    for k in range(1, 28):
        if 120 * k < 0.45 * rate:
            resonance = sum(np.exp(-(((120 * k - f) / 180) ** 2)) for f in (500, 1500, 2500, 3300))
            wave += (0.05 + resonance) * np.cos(k * phase + generator.uniform(0, 6.28))
    wave *= np.clip(np.sin(2 * np.pi * 3 * t), 0, 1) ** 0.5
    return 0.3 * wave / np.abs(wave).max()


def degraded(x: np.ndarray, level: float, seed: int = 1) -> np.ndarray:
    return x + level * np.random.default_rng(seed).normal(size=x.shape)


def batch(*signals: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(signals))[:, None]


def on(config: PesqConfig | StoiConfig | EstoiConfig, estimate: Tensor, target: Tensor, rate: int) -> Tensor:
    signal = spec(target.shape[-1], rate, target.shape[1])
    values: Tensor = config.build().values(estimate, target, signal)
    return values


@pytest.mark.parametrize(("rate", "mode"), [(8000, "nb"), (16000, "wb")])
def test_they_are_the_packages_numbers(rate: int, mode: str) -> None:
    x = voice(rate)
    noisy = [degraded(x, level) for level in (0.003, 0.03)]
    target, estimate = batch(x, x), batch(*noisy)
    expected = [pesq.pesq(rate, x, y, mode) for y in noisy]
    assert on(PesqConfig(), estimate, target, rate).tolist() == pytest.approx(expected, abs=1e-6)
    for config, extended in ((StoiConfig(), False), (EstoiConfig(), True)):
        expected_stoi = [pystoi.stoi(x, y, rate, extended=extended) for y in noisy]
        assert on(config, estimate, target, rate).tolist() == pytest.approx(expected_stoi, abs=1e-6)
        assert expected_stoi[0] > expected_stoi[1]
    assert expected[0] > expected[1] + 0.2


def test_real_speech(shared_data: Path) -> None:
    import wave

    from torchaudio.functional import resample

    path = min((shared_data / "audio" / "lyra_speech").glob("*.wav"))
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        x = np.frombuffer(file.readframes(2 * rate), np.int16) / 32768
    y = degraded(x, 0.01)
    assert rate == 48_000
    at_16k = [resample(torch.from_numpy(z), rate, 16_000).numpy() for z in (x, y)]
    assert on(PesqConfig(), batch(y), batch(x), rate).item() == pytest.approx(
        pesq.pesq(16_000, *at_16k, "wb"), abs=1e-6
    )
    for config, extended in ((StoiConfig(), False), (EstoiConfig(), True)):
        expected = pystoi.stoi(x, y, rate, extended=extended)
        assert on(config, batch(y), batch(x), rate).item() == pytest.approx(expected, abs=1e-6)
        assert 0.2 < expected < 0.999


def test_other_rates_are_resampled_by_name() -> None:
    """24 kHz becomes wide band at 16 kHz, 11.025 kHz narrow band at 8 kHz: as the same voice made at these rates."""
    from torchaudio.functional import resample

    for rate, heard, line in ((24000, 16000, "wide band"), (11025, 8000, "narrow band")):
        x = voice(rate)
        y = degraded(x, 0.01)
        measured = on(PesqConfig(), batch(y), batch(x), rate).item()
        mono = [resample(torch.from_numpy(z), rate, heard).numpy() for z in (x, y)]
        assert measured == pytest.approx(pesq.pesq(heard, *mono, "wb" if heard == 16000 else "nb"), abs=1e-6)
        protocol = PesqConfig().build().protocol(spec(rate, rate))
        assert line in protocol
        assert f"from {rate} Hz by torchaudio's resample" in protocol
    assert "resample" not in PesqConfig().build().protocol(spec(16000, 16000))


def test_silence_is_missing_and_counted() -> None:
    """pesq raises, pystoi warns and returns 1e-5: neither is a score."""
    x = voice(16000)
    silent, short = np.zeros_like(x), np.zeros_like(x)
    short[:3000] = x[1000:4000]  # too few frames that are not silent for STOI
    faint = np.full_like(x, 1e-9)
    target = batch(x, silent, faint, short)
    estimate = target + 0.001 * torch.randn(target.shape, dtype=torch.float64)
    with pytest.raises(pesq.NoUtterancesError):
        pesq.pesq(16000, silent, degraded(silent, 0.001), "wb")
    with pytest.warns(RuntimeWarning, match="Not enough STFT frames"):
        assert pystoi.stoi(short, degraded(short, 0.001), 16000) == 1e-5
    for config in SPEECH:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            metric = config.build()
            values = metric.values(estimate, target, spec(len(x), 16000))
        summary = metric.summary(values, spec(len(x), 16000))
        assert summary.n + summary.missing == 4
        assert bool(values[0].isfinite())
        assert bool(values[1].isnan())
        assert summary.missing >= 1
        assert summary.value is not None
        assert summary.value > 0.3
    assert bool(StoiConfig().build().values(estimate, target, spec(len(x), 16000))[3].isnan())
    # Of a silent estimate the package makes an error of its own.
    with pytest.raises(ValueError, match="NaN"):
        pesq.pesq(16000, x, silent, "wb")
    assert bool(on(PesqConfig(), batch(silent), batch(x), 16000).isnan())


def test_stereo_is_its_mean() -> None:
    x, y = voice(8000), voice(8000, seed=3)
    stereo = torch.from_numpy(np.stack([x, y]))[None]
    noisy = stereo + 0.01 * torch.randn(stereo.shape, dtype=torch.float64)
    mono = on(StoiConfig(), noisy.mean(1, keepdim=True), stereo.mean(1, keepdim=True), 8000)
    assert torch.equal(on(StoiConfig(), noisy, stereo, 8000), mono)


def suite(**options: object) -> dict[str, object]:
    return {
        "name": "speech",
        "data": {"modality": "waveform", "sample_rate": 16000, "seconds": 1.024},
        "tokenizers": {"recipe": "kl-vae"},
        "tasks": ["reconstruction"],
        "features": [],
        **options,
    }


def planned(checked: Suite) -> Job:
    """The suite's one job of reconstruction."""
    plan = make_plan(checked, {data.label: "f" for data in checked.data})
    (job,) = (job for job in plan.jobs.values() if job.kind == "reconstruction")
    return job


def test_a_suite_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load_suite(suite())
    asked = load_suite(suite(reconstruction={"speech": True}))
    (job,) = (
        j for j in make_plan(asked, {"procedural-waveform-16000": "f"}).jobs.values() if j.kind == "reconstruction"
    )
    assert {"measure.pesq", "measure.stoi", "measure.estoi"} <= job.versions.keys()
    (job,) = (
        j for j in make_plan(plain, {"procedural-waveform-16000": "f"}).jobs.values() if j.kind == "reconstruction"
    )
    assert "speech" not in job.config
    assert "measure.pesq" not in job.versions
    short = suite(reconstruction={"speech": True}, data={"modality": "waveform", "seconds": 0.3})
    with pytest.raises(UserError, match=r"reconstruction\.speech: stoi of .*: it needs clips of 0\.4 s or more"):
        Reconstruction().check(load_suite(short), [])
    with pytest.raises(UserError, match="the suite has none"):
        Reconstruction().check(load_suite(suite(reconstruction={"speech": True}, data={"size": 16})), [])
    monkeypatch.setattr("latentbench.bench.kinds.reconstruction.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package pesq: pip install 'latentbench\[speech\]'"):
        Reconstruction().check(asked, [])


def test_a_suite_asks_for_loudness_and_pitch() -> None:
    asked = load_suite(suite(reconstruction={"hearing": True}))
    (job,) = (
        j for j in make_plan(asked, {"procedural-waveform-16000": "f"}).jobs.values() if j.kind == "reconstruction"
    )
    assert {"measure.loudness_difference", "measure.f0_error"} <= job.versions.keys()
    assert "hearing" not in ReconstructionConfig().identity()
    short = suite(reconstruction={"hearing": True}, data={"modality": "waveform", "seconds": 0.3})
    with pytest.raises(
        UserError, match=r"reconstruction\.hearing: loudness_difference of .*: it needs clips of 0\.4 s"
    ):
        Reconstruction().check(load_suite(short), [])


def test_spectrograms_are_read_at_their_waveforms_rate() -> None:
    mel = MelSpec(sample_rate=24000, n_mels=64)
    shape = (64, 100)
    signal = SignalSpec(
        modality=Modality.SPECTROGRAM, channels=1, shape=shape, rate=24000.0, mel=mel, source_shape=(1, 100 * mel.hop)
    )
    assert "from 24000 Hz" in StoiConfig().build().protocol(signal)
    assert PesqConfig.unsupported_reason(signal) is None
    assert ReconstructionConfig(speech=True).identity()["speech"] is True
