"""The texts of `list` (what there is, by name) and `plan` (what a suite would do). Torch-free."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..results.display import counted, printable
from ..tasks.closed_forms import closed_forms
from ..tasks.metrics import metrics, scores
from ..tasks.nets import nets
from ..tasks.priors.config import priors
from ..tasks.probes import probes
from ..tasks.proxies import proxies
from ..tasks.vocoders import vocoders
from ..tokenizers.adapters.config import ADAPTERS
from ..tokenizers.auxiliary.config import AUXILIARY
from ..tokenizers.backbones.config import BACKBONES
from ..tokenizers.bottlenecks.config import BOTTLENECKS
from ..tokenizers.codecs.config import CODECS
from ..tokenizers.diffusion_decoders.config import DIFFUSION_DECODERS
from ..tokenizers.losses.config import LOSSES
from ..tokenizers.recipe import load_recipe, recipe_names
from ..tokenizers.registry import Registry
from ..tokenizers.regularisers.config import REGULARISERS
from ..tokenizers.scrambles.config import SCRAMBLES
from ..tokenizers.sequence_coding.config import SEQUENCE_CODINGS
from .datasets import sources
from .engines import engines
from .forecast import FLOPS_PER_SECOND
from .gates import at_most, descriptions
from .kinds import KINDS, tasks
from .presets import load_preset, preset_names
from .sinks import sinks
from .suite import load_suite, suite_names
from .systems import brief

if TYPE_CHECKING:
    from .data_counts import DataCounts
    from .plan import Plan
    from .plan_cost import PlanCost
    from .plan_score import Advice
    from .planned_cell import PlannedCell


def listing(topic: str | None) -> str:
    """The names of `topic` (also by its older name), or of all topics."""
    topics = [SYNONYMS.get(topic, topic)] if topic else list(TOPICS)
    return "\n\n".join(f"{name}\n{_indent(TOPICS[name]())}" for name in topics)


def plan_text(
    plan: Plan,
    format: str,
    counts: Mapping[str, DataCounts] | None = None,
    cost: PlanCost | None = None,
    advice: Advice | None = None,
) -> str:
    """The plan's cells with TSR, elements, bits and predicted cost: "text" for people, "json" for programs.

    The real rate is measured; before, its upper bound is known (nominal bits), and of some codecs what they aim at.
    `counts` are those of the data sets, by label, where they are known; `cost` what the jobs take of a machine,
    `advice` what a score says of which tokenizers deserve a full prior.
    """
    counts = counts or {}
    known = plan.jobs if cost is None else cost.jobs
    rows = []
    for planned in plan.cells:
        jobs = [known[name] for name in planned.jobs.values()]
        config = planned.cell.tokenizer
        rows.append(
            planned.cell.to_json()
            | {"aimed_bits": None if config.codec is None else config.codec.aimed_bits(config.spec.signal)}
            | {"parameters": config.estimate_parameters(), "flops": sum(job.flops for job in jobs)}
            | _prior(planned, plan)
            | ({} if cost is None else {"memory_bytes": cost.memory(planned)} | _guessed(cost, planned))
        )
    most, gates = at_most(known), descriptions(plan.jobs)
    total = sum(job.flops for job in most.values())
    if format == "json":
        facts: dict[str, Any] = {
            "suite": plan.suite.name,
            "data": {label: known.to_json() for label, known in counts.items()},
        }
        facts |= {"cells": rows, "jobs": len(plan.jobs), "flops": total}
        facts |= {"gates": gates, "jobs_at_most": len(most)} if gates else {}
        facts |= {} if advice is None else {"score": advice.to_json()}
        return json.dumps(facts | ({} if cost is None else {"cost": cost.to_json()}), indent=2)
    head: tuple[str, ...] = ("cell", "tsr", "elements", "bits", "kbit/s", "parameters", "prior", "TFLOP")
    head += ("GB",) if cost is not None else ()
    table = [head] + [
        (
            printable(row["cell"]),
            f"{row['tsr']:.4g}",
            str(row["elements"]),
            *_rate(row, planned.cell.tokenizer.spec.signal.seconds),
            f"{row['parameters']:,}",
            row["prior"] or "",
            f"{'~' * row.get('flops_guessed', False)}{row['flops'] / 1e12:.3g}",
            *((f"{'~' * row['memory_guessed']}{row['memory_bytes'] / 1e9:.2g}",) if cost is not None else ()),
        )
        for row, planned in zip(rows, plan.cells, strict=True)
    ]
    aimed = ", or what a codec aims at (~)" if any(row["aimed_bits"] is not None for row in rows) else ""
    data = "".join(f"{printable(label)}: {known.text}\n" for label, known in counts.items() if known.files)
    data += "\n" * bool(data)
    cells = "\n".join(_columns(table, numbers=True))
    return (
        f"{data}{cells}\n\n"
        f"bits: at most (≤){aimed}; a run measures the real rate\n"
        f"{counted(len(rows), 'cell')}, {_jobs(plan, len(most))}"
        f"predicted: {total / 1e12:.3g} TFLOP, about {_duration(total / FLOPS_PER_SECOND)} of one CPU core"
        + "".join(f"\n{line}" for line in (cost.lines() if cost is not None else ()))
        + "".join(f"\n{line}" for line in (("", *advice.lines()) if advice is not None else ()))
    )


def _jobs(plan: Plan, most: int) -> str:
    """How many jobs there are of each kind; with gates, that `most` of them run."""
    kinds: dict[str, int] = {}
    for job in plan.jobs.values():
        kinds[job.kind] = kinds.get(job.kind, 0) + 1
    lines = [f"{counted(len(plan.jobs), 'job')} ({', '.join(f'{count} {kind}' for kind, count in kinds.items())})"]
    if gates := descriptions(plan.jobs):
        lines += [*gates, f"so {most} of the jobs run at most (more where tokenizers are equal)"]
    return "".join(f"{line}\n" for line in lines)


def _rate(row: Mapping[str, Any], seconds: float | None) -> tuple[str, str]:
    """Bits per sample and kbit/s, as far as they are known before a sample is coded."""
    aimed = row["aimed_bits"]
    sign, bits = ("≤", row["bits_per_sample"]) if aimed is None else ("~", aimed)
    return f"{sign}{bits:.6g}", "" if not seconds else f"{sign}{bits / seconds / 1000:.4g}"


def _guessed(cost: PlanCost, planned: PlannedCell) -> dict[str, bool]:
    memory, flops = cost.is_guess(planned)
    return {"memory_guessed": memory, "flops_guessed": flops}


def _prior(planned: PlannedCell, plan: Plan) -> dict[str, Any]:
    """The prior that a cell would train, and the FLOPs of its training."""
    if planned.prior is None:
        return {"prior": None, "prior_flops": None}
    return {"prior": planned.prior.kind, "prior_flops": plan.jobs[planned.jobs["prior"]].flops}


def _columns(rows: Sequence[Sequence[str]], *, numbers: bool = False) -> list[str]:
    """Aligned lines, two spaces between columns, all but the first to the right where they are `numbers`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align = [str.ljust, *([str.rjust if numbers else str.ljust] * (len(widths) - 1))]
    return ["  ".join(put(c, n) for put, c, n in zip(align, row, widths, strict=True)).rstrip() for row in rows]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _indent(lines: Iterable[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


def _names(registry: Registry) -> Callable[[], list[str]]:
    return lambda: _columns([(name, registry.summary(name)) for name in registry.names()])


def _recipes() -> list[str]:
    recipes = map(load_recipe, recipe_names())
    return _columns([(r.name, f"{', '.join(map(str, r.modalities))}: {r.title}") for r in recipes])


def _suites() -> list[str]:
    return _columns([(suite.name, suite.description) for suite in map(load_suite, suite_names())])


TOPICS: dict[str, Callable[[], list[str]]] = {
    "systems": brief,
    "recipes": _recipes,
    "adapters": _names(ADAPTERS),
    "backbones": _names(BACKBONES),
    "bottlenecks": _names(BOTTLENECKS),
    "codecs": _names(CODECS),
    "sequence_codings": _names(SEQUENCE_CODINGS),
    "losses": _names(LOSSES),
    "auxiliary": _names(AUXILIARY),
    "regularisers": _names(REGULARISERS),
    "diffusion_decoders": _names(DIFFUSION_DECODERS),
    "scrambles": _names(SCRAMBLES),
    "metrics": _names(metrics),
    "scores": _names(scores),
    "priors": _names(priors),
    "kinds": _names(KINDS),
    "tasks": lambda: list(tasks()),
    "proxies": _names(proxies),
    "closed_forms": _names(closed_forms),
    "probes": _names(probes),
    "nets": _names(nets),
    "vocoders": _names(vocoders),
    "datasets": _names(sources),
    "engines": _names(engines),
    "sinks": _names(sinks),
    "suites": _suites,
    "presets": lambda: _columns([(name, load_preset(name).description) for name in preset_names()]),
}

# The names that topics had before.
SYNONYMS = {"tokenizers": "recipes", "recodings": "sequence_codings", "decoders": "diffusion_decoders"}
