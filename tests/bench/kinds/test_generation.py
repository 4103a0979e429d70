"""The task "generation" of priors whose first frames are given: what is refused, and a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file

from latentbench.bench.kinds.generation import _check_given
from latentbench.bench.plan import make_plan
from latentbench.bench.runner import run_suite
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.results.rows import rows
from latentbench.results.store import Store
from latentbench.results.tables import tables
from latentbench.tasks.config import GenerationConfig

SUITE: dict[str, Any] = {
    "name": "continued",
    "data": {"name": "clips", "modality": "video", "size": 8, "frames": 5, "samples": 24, "val": 8},
    "tokenizers": [
        {
            "recipe": "causal-video-vae",
            "width": 8,
            "channels": 2,
            "grid": {"prior": {"flow": {"condition_frames": [0, 1]}}},
        }
    ],
    "tasks": ["generation"],
    "features": ["scattering"],
    "training": {"steps": 2, "batch_size": 4},
    "prior": {
        "training": {"steps": 2, "batch_size": 4},
        "flow": {"width": 16, "layers": 2, "attention_heads": 2, "steps": 2, "attention": "factorised"},
    },
    "generation": {"samples": 10, "keep": 10},
}


def plan(**changes: Any) -> Any:
    return make_plan(load_suite(SUITE | changes), {"clips": "f"})


def test_only_the_given_frames_move_keys() -> None:
    given = {job.key for job in plan().jobs.values()}
    tokenizers: Any = [{**SUITE["tokenizers"][0], "grid": {}}]
    without = {job.key for job in plan(tokenizers=tokenizers).jobs.values()}
    assert without < given
    assert len(given - without) == 2  # a prior and its samples


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"generation": {"reference": "train"}},
            'generation.reference: the prior flow goes on .* take "val", not "train"',
        ),
        (
            {"tasks": ["generation", "micro_prior"]},
            "tasks: micro_prior draws whole samples, and the prior flow goes on from given ones",
        ),
        ({"data": SUITE["data"] | {"frames": 1}}, r"condition_frames \(1\) leave nothing to model of 1 latent frames"),
    ],
)
def test_what_is_refused_before_anything_is_trained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        plan(**changes)
    assert "\n" not in str(caught.value)


def sampled_with(**options: list[Any]) -> dict[str, Any]:
    """The suite with axes of the sampler."""
    axes = {f"prior.flow.{name}": values for name, values in options.items()}
    return SUITE | {"tokenizers": [{**SUITE["tokenizers"][0], "grid": axes}]}


def test_samplers_share_what_was_trained() -> None:
    jobs = make_plan(load_suite(sampled_with(steps=[2, 3, 50], sampler=["euler", "heun"])), {"clips": "f"}).jobs
    drawn = [job for job in jobs.values() if job.kind == "generation"]
    assert len(drawn) == 6
    assert len({job.depends["prior"] for job in drawn}) == sum(job.kind == "prior" for job in jobs.values()) == 1
    told = sorted(str(sorted(job.config.get("sampling", {}).items())) for job in drawn)
    assert told[-1] == "[]"  # 50 Euler steps are the defaults, whose keys know of none of this
    assert told[0] == "[('sampler', 'heun'), ('steps', 2)]"
    (trained,) = (job for job in jobs.values() if job.kind == "prior")
    assert trained.title == "prior flow clips causal-video-vae seed=0"
    wider = make_plan(load_suite(sampled_with(width=[16, 32])), {"clips": "f"}).jobs
    assert sum(job.kind == "prior" for job in wider.values()) == 2


@pytest.mark.slow
def test_samples_of_a_shared_prior_are_those_of_its_own(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    both, alone = tmp_path / "both", tmp_path / "alone"
    assert run_suite(sampled_with(steps=[2, 5]), out=both, engine="inline", devices="cpu").failed == 0
    assert run_suite(sampled_with(steps=[5]), out=alone, engine="inline", devices="cpu").failed == 0
    assert [path.name for path in (both / "jobs" / "prior").iterdir()] == [
        path.name for path in (alone / "jobs" / "prior").iterdir()
    ]
    assert sorted(row["sampler"] for row in rows([both])) == ["flow v3, euler 2 steps", "flow v3, euler 5 steps"]
    drawn = {path.name: path / "samples.safetensors" for path in (both / "jobs" / "generation").iterdir()}
    (own,) = (alone / "jobs" / "generation").iterdir()
    samples = load_file(own / "samples.safetensors")["samples"]
    assert {name: load_file(path)["samples"].equal(samples) for name, path in drawn.items()} == {
        name: name == own.name for name in drawn
    }
    assert len(drawn) == 2


@pytest.mark.slow
def test_a_run_has_columns_of_its_own(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    out = tmp_path / "out"
    assert run_suite(SUITE, out=out, engine="inline", devices="cpu").failed == 0
    free, given = rows([out])
    assert {"flow_loss", "gfd_scattering", "fd_floor_scattering"} <= free.metrics.keys()
    drawn = {name for name in given.metrics if "gfd" in name or "gkd" in name or "loss" in name or "floor" in name}
    assert drawn == {"given_1_flow_loss", "given_1_gfd_scattering", "given_1_gkd_scattering"}
    protocol = given.metrics["given_1_gfd_scattering"].protocol
    assert protocol.endswith("; given the first latent frame of 2 of validation clips, made of frame 1 of 5")
    assert given["sampler"].endswith(", given the first latent frame")
    names = [column.name for column in tables([free, given])[0].columns]
    assert {"gfd_scattering", "given_1_gfd_scattering"} <= set(names)
    samples = [
        load_file(Store(out).job_folder(record.kind, record.key) / "samples.safetensors")["samples"]
        for record in Store(out).iterate()
        if record.kind == "generation" and "given" in record.extra["sampler"]
    ]
    clips = samples[0]
    assert clips.shape == (10, 3, 5, 8, 8)
    assert (clips[0, :, 0] - clips[8, :, 0]).abs().max() < 1e-3  # of one validation clip
    assert (clips[0, :, 0] - clips[1, :, 0]).abs().max() > 1e-3


def test_a_file_of_statistics_is_no_reference_of_what_goes_on() -> None:
    prior = SimpleNamespace(kind="flow", condition_frames=1)
    data = SimpleNamespace(reference="reference.npz", label="clips")
    at: Any = SimpleNamespace(prior=prior, data=data, suite=SimpleNamespace(where="suite"))
    with pytest.raises(
        UserError, match=r"^suite: data clips: reference: the prior flow goes on .* no file of statistics"
    ):
        _check_given(at, GenerationConfig())
    prior.condition_frames = 0
    _check_given(at, GenerationConfig(reference="train"))
