"""Tables of prior options laid over each other: the suite's, an entry's, a grid point's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.jobs import Job
from latentbench.bench.plan import Plan, make_plan
from latentbench.bench.prior_options import configure
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.tasks.priors.ar_config import ARConfig
from latentbench.tasks.priors.flow_config import FlowConfig
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

Suite = dict[str, Any]
IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
VALUES = LatentSpec(signal=IMAGE, grids=(LatentGrid(shape=(4, 4), channels=4),))
CODES = LatentSpec(signal=IMAGE, grids=(LatentGrid(shape=(4, 4), channels=4, codebook_sizes=(64,)),))


def planned(suite: Suite) -> Plan:
    return make_plan(load_suite(suite), {})


def priors(plan: Plan) -> dict[str, Job]:
    """Each cell's prior job."""
    return {planned.cell.name: plan.jobs[planned.jobs["prior"]] for planned in plan.cells}


def kl(**options: Any) -> Suite:
    return {"recipe": "kl-vae", "downsample": 4, "tsr": 12} | options


def vq(**options: Any) -> Suite:
    return {"recipe": "vq-vae", "downsample": 4, "codebook_size": 64} | options


def refusal(suite: Suite) -> str:
    with pytest.raises(UserError) as caught:
        planned(suite)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_layer_goes_over_those_before_it() -> None:
    suite = {"training": {"steps": 7, "lr": 0.5}, "flow": {"width": 32, "training": {"lr": 0.25}}}
    config = configure([(suite, "a")], VALUES)
    assert isinstance(config, FlowConfig)
    assert (config.training.steps, config.training.lr, config.width) == (7, 0.25, 32)
    # what the entry says of all priors goes over what the suite says of one
    config = configure([(suite, "a"), ({"training": {"lr": 0.125}}, "b")], VALUES)
    assert (config.training.steps, config.training.lr) == (7, 0.125)
    point = {"training": {"steps": 9}, "flow": {"layers": 2}}
    config = configure([(suite, "a"), ({"training": {"lr": 0.125}}, "b"), (point, "c")], VALUES)
    assert isinstance(config, FlowConfig)
    assert (config.training.steps, config.training.lr, config.width, config.layers) == (9, 0.125, 32, 2)
    # what nobody says is the prior's own, not any model's
    assert config.training.betas == FlowConfig().training.betas
    assert configure([({}, "a")], CODES).training == ARConfig().training


def test_a_size_stands_for_options_that_a_later_layer_changes() -> None:
    config = configure([({"flow": {"size": "s"}}, "a"), ({"flow": {"layers": 1}}, "b")], VALUES)
    assert isinstance(config, FlowConfig)
    assert (config.width, config.layers) == (192, 1)


def test_steps_take_back_a_budget_in_flops_and_flops_one_in_steps() -> None:
    assert configure([({"training": {"flops": 1e9}}, "a")], CODES).training.flops == 1e9
    later = configure([({"training": {"flops": 1e9}}, "a"), ({"training": {"steps": 5}}, "b")], CODES).training
    assert (later.steps, later.flops) == (5, None)
    later = configure([({"training": {"steps": 5}}, "a"), ({"training": {"flops": 1e9}}, "b")], CODES).training
    assert later.flops == 1e9


def test_an_entry_may_name_its_prior(mini: Suite) -> None:
    mini["tokenizers"] = [kl(prior="givt"), vq(prior={"name": "maskgit", "maskgit": {"width": 32}}), vq()]
    mini["prior"] = {"training": {"steps": 10}}
    jobs = priors(planned(mini))
    assert {name: job.config["prior"] for name, job in jobs.items()} == {
        "shapes kl-vae + givt seed=0": "givt",
        "shapes vq-vae + maskgit seed=0": "maskgit",
        "shapes vq-vae seed=0": "ar",
    }
    assert jobs["shapes vq-vae + maskgit seed=0"].config["options"]["width"] == 32
    assert {job.config["options"]["training"]["steps"] for job in jobs.values()} == {10}


def test_cells_that_differ_in_the_prior_alone_share_all_else(mini: Suite) -> None:
    alone = planned(mini | {"tokenizers": [vq()]})
    grid = {"prior": {"name": ["ar", "maskgit"], "training": {"steps": [10, 40]}}}
    plan = planned(mini | {"tokenizers": [vq(grid=grid)]})
    counts: dict[str, int] = {}
    for job in plan.jobs.values():
        counts[job.kind] = counts.get(job.kind, 0) + 1
    assert (counts["tokenizer"], counts["latents"], counts["reconstruction"], counts["modelability"]) == (1, 1, 1, 1)
    assert (counts["prior"], counts["generation"]) == (4, 4)
    # nothing that stands in the suite without the grid has another key: 10 steps of ar are among the four
    assert set(alone.jobs) <= set(plan.jobs)
    titles = {job.kind: job.title for job in plan.jobs.values()}
    assert titles["tokenizer"] == "tokenizer shapes vq-vae seed=0"
    assert titles["prior"] == "prior maskgit shapes vq-vae prior.name=maskgit prior.training.steps=40 seed=0"


