"""What a kind of job is, and what it sees while a plan is made. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...results.record import JobResult
from ...tasks.priors.config import PriorConfig
from ...tokenizers.codecs.stream_config import StreamConfig
from ...tokenizers.registry import Registry
from ...tokenizers.spec import LatentSpec, Modality
from ...tokenizers.validation import check
from ..datasets.config import DataConfig
from ..grid import Cell
from ..jobs import Job
from ..prior_options import check_axes, check_classes, configure
from ..suite import Suite

if TYPE_CHECKING:
    from ..job_context import JobContext
else:
    JobContext = Any  # it needs torch, which workers alone import


CONTRACT = "contract"  # the kind that checks an adapter's tokenizer before anything reads it


SAMPLING = "sampling"  # where a generation's configuration has the prior's `sampling()`

SMALL = 500_000_000  # bytes of a job about whose memory nothing is known


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a job is expected to take: FLOPs in all, and on each of its `devices` FLOPs of one optimiser step or batch,
    and bytes of memory; `on_cpu`: it does nothing on a GPU."""

    flops: float = 1e9
    step_flops: float = 0.0
    memory: int = SMALL
    on_cpu: bool = False
    devices: int = 1


@dataclass(frozen=True, kw_only=True)
class PlanContext:
    """Where a job stands in a plan: the suite, a data set and, for jobs that are not shared, one of its cells.

    `choice` tells jobs of one kind on one data set apart (a net's name, a split); `fingerprint` is the data set's, and
    `known_counts` its training and validation samples where the files were read.
    """

    suite: Suite
    data: DataConfig
    fingerprint: str
    add: Callable[[str, PlanContext], Job]
    chosen_cell: Cell | None = None
    choice: Mapping[str, str] = field(default_factory=dict)
    known_counts: tuple[int, int] | None = None

    @property
    def cell(self) -> Cell:
        """The cell. Raises ValueError for a job that all cells of a data set share."""
        if self.chosen_cell is None:
            raise ValueError("a job that cells share belongs to none of them")
        return self.chosen_cell

    @property
    def spec(self) -> LatentSpec:
        """The shape and rate of the cell's latents."""
        return self.cell.tokenizer.spec

    @cached_property
    def prior(self) -> PriorConfig:
        """The cell's prior. Raises UserError for one that can't be trained on these latents and this data."""
        prior = configure(self.cell.prior, self.spec)
        check_axes(self.cell.prior_axes, prior, self.cell.prior[-1][1])
        check_classes(prior, self.data, self.cell.prior)
        return prior

    @property
    def codec_on_cpu(self) -> bool:
        """Whether the cell's tokenizer is a codec that writes bytes: a library does its work, on the CPU."""
        return isinstance(self.cell.tokenizer.codec, StreamConfig)

    def need(self, kind: str, **choice: str) -> str:
        """The id of the job of that kind for this cell (or data set), which joins the plan unless it is there.

        Who needs the tokenizer of a cell with a scramble gets the job of the scrambled one.
        """
        if kind == "tokenizer" and self.cell.tokenizer.scramble is not None:
            kind = "scramble"
        return self.add(kind, replace(self, choice=choice) if choice != self.choice else self).id

    @property
    def preset(self) -> dict[str, Any]:
        """The preset that the suite keeps to, for the configuration of a job that measures; empty for none."""
        return {} if self.suite.protocol is None else {"preset": self.suite.protocol.identity()}

    @property
    def counts(self) -> tuple[int, int]:
        """Training and validation samples, guessed where only the files can tell: for predicting cost alone."""
        if self.known_counts is not None:
            return self.known_counts
        n, val = self.data.samples or 2048, self.data.val
        return n, val if isinstance(val, int) else max(1, int(n * min(val or 0.1, 0.2)))


