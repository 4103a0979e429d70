"""The task "micro_prior" in plans and runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from latentbench.bench import cli
from latentbench.bench.kinds.micro_prior import MicroPriors
from latentbench.bench.plan import make_plan
from latentbench.bench.runner import run_suite
from latentbench.bench.suite import load_suite
from latentbench.bench.worker_protocol import clean_attempt
from latentbench.results.calibration.chance import corrected_p
from latentbench.results.errors import UserError
from latentbench.results.record import JobResult
from latentbench.results.rows import rows
from latentbench.results.store import Store
from latentbench.tasks.interface import Context
from latentbench.tasks.priors.config import PriorConfig
from latentbench.tokenizers.training import TrainingConfig

SUITE: dict[str, Any] = {
    "name": "micro",
    "data": {"name": "shapes", "modality": "image", "size": 8, "samples": 64, "val": 32},
    "tokenizers": [
        {
            "recipe": "kl-vae",
            "downsample": 4,
            "channels": 4,
            "width": 8,
            "grid": {"bottleneck": {"beta": [1e-4, 1e-1]}},
        },
        {"recipe": "fsq", "downsample": 4, "width": 8, "levels": [4, 4]},
    ],
    "tasks": ["generation", "micro_prior"],
    "features": ["scattering"],
    "training": {"steps": 10, "batch_size": 8},
    "prior": {
        "training": {"steps": 100, "batch_size": 8},
        "flow": {"width": 16, "layers": 1, "attention_heads": 2, "steps": 2},
        "ar": {"width": 16, "layers": 1, "attention_heads": 2},
    },
    "generation": {"samples": 16, "keep": 0},
    "micro_prior": {"shares": [0.02, 0.1], "samples": 16, "training_batch_size": 4, "levels": [0.5]},
}


def keys(suite: Mapping[str, Any], kind: str = "micro_prior") -> set[str]:
    loaded = load_suite(suite)
    return {job.key for job in make_plan(loaded, {"shapes": "f"}).jobs.values() if job.kind == kind}


def test_what_moves_its_key() -> None:
    before = keys(SUITE)
    assert len(before) == 3
    assert keys({**SUITE, "micro_prior": SUITE["micro_prior"] | {"batch_size": 7}}) == before
    assert not keys({**SUITE, "micro_prior": SUITE["micro_prior"] | {"levels": [0.25]}}) & before
    assert not keys({**SUITE, "prior": SUITE["prior"] | {"training": {"steps": 101, "batch_size": 8}}}) & before
    assert keys({**SUITE, "micro_prior": {}}, "prior") == keys(SUITE, "prior")


def test_some_of_the_suite_s_nets_may_judge_it() -> None:
    def planned(**micro: Any) -> list[set[str]]:
        suite = {**SUITE, "features": ["scattering", "encoder"], "micro_prior": SUITE["micro_prior"] | micro}
        jobs = make_plan(load_suite(suite), {"shapes": "f"}).jobs.values()
        return [{r for r in job.depends if "reference" in r} for job in jobs if job.kind == "micro_prior"]

    assert planned() == 3 * [{"reference.scattering", "reference.encoder"}]
    assert planned(features=["scattering"]) == 3 * [{"reference.scattering"}]
    alone = {**SUITE, "micro_prior": SUITE["micro_prior"] | {"features": ["scattering"]}}
    assert keys(alone) == keys(SUITE)  # the same jobs, however they are asked for
    with pytest.raises(UserError, match=r"micro_prior.features\[0\]: unknown net of the suite 'scatering'.*scattering"):
        planned(features=["scatering"])


def test_its_key_has_all_versions_it_measures_with() -> None:
    plan = make_plan(load_suite(SUITE), {"shapes": "f"})
    versions = [set(job.versions) for job in plan.jobs.values() if job.kind == "micro_prior"]
    assert versions
    assert all({"metric.psnr", "measure.frechet", "training"} <= names for names in versions)


@dataclass
class Ended:
    """The context of a job that is ended in the measurement of its second share."""

    folder: Path
    job: Any
    trained: list[str]
    seed: int = 0
    references: Any = None
    tokenizer: Any = None
    latents: ClassVar[Any] = SimpleNamespace(train=None)
    tokenizer_config: ClassVar[Any] = SimpleNamespace(spec=None)

    def prior_config(self, _: object) -> PriorConfig:
        return PriorConfig(training=TrainingConfig(steps=1, flops=1e9))

    def untrained_prior(self, _: object) -> None:
        return None

    def task_context(self) -> Context:
        return Context(device=torch.device("cpu"), seed=0, folder=self.folder)

    def fit(self, *_: object, **__: object) -> Any:
        self.trained.append(self.folder.name)
        (self.folder / "checkpoint.safetensors").touch()
        return SimpleNamespace(flops=1.0, seconds=1.0)


def test_shares_that_were_trained_stay_until_it_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(micro: Any, *_: object, **__: object) -> JobResult:
        if micro.share > 0.02:
            raise KeyboardInterrupt
        return JobResult(run={"proxy_seconds": {}})

    monkeypatch.setattr("latentbench.tasks.micro_prior.measure", measure)
    monkeypatch.setattr("latentbench.tasks.micro_prior.clean_features", lambda *_: {})
    measured = {"shares": [0.02, 0.1], "samples": 16, "training_batch_size": 4, "levels": [0.5]}
    job = SimpleNamespace(config={"measured": measured}, runtime={"batch_size": 4})
    ctx: Any = Ended(tmp_path, job, [])
    with pytest.raises(KeyboardInterrupt):
        MicroPriors().run(ctx)
    assert ctx.trained == ["part-0.02", "part-0.1"]
    assert all((tmp_path / name / "checkpoint.safetensors").exists() for name in ctx.trained)
    clean_attempt(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": [0.02, 0.01]}, "shares must rise and lie between 0 and 1"),
        ({"levels": [0.5, 1.0]}, "levels must rise"),
        ({"shares": []}, "at least one share"),
        ({"shares": [0.0005]}, "whole thousandths"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_suite({**SUITE, "micro_prior": options})


@pytest.mark.slow
def test_a_run_and_its_calibration(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    out = tmp_path / "out"
    assert run_suite(SUITE, out=out, engine="inline", devices="cpu").failed == 0
    flow, _, codes = rows([out])
    own = {name for name in flow.metrics if name.startswith("micro_")}
    assert own == {
        *(
            f"micro_{name}_{share}{rest}"
            for share in (20, 100)
            for name, rest in (("gfd", "_scattering"), ("loss", ""))
        ),
        *(f"micro_{name}" for share in (20, 100) for name in (f"psnr_{share}_500", f"fd_{share}_500_scattering")),
        "micro_law_loss",
        "micro_law_exponent",
    }
    assert {"micro_nll_20", "micro_nll_100", "micro_gfd_20_scattering", "micro_law_loss"} <= codes.metrics.keys()
    assert not any("psnr_" in name for name in codes.metrics if name.startswith("micro"))
    assert flow["micro_gfd_100_scattering"] != flow["gfd_scattering"]
    records = [record for record in Store(out).iterate() if record.kind == "micro_prior"]
    for record in records:
        shares = record.extra["training_share"]
        assert 0 < shares["micro_gfd_20_scattering"] <= 0.02
        assert 0.05 < shares["micro_gfd_100_scattering"] <= 0.1
        assert not list(Store(out).job_folder(record.kind, record.key).glob("part-*"))
    capsys.readouterr()
    monkeypatch.setattr("latentbench.results.calibration.report.corrected_p", partial(corrected_p, draws=20))
    assert cli.main(["calibrate", str(out), "--format", "json"]) == 0
    reports = {report["proxy"]: report for report in json.loads(capsys.readouterr().out)}
    assert reports["micro_gfd_20_scattering"]["n"] == 3
    assert reports["micro_gfd_20_scattering"]["share_of_flops"] <= 0.02
    assert reports["micro_gfd_20_scattering"]["seconds"] > 0
