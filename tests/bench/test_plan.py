"""Plans: what is shared, what keys depend on, what is predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from latentbench.bench.datasets import sources
from latentbench.bench.plan import Plan, make_plan
from latentbench.bench.suite import load_suite
from latentbench.tasks.priors.ar_config import ARConfig
from latentbench.tasks.priors.flow_config import FlowConfig

Suite = dict[str, Any]


def planned(suite: Suite, *sets: str, fingerprint: str = "f") -> Plan:
    loaded = load_suite(suite, sets)
    return make_plan(loaded, {data.label: fingerprint for data in loaded.data})


def kinds(plan: Plan) -> Counter[str]:
    return Counter(job.kind for job in plan.jobs.values())


def test_jobs_that_cells_share_stand_once(mini: Suite) -> None:
    assert kinds(planned(mini)) == {
        "data": 1,
        "encoder": 1,
        "reference": 2,  # train and val
        "tokenizer": 2,
        "latents": 2,
        "reconstruction": 2,
        "modelability": 2,
        "prior": 2,
        "generation": 2,
    }
    seeds = kinds(planned(mini | {"seeds": [0, 1, 2]}))
    assert (seeds["data"], seeds["encoder"], seeds["reference"]) == (1, 1, 2)
    assert (seeds["tokenizer"], seeds["prior"]) == (6, 6)
    # the same tokenizer under two labels is one tokenizer
    twice = mini["tokenizers"] + [mini["tokenizers"][0] | {"label": "again"}]
    plan = planned(mini | {"tokenizers": twice})
    assert len(plan.cells) == 3
    assert kinds(plan) == kinds(planned(mini))


def test_jobs_to_which_a_gpu_is_of_no_use(mini: Suite) -> None:
    codec = {"recipe": "jpeg", "quality": 50}
    jobs = planned(mini | {"tokenizers": [codec, {"recipe": "dct"}, *mini["tokenizers"]]}).jobs.values()
    assert {job.kind for job in jobs if job.on_cpu} == {"data", "modelability", "tokenizer", "latents"}
    of_codec = {job.id for job in jobs if job.on_cpu and job.kind in ("tokenizer", "latents")}
    assert len(of_codec) == 2  # what jpeg writes; dct is arithmetic like any other
    assert all(job.on_cpu for job in jobs if job.kind in ("data", "modelability"))


def test_every_job_comes_after_those_it_needs(mini: Suite) -> None:
    seen: set[str] = set()
    for name, job in planned(mini | {"seeds": [0, 1]}).jobs.items():
        assert name == job.id
        assert set(job.depends.values()) <= seen
        seen.add(name)


def test_tasks_bring_the_jobs_they_need_and_no_others(mini: Suite) -> None:
    def of(*tasks: str) -> set[str]:
        return set(kinds(planned(mini | {"tasks": list(tasks)})))

    scored = {"encoder", "reference"}
    assert of("modelability") == {"data", "tokenizer", "latents", "modelability"}
    assert of("probes") == {"data", "tokenizer", "latents", "probes"} | scored
    assert of("reconstruction") == {"data", "tokenizer", "reconstruction"} | scored
    assert of("generation") == {"data", "tokenizer", "latents", "prior", "generation"} | scored
    assert kinds(planned(mini | {"features": []}))["reference"] == 0


def changed(mini: Suite, *sets: str, **options: Any) -> set[str]:
    """Kinds of jobs whose keys a change moves."""
    before, after = planned(mini), planned(mini, *sets, **options)
    return {job.kind for job in after.jobs.values() if job.id not in before.jobs}


TRAINED = {"latents", "reconstruction", "modelability", "prior", "generation"}


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ("data.name=other", set()),
        ("description=other", set()),
        ("name=other", set()),
        ("tokenizers.1.label=other", set()),
        ("training.steps=21", {"tokenizer"} | TRAINED),
        ("tokenizers.0.width=12", {"tokenizer"} | TRAINED),
        ("seeds=[1]", {"tokenizer"} | TRAINED),
        ("encoder.width=12", {"encoder", "reference", "reconstruction", "generation"}),
        ("prior.training.steps=11", {"prior", "generation"}),
        ("prior.flow.width=24", {"prior", "generation"}),
        ("generation.samples=33", {"generation"}),
        ('generation.reference="train"', {"generation"}),
        ("reconstruction.rate=false", {"reconstruction"}),
        ('modelability.proxies=["viv"]', {"modelability"}),
        ("data.val=33", {"data", "encoder", "reference", "tokenizer"} | TRAINED),
    ],
)
def test_a_change_moves_the_keys_of_what_it_can_change(mini: Suite, change: str, moved: set[str]) -> None:
    assert changed(mini, change) == moved


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ('probes.names=["losses"]', {"probes"}),
        ("probes.samples=9", {"probes"}),
        ("encoder.width=12", {"encoder", "reference", "reconstruction", "probes"}),
        ("generation.samples=33", set()),
    ],
)
def test_what_moves_the_keys_of_probes(mini: Suite, change: str, moved: set[str]) -> None:
    assert changed(mini | {"tasks": ["reconstruction", "probes"]}, change) == moved


def test_an_entry_has_seeds_and_tasks_of_its_own(mini: Suite) -> None:
    first, second = mini["tokenizers"]
    entries = [first | {"seeds": [4], "tasks": ["modelability"]}, second]
    plan = planned(mini | {"tokenizers": entries, "seeds": [0, 1], "data_seeds": {"shapes": [7, 8, 9]}})
    assert [planned.cell.seed for planned in plan.cells] == [4, 7, 8, 9]
    assert set(plan.cells[0].jobs) == {"data", "tokenizer", "latents", "modelability"}
    assert "generation" in plan.cells[1].jobs
    assert kinds(plan)["generation"] == 3


def test_data_on_request_is_for_those_that_name_it(mini: Suite) -> None:
    first, second = mini["tokenizers"]
    data = [mini["data"], mini["data"] | {"name": "more"}]
    suite = mini | {"tokenizers": [first | {"data": ["more"]}, second], "data": data, "data_on_request": ["more"]}
    used = [(planned.cell.recipe, planned.cell.data.label) for planned in planned(suite).cells]
    assert set(used) == {(second["recipe"], "shapes"), (first["recipe"], "more")}
    twice = suite | {"tokenizers": [second | {"data": ["more"]}, second]}
    # no data set has both, so that neither needs a number
    assert {planned.cell.label for planned in planned(twice).cells} == {second["recipe"]}


def test_a_fingerprint_moves_every_key(mini: Suite) -> None:
    assert changed(mini, fingerprint="g") == set(kinds(planned(mini)))


def test_a_path_moves_none(mini: Suite) -> None:
    mini["data"] = {"source": "folder", "path": "here", "size": 16}
    assert not changed(mini, "data.path=there")


def test_the_order_of_a_suite_moves_no_key(mini: Suite) -> None:
    turned = mini | {"tokenizers": mini["tokenizers"][::-1], "seeds": [1, 0], "tasks": ["modelability", "generation"]}
    assert set(planned(turned).jobs) <= set(planned(mini | {"seeds": [0, 1]}).jobs)


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("latentbench.tokenizers.config.TokenizerConfig", "tokenizer"),
        ("latentbench.tokenizers.bottlenecks.kl_config.KLConfig", "tokenizer"),
        ("latentbench.tasks.priors.flow_config.FlowConfig", "prior"),
        ("latentbench.tasks.nets.config.EncoderConfig", "encoder"),
        ("latentbench.bench.kinds.generation.Generation", "generation"),
        ("latentbench.bench.kinds.reconstruction.Reconstruction", "reconstruction"),
        ("latentbench.bench.datasets.procedural.Procedural", "data"),
    ],
)
def test_a_version_moves_the_key(mini: Suite, monkeypatch: pytest.MonkeyPatch, target: str, kind: str) -> None:
    sources.get("procedural")  # once imported, the class's own version counts
    before = planned(mini)
    monkeypatch.setattr(f"{target}.version", 99)
    assert kind in {job.kind for job in planned(mini).jobs.values() if job.id not in before.jobs}


def test_versions_of_metrics_are_known_without_torch(mini: Suite) -> None:
    for job in planned(mini).jobs.values():
        assert all(version >= 1 for version in job.versions.values()), job.versions
        if job.kind == "reconstruction":
            assert {
                "metric.psnr",
                "measure.frechet",
                "measure.kid",
                "measure.posterior",
                "net.encoder",
            } <= job.versions.keys()


def test_a_given_budget_leaves_the_rest_of_a_trainee_s_own_training(mini: Suite) -> None:
    jobs = planned(mini, "prior.flow.training.lr=0.5").jobs.values()
    trained = {job.config["prior"]: job.config["options"]["training"] for job in jobs if job.kind == "prior"}
    own = ARConfig().training
    assert (trained["ar"]["steps"], trained["ar"]["lr"], trained["ar"]["weight_decay"]) == (
        10,
        own.lr,
        own.weight_decay,
    )
    assert (trained["flow"]["steps"], trained["flow"]["lr"]) == (10, 0.5)
    assert tuple(trained["flow"]["betas"]) == FlowConfig().training.betas
    (encoder,) = (job.config["encoder"]["training"] for job in jobs if job.kind == "encoder")
    assert (encoder["steps"], encoder["lr"], encoder["ema"]) == (10, 2e-3, 0.99)


RECIPES: list[Suite] = [
    {"recipe": "kl-vae", "width": 8, "grid": {"downsample": [2, 4], "channels": [2, 8]}},
    {"recipe": "ae", "width": 8, "channels": 3},
    {"recipe": "pca", "channels": 3},
    {"recipe": "vq-vae", "width": 8, "codebook_size": 64},
    {"recipe": "fsq", "width": 8, "levels": [8, 5, 5]},
    {"recipe": "multi-head-vq", "width": 8, "heads": 2, "codebook_size": 32},
]
DATA: list[Suite] = [
    {"name": "image", "modality": "image", "size": 16},
    {"name": "video", "modality": "video", "size": 8, "frames": 4},
    {"name": "waveform", "modality": "waveform", "sample_rate": 8000, "seconds": 0.064},
    {
        "name": "mel",
        "modality": "spectrogram",
        "sample_rate": 8000,
        "seconds": 0.256,
        "n_mels": 16,
        "n_fft": 256,
        "hop": 128,
    },
]


def test_the_predicted_spec_is_that_of_the_built_tokenizer() -> None:
    import torch

    from latentbench.tokenizers.build import build

    entries = [{"downsample": 4} | recipe for recipe in RECIPES]
    plan = planned({"name": "s", "data": DATA, "tokenizers": entries, "tasks": ["reconstruction"], "features": []})
    assert len(plan.cells) == 4 * 9
    for cell in (planned.cell for planned in plan.cells):
        row = cell.to_json()
        tokenizer = build(cell.tokenizer)
        signal = cell.tokenizer.signal
        with torch.no_grad():
            latents = tokenizer.eval().encode(torch.zeros(1, signal.channels, *signal.shape))
        counted = latents.codes if latents.codes is not None else latents.values
        assert counted is not None
        assert row["elements"] == counted[0].numel(), cell.name
        assert row["tsr"] == pytest.approx(signal.source_elements / counted[0].numel())
        if row["discrete"]:
            heads = tokenizer.spec.grid.codebook_sizes
            positions = counted[0, 0].numel()
            assert row["bits_per_sample"] == pytest.approx(positions * sum(torch.log2(torch.tensor(heads)).tolist()))
        if signal.seconds is not None and row["bits_per_sample"] is not None:
            assert row["bitrate"] == pytest.approx(row["bits_per_sample"] / signal.seconds)
        parameters = sum(p.numel() for p in tokenizer.parameters()) + sum(
            b.numel() for name, b in tokenizer.named_buffers() if name.endswith("codebook")
        )
        assert cell.tokenizer.estimate_parameters() == pytest.approx(parameters, rel=0.02), cell.name


@pytest.mark.slow
def test_two_hundred_cells_plan_without_torch(in_subprocess: Callable[[str], str]) -> None:
    suite = {
        "name": "big",
        "data": {"size": 32},
        "seeds": [0, 1, 2, 3, 4],
        "tokenizers": [
            {"recipe": "kl-vae", "grid": {"downsample": [2, 4], "tsr": [1.5, 3, 6, 12], "width": [8, 16, 32]}},
            {
                "recipe": "vq-vae",
                "grid": {"downsample": [2, 4], "codebook_size": [16, 32, 64, 128, 256, 512, 1024, 2048]},
            },
        ],
    }
    code = f"""
