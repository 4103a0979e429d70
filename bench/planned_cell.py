"""A cell of a plan, with the jobs that it needs. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..results.gates import GATE, HALVING, Gate
from ..tasks.priors.config import PriorConfig
from .grid import Cell


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """Of a cell whose tokenizer is trained in rungs: the `gates` behind them, the lowest first, the ids of its own
    rungs that are `trained` (none for a further seed), and the kinds of its jobs that the last gate `holds` back."""

    gates: tuple[Gate, ...]
    trained: tuple[str, ...]
    holds: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As the cell of a run's folder has it."""
        gates = [asdict(gate) for gate in self.gates]
        return {"rungs": gates, "trained": list(self.trained), "holds": list(self.holds)}


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell, the ids of its jobs by kind, and the prior of its latents where one is trained.

    `shared` are the ids of further jobs without which its own can't be done, and which belong to no cell. `gate` is
    what the jobs of the kinds `held` have to go through: its prior, and all that reads it. `rungs` are those of its
    tokenizer's training.
    """

    cell: Cell
    jobs: Mapping[str, str]
    prior: PriorConfig | None = None
    shared: tuple[str, ...] = ()
    gate: Gate | None = None
    held: tuple[str, ...] = ()
    rungs: Rungs | None = None

    def to_json(self) -> dict[str, Any]:
        """The cell as a run's folder keeps it."""
        prior = None if self.prior is None else self.prior.kind
        gate = {} if self.gate is None else {GATE: asdict(self.gate) | {"holds": list(self.held)}}
        rungs = {} if self.rungs is None else {HALVING: self.rungs.to_json()}
        facts = {"prior": prior, "jobs": dict(self.jobs), "shared": list(self.shared)}
        return self.cell.to_json() | facts | gate | rungs
