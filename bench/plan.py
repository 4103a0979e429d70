"""From cells to jobs: what has to be computed, what is shared, what it will take. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..results.errors import UserError
from ..tasks.config import samples_to_extrapolate
from ..tasks.metrics import metrics
from ..tasks.nets import nets
from ..tasks.nets.config import EncoderConfig
from ..tasks.priors.config import PriorConfig
from ..tasks.probes import probes
from ..tasks.proxies import proxies
from ..tokenizers import weights
from ..tokenizers.corruptions.config import CORRUPTIONS
from ..tokenizers.losses.config import LOSSES
from ..tokenizers.options import merge
from ..tokenizers.registry import declared_version
from ..tokenizers.validation import check
from .datasets import sources
from .datasets.config import DataConfig, signal_spec
from .grid import Cell, cells
from .jobs import Job
from .prior_options import check_axes, check_classes, check_table, configure
from .suite import Suite

ENCODER = "encoder"

# Parts of tasks that have a version of their own and no registry.
_SHARED_VERSIONS = {
    name: declared_version(f"tasks.metrics.{name}:VERSION") or 0 for name in ("codes", "frechet", "kid", "rate")
}

_SCORE_VERSIONS = {
    score: declared_version(f"tasks.metrics.{module}:VERSION") or 0
    for score, module in {
        "manifold": "manifold",
        "memorisation": "memorisation",
        "fd_infinity": "extrapolate",
        "inception_score": "inception_score",
    }.items()
}


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell, the ids of its jobs by kind, and the prior of its latents where one is trained."""

    cell: Cell
    jobs: Mapping[str, str]
    prior: PriorConfig | None = None

    def to_json(self) -> dict[str, Any]:
        """The cell as a run's folder keeps it."""
        prior = None if self.prior is None else self.prior.kind
        return self.cell.to_json() | {"prior": prior, "jobs": dict(self.jobs)}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Cells and the jobs they need, each job once, every job after those it depends on."""

    suite: Suite
    cells: tuple[PlannedCell, ...]
    jobs: Mapping[str, Job]


def make_plan(suite: Suite, fingerprints: Mapping[str, str]) -> Plan:
    """The plan of `suite`; `fingerprints` by data set label ("" where unknown: for looking, not for running).

    Raises UserError for anything that would fail later: impossible points, unknown nets or proxies, absent weights.
    """
    return _Planner(suite, fingerprints).plan()


class _Planner:
    def __init__(self, suite: Suite, fingerprints: Mapping[str, str]) -> None:
        self.suite = suite
        self.fingerprints = fingerprints
        self.jobs: dict[str, Job] = {}
        self.nets = self._nets()
        options = _with_defaults(EncoderConfig, suite.encoder)
        self.encoder = check(EncoderConfig, options, where=f"{suite.where}: encoder")
        check_table(suite.prior, f"{suite.where}: prior")
        for i, name in enumerate(suite.modelability.proxies):
            proxies.version(name, where=f"{suite.where}: modelability.proxies[{i}]")
        for i, name in enumerate(suite.probes.names):
            probes.version(name, where=f"{suite.where}: probes.names[{i}]")

    def plan(self) -> Plan:
        planned = []
        for cell in cells(self.suite):
            prior = self._prior(cell) if "generation" in cell.tasks else None
            planned.append(PlannedCell(cell=cell, jobs=self._cell(cell, prior), prior=prior))
        self._check_weights(planned)
        return Plan(suite=self.suite, cells=tuple(planned), jobs=self.jobs)

    def _add(self, **fields: Any) -> Job:
        job = Job(**fields)
        return self.jobs.setdefault(job.id, job)

    def _nets(self) -> dict[str, Any]:
        found = {}
        for i, name in enumerate(self.suite.features):
            if name == ENCODER:
                continue
            net = nets.get(name, where=f"{self.suite.where}: features[{i}]")
            served = {data.modality for data in self.suite.data} & set(net.modalities)
            if not served:
                raise UserError(
                    f"{self.suite.where}: features[{i}]: {name} serves {', '.join(map(str, net.modalities))}, "
                    "and the suite has no such data"
                )
            found[name] = net
        return found

    def _cell(self, cell: Cell, prior: PriorConfig | None) -> dict[str, str]:
        suite, seed, spec = self.suite, cell.seed, cell.tokenizer.spec
        data = self._data(cell.data)
        runtime = {"data": cell.data.to_json()}
        train = cell.tokenizer.training
        forward = cell.tokenizer.estimate_flops()
        tokenizer = self._add(
            kind="tokenizer",
            config={"tokenizer": cell.tokenizer.to_json(), "seed": seed},
            versions={"training": 1, **cell.tokenizer.versions()},
            depends={"data": data.id},
            title=f"tokenizer {cell.tokenizer_name}",
            runtime=runtime,
            flops=3 * forward * train.batch_size * train.steps if train.flops is None else train.flops,
            step_flops=3 * forward * train.batch_size,
            memory=_memory(cell, train.batch_size),
        )
        ids = {"data": data.id, "tokenizer": tokenizer.id}
        n_train, n_val = _counts(cell.data)
        if {"generation", "modelability", "probes"} & set(cell.tasks):
            latents = self._add(
                kind="latents",
                config={},
                versions={"latents": 1},
                depends={"data": data.id, "tokenizer": tokenizer.id},
                title=f"latents {cell.tokenizer_name}",
                runtime=runtime,
                flops=forward / 2 * (n_train + n_val),
                step_flops=forward * 32,
            )
            ids["latents"] = latents.id
        if "reconstruction" in cell.tasks:
            ids["reconstruction"] = self._add(
                kind="reconstruction",
                config=suite.reconstruction.identity(),
                versions={
                    "reconstruction": suite.reconstruction.version,
                    **{name: metrics.version(name) for name in metrics.names()},
                    **_SHARED_VERSIONS,
                    **self._net_versions(cell.data),
                },
                depends={"data": data.id, "tokenizer": tokenizer.id, **self._references(cell.data, "val")},
                title=f"reconstruction {cell.tokenizer_name}",
                runtime=runtime,
                flops=forward * n_val * (8 if suite.reconstruction.rate else 1),
                step_flops=forward * suite.reconstruction.batch_size,
            ).id
        if "modelability" in cell.tasks:
            wanted = suite.modelability.proxies or tuple(proxies.names())
            ids["modelability"] = self._add(
                kind="modelability",
                config=asdict(suite.modelability) | {"proxies": list(wanted)},
                versions={"modelability": suite.modelability.version}
                | {name: proxies.version(name) for name in wanted},
                depends={"data": data.id, "latents": ids["latents"], "tokenizer": tokenizer.id},
                title=f"modelability {cell.tokenizer_name}",
                runtime=runtime,
                flops=1e9,
            ).id
        if "probes" in cell.tasks:
            wanted = suite.probes.names or tuple(probes.names())
            ids["probes"] = self._add(
                kind="probes",
                config=asdict(suite.probes) | {"names": list(wanted), "seed": seed},
                versions={"probes": suite.probes.version}
                | {name: probes.version(name) for name in wanted}
                | _measured_by(wanted)
                | {"psnr": metrics.version("psnr")}
                | _SHARED_VERSIONS
                | self._net_versions(cell.data),
                depends={
                    "data": data.id,
                    "latents": ids["latents"],
                    "tokenizer": tokenizer.id,
                    **self._references(cell.data, "val"),
                },
                title=f"probes {cell.tokenizer_name}",
                runtime=runtime,
                flops=forward * n_val * 12,
                step_flops=forward * suite.probes.batch_size,
            ).id
        if prior is not None:
            prior_job = self._add(
                kind="prior",
                config={"prior": prior.kind, "options": prior.identity(), "seed": seed},
                versions={"training": 1, f"prior.{prior.kind}": prior.version},
                depends={"data": data.id, "latents": ids["latents"], "tokenizer": tokenizer.id},
                title=f"prior {prior.kind} {cell.name}",
                runtime=runtime,
                flops=prior.training.flops
                or 3 * prior.forward_flops(spec) * prior.training.batch_size * prior.training.steps,
                step_flops=3 * prior.forward_flops(spec) * prior.training.batch_size,
            )
            ids["prior"] = prior_job.id
            ids["generation"] = self._add(
                kind="generation",
                config={**asdict(suite.generation), "seed": seed},
                versions={
                    "generation": suite.generation.version,
                    **_SHARED_VERSIONS,
                    **{name: _SCORE_VERSIONS[name] for name in suite.generation.scores},
                    **self._net_versions(cell.data),
                },
                depends={
                    "data": data.id,
                    "tokenizer": tokenizer.id,
                    "latents": ids["latents"],
                    "prior": prior_job.id,
                    **self._references(cell.data, suite.generation.reference),
                    **self._other_references(cell.data),
                },
                title=f"generation {cell.name}",
                runtime=runtime,
                flops=(prior.sampling_flops(spec) + forward / 2) * suite.generation.samples,
                step_flops=prior.forward_flops(spec) * suite.generation.batch_size,
            ).id
        return ids

    def _prior(self, cell: Cell) -> PriorConfig:
        """The cell's prior. Raises UserError for one that can't be trained on these latents and this data."""
        prior = configure(cell.prior, cell.tokenizer.spec)
        check_axes(cell.prior_axes, prior, cell.prior[-1][1])
        check_classes(prior, cell.data, cell.prior)
        return prior

    def _data(self, data: DataConfig) -> Job:
        return self._add(
            kind="data",
            config={"data": data.identity(), "fingerprint": self.fingerprints.get(data.label, "")},
            versions={data.kind: sources.version(data.kind)},
            title=f"data {data.label}",
            runtime={"data": data.to_json()},
            flops=1e9,
        )

    def _serving(self, data: DataConfig) -> list[str]:
        names = [name for name, net in self.nets.items() if data.modality in net.modalities]
        return ([ENCODER] if ENCODER in self.suite.features else []) + names

    def _net_versions(self, data: DataConfig) -> dict[str, int]:
        return {
            f"net.{name}": self.encoder.version if name == ENCODER else self.nets[name].version
            for name in self._serving(data)
        }

    def _references(self, data: DataConfig, split: str) -> dict[str, str]:
        """Reference features of `split` by role `reference.<net>`, and the encoder they may need."""
        depends: dict[str, str] = {}
        for name in self._serving(data):
            mine = {"data": self._data(data).id}
            if name == ENCODER:
                mine["encoder"] = depends["encoder"] = self._encoder(data).id
            version = self._net_versions(data)[f"net.{name}"]
            job = self._add(
                kind="reference",
                config={"net": name, "split": split},
                versions={"reference": 1, f"net.{name}": version},
                depends=mine,
                title=f"reference {data.label} {name} {split}",
                runtime={"data": data.to_json()},
                flops=1e9,
            )
            depends[f"reference.{name}"] = job.id
        return depends

    def _other_references(self, data: DataConfig) -> dict[str, str]:
        """The split that samples are not compared with, by role `<split>_reference.<net>`, where a score needs both."""
        if "memorisation" not in self.suite.generation.scores:
            return {}
        split = "val" if self.suite.generation.reference == "train" else "train"
        roles = self._references(data, split)
        return {f"{split}_{role}": job for role, job in roles.items() if role.startswith("reference.")}

    def _check_scores(self) -> None:
        """Refuse a score that no net of the suite can give."""
        generation, where = self.suite.generation, f"{self.suite.where}: generation: scores"
        if "generation" not in self.suite.tasks:
            return
        if "fd_infinity" in generation.scores:
            dims = {name: net.dim for name, net in self.nets.items()}
            dims |= {ENCODER: self.encoder.dim} if ENCODER in self.suite.features else {}
            least = min((samples_to_extrapolate(dim), name) for name, dim in dims.items()) if dims else None
            if least is not None and generation.samples < least[0]:
                raise UserError(
                    f"{where}: fd_infinity needs generation.samples of at least {least[0]} (16 per feature of "
                    f"{least[1]}), got {generation.samples}"
                )
        if "inception_score" in generation.scores:
            if "inception" not in self.nets:
                raise UserError(f"{where}: inception_score needs inception among the suite's features")
            from ..tasks.metrics.inception_score import classifier

            path = weights.require("inception", where=where)
            classifier(weights.load(path), path=path, where=where)

    def _encoder(self, data: DataConfig) -> Job:
        training = self.encoder.training
        per_step = 3 * self.encoder.estimate_flops(signal_spec(data)) * training.batch_size
        return self._add(
            kind="encoder",
            config={"encoder": asdict(self.encoder)},
            versions={"training": 1, "encoder": self.encoder.version},
            depends={"data": self._data(data).id},
            title=f"encoder {data.label}",
            runtime={"data": data.to_json()},
            flops=training.flops or per_step * training.steps,
            step_flops=per_step,
        )

    def _check_weights(self, planned: list[PlannedCell]) -> None:
        """Refuse, before anything is trained, what would fail for want of weights."""
        where = self.suite.where
        self._check_scores()
        for data in self.suite.data:
            for net in self.nets.values():
                if data.modality in net.modalities:
                    net.check(signal_spec(data), where=f"{where}: features")
        if self.suite.reconstruction.lpips == "on":
            weights.require("alexnet_lpips", where=f"{where}: reconstruction.lpips")
        for name in {name for p in planned for name in p.cell.tokenizer.weights()}:
            weights.require(name, where=f"{where}: losses")


def _with_defaults(cls: type[EncoderConfig], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` whose `training` is completed by what `cls` is trained with by default, not any model."""
    return merge({"training": asdict(cls().training)}, options)


def _measured_by(names: Sequence[str]) -> dict[str, int]:
    """Versions of the parts that these probes measure with."""
    found: dict[str, int] = {}
    if "losses" in names:
        found |= {f"objective.{kind}": LOSSES.get(kind).version for kind in LOSSES.names()}
    if "corrupted_input" in names:
        found["corruption.mask"] = CORRUPTIONS.get("mask").version
    if "high_frequency" in names:
        found["high_frequency_share"] = proxies.version("high_frequency_share")
    return found


def _counts(data: DataConfig) -> tuple[int, int]:
    """Training and validation samples, guessed where only the files can tell: for predicting cost alone."""
    n = data.samples or 2048
    return n, data.val if isinstance(data.val, int) else max(1, int(n * min(data.val or 0.1, 0.2)))


def _memory(cell: Cell, batch: int) -> int:
    """Bytes that training is expected to take: weights with optimiser and average, and activations."""
    activations = batch * cell.tokenizer.signal.elements * 4 * 60
    return int(400e6 + 20 * cell.tokenizer.estimate_parameters() + activations)
