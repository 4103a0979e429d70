"""The job "vocoder" in plans and runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from latentbench.bench.plan import Plan, make_plan
from latentbench.bench.runner import run_suite
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.results.store import Store
from latentbench.tasks.vocoders.config import GriffinLimConfig, ISTFTConfig

SUITE: dict[str, Any] = {
    "name": "mels",
    "data": {
        "name": "mels",
        "modality": "spectrogram",
        "sample_rate": 8000,
        "seconds": 0.256,
        "n_mels": 16,
        "n_fft": 256,
        "hop": 128,
        "samples": 24,
        "val": 8,
    },
    "tokenizers": [{"recipe": "pca", "grid": {"channels": [2, 4]}}],
    "tasks": ["reconstruction"],
    "features": ["scattering"],
    "vocoder": {"kind": "istft", "width": 8, "blocks": 1, "start_iterations": 2, "training": {"steps": 2}},
}
ISTFT = SUITE["vocoder"]


def planned(**changes: Any) -> Plan:
    suite = load_suite(SUITE | changes)
    return make_plan(suite, {data.label: "f" for data in suite.data})


def keys(plan: Plan, kind: str) -> list[str]:
    return [name for name, job in plan.jobs.items() if job.kind == kind]


def test_the_cells_of_a_data_set_share_one() -> None:
    plan = planned(tasks=["reconstruction", "generation", "closed_form", "micro_prior"])
    (vocoder,) = keys(plan, "vocoder")
    for kind in ("reconstruction", "generation", "closed_form", "micro_prior"):
        assert [plan.jobs[name].depends["vocoder"] for name in keys(plan, kind)] == [vocoder] * 2
    assert plan.jobs[vocoder].title == "vocoder istft mels"
    assert plan.jobs[vocoder].flops > 0


def test_griffin_lim_is_no_job_and_moves_no_key() -> None:
    silent = {name: table for name, table in SUITE.items() if name != "vocoder"}
    default = make_plan(load_suite(silent), {"mels": "f"})
    named = planned(vocoder={"kind": "griffin_lim"})
    assert list(default.jobs) == list(named.jobs)
    assert keys(named, "vocoder") == []
    assert set(keys(named, "reconstruction")).isdisjoint(keys(planned(), "reconstruction"))


def test_only_spectrograms_need_one() -> None:
    sounds = {"name": "sounds", "modality": "waveform", "sample_rate": 8000, "seconds": 0.256}
    plan = planned(data=[SUITE["data"], sounds])
    assert len(keys(plan, "vocoder")) == 1
    with pytest.raises(UserError, match="vocoder: istft renders spectrograms, and the suite has none"):
        planned(data=[sounds])


@pytest.mark.parametrize("change", [{"seed": 1}, {"width": 16}, {"training": {"steps": 3}}, {"start_iterations": 0}])
def test_what_moves_its_key(change: Mapping[str, Any]) -> None:
    assert keys(planned(vocoder=ISTFT | change), "vocoder") != keys(planned(), "vocoder")


def test_its_version_moves_the_keys_of_all_who_hear_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for config, table in ((ISTFTConfig, ISTFT), (GriffinLimConfig, {})):
        before = keys(planned(vocoder=table), "reconstruction")
        monkeypatch.setattr(config, "version", 7)
        assert set(before).isdisjoint(keys(planned(vocoder=table), "reconstruction"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "isft"}, "vocoder.kind: unknown vocoder 'isft'; did you mean 'istft'"),
        ({"kind": "istft", "widht": 8}, "widht"),
        ({"kind": "istft", "kernel": 4}, "kernel must be odd, got 4"),
        ({"kind": "istft", "seed": -1}, "seed must be at least 0"),
        ({"width": 8}, "width"),
        ("istft", "vocoder: expected a table"),
    ],
)
def test_a_mistake_is_one_line(table: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_suite(SUITE | {"vocoder": table})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_run_trains_it_once_and_renders_with_it(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    small = {**SUITE, "vocoder": {**ISTFT, "frames": 8, "training": {"steps": 2, "batch_size": 2}}, "features": []}
    assert run_suite(small, out=tmp_path, engine="inline", devices="cpu").failed == 0
    records = {kind: [r for r in Store(tmp_path).iterate() if r.kind == kind] for kind in ("vocoder", "reconstruction")}
    (vocoder,) = records["vocoder"]
    assert vocoder.extra["steps"] == 2
    assert {"loss", "stft", "mel"} <= set(vocoder.extra["losses"])
    for record in records["reconstruction"]:
        metrics = {metric.name: metric for metric in record.metrics}
        for name in ("stft_distance", "mel_distance"):
            assert "audio through inverse-STFT vocoder trained on the training split (2 steps of 2" in (
                metrics[name].protocol
            )
            ceiling = metrics[f"{name}_vocoder"]
            assert (ceiling.shown, ceiling.direction) == ("default", "none")


def hifigan(folder: Path, seed: int = 0) -> dict[str, Any]:
    """A tiny vocoder of transformers with random weights, as a suite names it."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    sizes = {"upsample_initial_channel": 8, "upsample_rates": [8, 16], "upsample_kernel_sizes": [16, 32]}
    blocks = {"resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]]}
    config = transformers.SpeechT5HifiGanConfig(model_in_dim=16, sampling_rate=8000, **sizes, **blocks)
    transformers.SpeechT5HifiGan(config).save_pretrained(folder)
    mel = {"n_fft": 256, "f_min": 0.0, "f_max": 4000.0, "scale": "htk", "power": 2}
    return {"kind": "pretrained", "path": str(folder), "mel": mel}


@pytest.mark.slow
def test_a_pretrained_one_is_a_job_of_its_weights(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    table = hifigan(tmp_path / "one")
    (before,) = keys(planned(vocoder=table), "vocoder")
    assert keys(planned(vocoder=hifigan(tmp_path / "same")), "vocoder") == [before]
    assert keys(planned(vocoder=hifigan(tmp_path / "other", seed=1)), "vocoder") != [before]

    small = {**SUITE, "vocoder": table, "features": [], "tokenizers": [{"recipe": "identity"}]}
    out = tmp_path / "out"
    assert run_suite(small, out=out, engine="inline", devices="cpu").failed == 0
    (record,) = (record for record in Store(out).iterate() if record.kind == "reconstruction")
    (metric,) = (metric for metric in record.metrics if metric.name == "mel_distance")
    assert "audio through pretrained SpeechT5HifiGan" in metric.protocol


def test_a_pretrained_one_of_other_frames_is_refused_by_the_plan(tmp_path: Path) -> None:
    table = hifigan(tmp_path / "one")
    for mel, reason in (
        ({"n_fft": 512}, "it reads spectrograms of another kind than the data set's: n_fft 512, not 256"),
        ({"scale": "slaney"}, "its mel is not the data set's: scale slaney, not htk; refit = true converts it"),
    ):
        with pytest.raises(UserError, match=f"vocoder: pretrained can't render mels: {reason}"):
            planned(vocoder=table | {"mel": table["mel"] | mel})
