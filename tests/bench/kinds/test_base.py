"""What a kind of job is: the registry that plans and workers loop over, and a kind of somebody else's."""

from __future__ import annotations

from typing import Any

import pytest

from latentbench.bench.kinds import KINDS, kinds, tasks
from latentbench.bench.kinds.base import JobKind, PlanContext
from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError


def test_kinds_come_after_those_they_need() -> None:
    names = [kind.name for kind in kinds()]
    assert names == list(dict.fromkeys(names))
    assert names.index("data") < names.index("tokenizer") < names.index("latents") < names.index("prior")
    assert set(names) == set(KINDS.names())
    assert tasks() == ("reconstruction", "generation", "modelability", "closed_form", "micro_prior", "probes")
    assert tasks(by_default=True) == ("reconstruction", "generation", "modelability")


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_siblings_look_alike(kind: JobKind) -> None:
    """A reader who knows one file knows all: the file's name, the docstring, no torch before `run`."""
    assert type(kind).__module__.rpartition(".")[2] == kind.name
    assert type(kind).__doc__
    assert kind.version >= 1


class Count(JobKind):
    """Counts the latents of a cell."""

    name, order, version, task = "count", 110, 3, "on request"

    def needs(self, at: PlanContext) -> dict[str, str]:
        return {"latents": at.need("latents")}


def test_a_kind_of_somebody_else_s_joins_the_plan(mini: dict[str, Any]) -> None:
    KINDS.add("count", Count)
    plan = make_plan(load_suite(mini | {"tasks": ["count"]}), {"shapes": "f"})
    assert {job.kind for job in plan.jobs.values()} == {"data", "tokenizer", "latents", "count"}
    job = plan.jobs[plan.cells[0].jobs["count"]]
    assert job.depends == {"latents": plan.cells[0].jobs["latents"]}
    assert (job.versions, job.title) == ({"kind.count": 3}, f"count {plan.cells[0].cell.tokenizer_name}")
    assert list(plan.jobs).index(job.depends["latents"]) < list(plan.jobs).index(job.id)


def test_unknown_tasks_and_options_name_their_neighbours(mini: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"tasks\[0\]: unknown task 'generaton'; did you mean 'generation'"):
        load_suite(mini | {"tasks": ["generaton"]})
    with pytest.raises(UserError, match=r"suite: unknown key 'generaton'; did you mean 'generation'"):
        load_suite(mini | {"generaton": {}})
    with pytest.raises(UserError, match=r"suite: generation: expected a table, got 3"):
        load_suite(mini | {"generation": 3})


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"tasks": ["generation", "generation"]}, "suite: tasks: 'generation'"),
        ({"features": ["encoder", "encoder"]}, "suite: features: 'encoder'"),
        ({"generation": {"scores": ["manifold", "manifold"]}}, "suite: generation.scores: 'manifold'"),
        ({"modelability": {"proxies": ["viv", "viv"]}}, "suite: modelability.proxies: 'viv'"),
        ({"probes": {"names": ["losses", "losses"]}}, "suite: probes.names: 'losses'"),
    ],
)
def test_nothing_is_measured_twice(mini: dict[str, Any], changes: dict[str, Any], place: str) -> None:
    with pytest.raises(UserError, match=f"^{place} is given twice$"):
        make_plan(load_suite(mini | changes), {})