import sys
from latentbench.bench.cli import main
import latentbench.bench.suite as s
load = s.load_suite
s.load_suite = lambda name, sets: load({suite!r}, sets)
assert main(["plan", "big"]) == 0
assert not {{"torch", "pandas", "scipy"}} & set(sys.modules), "imported"
"""
    printed = in_subprocess(code)
    assert "200 cells" in printed
    rows = [line for line in printed.splitlines() if line.startswith("procedural-image-32")]
    assert len(rows) == 200
    assert "downsample=2 tsr=1.5 width=8 seed=0 1.5 2048 ≤65536" in " ".join(rows[0].split())


def test_commands_that_look_import_no_torch(in_subprocess: Callable[[str], str], tmp_path: Any) -> None:
    """One process runs them one by one and names the first that brings torch."""
    commands = [["--help"], ["run", "--help"], ["doctor", "--help"], ["list"], ["leaderboard", str(tmp_path)]]
    in_subprocess(f"""
import sys
from latentbench.bench.cli import main
for arguments in {[*commands, ["plan", "quickstart"]]!r}:
    try:
        main(arguments)
    except SystemExit:
        pass
    assert "torch" not in sys.modules, arguments
""")


def test_costs_follow_the_budget(mini: Suite) -> None:
    def flops(*sets: str) -> dict[str, float]:
        totals: dict[str, float] = {}
        for job in planned(mini, *sets).jobs.values():
            totals[job.kind] = totals.get(job.kind, 0.0) + job.flops
        return totals

    base = flops()
    assert flops("training.steps=120")["tokenizer"] == pytest.approx(2 * base["tokenizer"])
    assert flops("prior.training.batch_size=16")["prior"] == pytest.approx(2 * base["prior"])
    assert flops("generation.samples=64")["generation"] == pytest.approx(2 * base["generation"])
    assert flops("training.flops=1e9")["tokenizer"] == pytest.approx(2e9)
    assert all(value > 0 for value in base.values())