def all_reported(registry: Registry) -> tuple[str, ...] | None:
    """What all parts of the registry report; None where one does not say."""
    of_parts = [registry.get(name).reports for name in registry]
    return None if None in of_parts else tuple(name for names in of_parts for name in names)


def without_batch(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the number of samples that are evaluated at a time."""
    return {name: value for name, value in config.items() if name != "batch_size"}


def task_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """A job's configuration without what is no option of its task."""
    others = ("seed", "preset", "weights", "precision", SAMPLING)
    return {name: value for name, value in config.items() if name not in others}


class JobKind:
    """One kind of job, from its options in a suite to its record. It holds no state.

    `name` is the folder below `jobs/`, the suite's table of options and, for a task, what `tasks` names; `order` places
    it among the kinds, after those it needs. A `task` is done on request, or by "default" where a suite names no tasks;
    the other kinds are done where something needs them. `shared` jobs belong to a data set and not to a cell.
    `version` rises when what `run` does gives other numbers; `options` is the dataclass of the suite's table,
    and `requires` names the kinds whose jobs, for the same cell, it reads. What `evaluates` has the suite's
    `evaluation` in its configuration, as `precision`, and in the protocol of its metrics.
    """

    name: ClassVar[str]
    order: ClassVar[int]
    version: ClassVar[int]
    task: ClassVar[Literal["default", "on request"] | None] = None
    shared: ClassVar[bool] = False
    options: ClassVar[type | None] = None
    evaluates: ClassVar[bool] = False
    requires: ClassVar[tuple[str, ...]] = ()

    def read(self, table: Mapping[str, Any], where: str) -> Any:
        """The suite's table as `options`. Raises UserError with the place of what is wrong."""
        assert self.options is not None
        return check(self.options, table, where=where)

    def check(self, suite: Suite, cells: Sequence[Cell]) -> None:
        """Raises UserError, before anything is trained, for what could not be done when its turn comes."""

    def config(self, at: PlanContext) -> dict[str, Any]:
        """What is hashed into the job's key beside versions and needs: by default the suite's options."""
        return asdict(at.suite.options[self.name]) if self.options is not None else {}

    def imports(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Modules that `run` imports for a job of that configuration: who forks many jobs imports them once for all."""
        return ()

    def identity(self, at: PlanContext) -> dict[str, Any]:
        """`config`, and the suite's `evaluation` where that can move the job's numbers."""
        return self.config(at) | (at.suite.evaluation.identity() if self.evaluates else {})

    def runtime(self, at: PlanContext) -> dict[str, Any]:
        """What `run` needs and no number depends on beyond rounding: it stays out of the job's key."""
        return {}

    def versions(self, at: PlanContext) -> dict[str, int]:
        """The versions of all that can move its numbers, by part: the kind's own, and what a subclass adds."""
        return {f"kind.{self.name}": self.version}

    def needs(self, at: PlanContext) -> dict[str, str]:
        """The jobs whose results it reads, id by role: by default one of each kind in `requires`.

        What reads a tokenizer of somebody else's also needs its contract to hold.
        """
        needed = {kind: at.need(kind) for kind in self.requires}
        if "tokenizer" in self.requires and self.name != CONTRACT and at.cell.tokenizer.adapter is not None:
            needed[CONTRACT] = at.need(CONTRACT)
        return needed

    def reports(self, modality: Modality) -> tuple[str, ...] | None:
        """The names of its metrics of such signals as `tasks.metric_names` has them, which claims are checked against;
        None where it does not say, as by default a task: then any name may be right."""
        return () if self.task is None else None

    def title(self, at: PlanContext) -> str:
        """What people read of it."""
        subject = (at.data.label, *at.choice.values()) if self.shared else (at.cell.tokenizer_name,)
        return " ".join((self.name, *subject))

    def price(self, at: PlanContext) -> Price:
        """What it is expected to take."""
        return Price()

    def run(self, ctx: JobContext) -> JobResult:
        """Do it, in a worker process."""
        raise NotImplementedError
