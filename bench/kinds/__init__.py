"""Kinds of job by name: one file each, with its options, needs, versions, price, checks and what it does. Torch-free.

A plan and a worker are loops over this registry; third parties add kinds through the entry-point group
`latentbench.kinds`.
"""

from __future__ import annotations

from typing import Any

from ...results.errors import unknown
from ...tokenizers.registry import Registry

KINDS = Registry(
    "kind of job",
    "latentbench.kinds",
    {
        "data": "bench.kinds.data:Data",
        "encoder": "bench.kinds.encoder:Encoder",
        "vocoder": "bench.kinds.vocoder:VocoderTraining",
        "reference": "bench.kinds.reference:ReferenceFeatures",
        "rung": "bench.kinds.rung:RungTraining",
        "halving": "bench.kinds.halving:HalvingJob",
        "tokenizer": "bench.kinds.tokenizer:TokenizerTraining",
        "contract": "bench.kinds.contract:Contract",
        "scramble": "bench.kinds.scramble:Scrambling",
        "latents": "bench.kinds.latents:LatentEncoding",
        "reconstruction": "bench.kinds.reconstruction:Reconstruction",
        "gate": "bench.kinds.gate:GateJob",
        "prior": "bench.kinds.prior:PriorTraining",
        "generation": "bench.kinds.generation:Generation",
        "modelability": "bench.kinds.modelability:Modelability",
        "closed_form": "bench.kinds.closed_form:ClosedForm",
        "micro_prior": "bench.kinds.micro_prior:MicroPriors",
        "probes": "bench.kinds.probes:Probes",
    },
)


def kinds() -> list[Any]:
    """Every kind of job (a `JobKind` each), in the order in which they depend on each other."""
    return sorted((KINDS.get(name)() for name in KINDS), key=lambda kind: (kind.order, kind.name))


def tasks(*, by_default: bool = False) -> tuple[str, ...]:
    """The kinds that a suite's `tasks` may name; with `by_default`, those of a suite that names none."""
    return tuple(kind.name for kind in kinds() if kind.task is not None and (kind.task == "default" or not by_default))


def check_task(name: str, *, where: str) -> None:
    """Raises UserError for a name that is no task, with the nearest one."""
    if name not in tasks():
        raise unknown("task", name, tasks(), where=where)