def test_an_axis_of_budgets_in_flops(mini: Suite) -> None:
    grid = {"prior.training.flops": [2e11, 8e11]}
    jobs = priors(planned(mini | {"tokenizers": [kl(grid=grid)]}))
    assert {name: job.flops for name, job in jobs.items()} == {
        "shapes kl-vae prior.training.flops=2e+11 seed=0": 2e11,
        "shapes kl-vae prior.training.flops=8e+11 seed=0": 8e11,
    }


def test_an_axis_of_names_and_of_one_prior_s_options(mini: Suite) -> None:
    jobs = priors(planned(mini | {"tokenizers": [vq(grid={"prior": ["ar", "pixelcnn"]})]}))
    assert [job.config["prior"] for job in jobs.values()] == ["ar", "pixelcnn"]
    jobs = priors(planned(mini | {"tokenizers": [vq(grid={"prior.ar.width": [8, 16]})]}))
    assert [job.config["options"]["width"] for job in jobs.values()] == [8, 16]


def test_the_plan_s_cells_name_their_prior(mini: Suite) -> None:
    plan = planned(mini | {"tokenizers": [vq(grid={"prior.name": ["ar", "maskgit"]})]})
    assert [cell.to_json()["prior"] for cell in plan.cells] == ["ar", "maskgit"]
    assert [cell.to_json()["axes"] for cell in plan.cells] == [{"prior.name": "ar"}, {"prior.name": "maskgit"}]
    without = planned(mini | {"tokenizers": [vq()], "tasks": ["reconstruction"]})
    assert [cell.to_json()["prior"] for cell in without.cells] == [None]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (vq(prior="maskgitt"), "suite: tokenizers[0].prior: unknown prior 'maskgitt'; did you mean 'maskgit'?"),
        (
            vq(grid={"prior.name": ["ar", "maskgitt"]}),
            "suite: tokenizers[0] (prior.name=maskgitt).prior: unknown prior 'maskgitt'; did you mean 'maskgit'?",
        ),
        (vq(prior={"nam": "ar"}), "suite: tokenizers[0].prior: unknown key 'nam'; did you mean 'name'?"),
        (vq(prior={"ar": {"widht": 8}}), "suite: tokenizers[0].prior.ar: widht: unknown key; did you mean 'width'?"),
        (vq(prior=3), "suite: tokenizers[0].prior: expected a prior's name or a table, got 3"),
        (
            vq(prior="flow"),
            "suite: tokenizers[0].prior: prior 'flow' can't model these latents: it models continuous latents, and",
        ),
        (
            kl(grid={"prior.name": ["flow", "maskgit"]}),
            (
                "suite: tokenizers[0] (prior.name=maskgit).prior: prior 'maskgit' can't model these latents: it models "
                "codes, and these latents are continuous; can: flow, "
            ),
        ),
        (
            vq(grid={"prior.training.stepz": [1, 2]}),
            "suite: tokenizers[0] (prior.training.stepz=1).prior.training: stepz: unknown key; did you mean 'steps'?",
        ),
        (
            vq(grid={"prior.name": ["ar", "maskgit"], "prior.ar.width": [8, 16]}),
            (
                "suite: tokenizers[0] (prior.name=maskgit, prior.ar.width=8).prior: prior.ar.width has no effect: the "
                "prior of these latents is 'maskgit'"
            ),
        ),
        (
            vq(grid={"prior": ["ar"], "prior.training.steps": [1]}),
            "suite: tokenizers[0].grid: prior is a list of names; beside other axes write grid.prior.name",
        ),
    ],
)
def test_what_is_refused(mini: Suite, entry: Suite, message: str) -> None:
    assert refusal(mini | {"tokenizers": [entry]}).startswith(message)


def test_axes_of_the_prior_need_generation(mini: Suite) -> None:
    suite = mini | {"tokenizers": [vq(grid={"prior.name": ["ar"]})], "tasks": ["reconstruction"]}
    assert refusal(suite) == "suite: tokenizers[0].grid: prior.name has no effect without the task generation"


def test_classes_are_those_of_the_data(mini: Suite, tmp_path: Path) -> None:
    from latentbench.bench.datasets.procedural import classes

    n = len(classes(Modality.IMAGE))
    mini["tokenizers"] = [vq(prior={"ar": {"classes": n}})]
    assert priors(planned(mini))
    mini["tokenizers"] = [vq(prior={"ar": {"classes": n + 1}})]
    expected = f"suite: tokenizers[0].prior.ar: classes is {n + 1}, and shapes has {n} classes; take classes = {n}"
    assert refusal(mini) == expected
    mini["data"] = {"source": "folder", "path": str(tmp_path), "name": "photos", "size": 16}
    (tmp_path / "a.png").touch()
    assert refusal(mini) == (
        f"suite: tokenizers[0].prior.ar: classes is {n + 1}, and photos has no labels (a folder's classes are its "
        "sub-folders, two or more); take classes = 0"
    )
    # what can't be told without reading the data is not refused
    mini["data"] = {"source": "torchvision:CIFAR10", "path": str(tmp_path), "size": 16}
    assert priors(planned(mini))
