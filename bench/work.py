"""What each kind of job does, in a worker process: from an order's dependencies to metrics and artifacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from ..results.metric import Metric
from ..results.record import Record
from ..results.store import Store
from ..tasks.config import GenerationConfig, ModelabilityConfig, ProbesConfig, ReconstructionConfig
from ..tasks.distances import REFERENCE, Reference
from ..tasks.features import collect
from ..tasks.generation import SAMPLES, generate, held_out
from ..tasks.interface import Context, FeatureNet, FitReport, batches
from ..tasks.latents import LatentStore, write_latents, write_statistics
from ..tasks.metrics.interface import PairMetric
from ..tasks.modelability import measure
from ..tasks.nets import nets
from ..tasks.nets.config import EncoderConfig
from ..tasks.nets.encoder import EncoderTrainer, LabelledSource
from ..tasks.priors.build import build_prior
from ..tasks.priors.config import priors
from ..tasks.priors.interface import Prior
from ..tasks.probes.interface import ProbeInput
from ..tasks.probing import probe
from ..tasks.reconstruction import PAIRS, reconstruct
from ..tasks.stopwatch import rate
from ..tasks.tensors import save_tensors
from ..tokenizers.build import build
from ..tokenizers.config import TokenizerConfig
from ..tokenizers.interface import Trainable, TrainableTokenizer
from ..tokenizers.seeding import derive_seed
from ..tokenizers.training import TrainingConfig
from ..tokenizers.validation import check
from .datasets import CachedDataset, open_dataset
from .datasets.complaints import by_reason
from .datasets.config import DataConfig
from .jobs import Job
from .signals import StopSignal
from .training import train

MODEL = "model.safetensors"
ENCODE_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What a job leaves: metrics, plain deterministic facts, artifact files, and volatile facts (`run`)."""

    metrics: tuple[Metric, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    run: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """A job with everything it may reach: its folder, its device, and what it depends on, loaded when asked for."""

    job: Job
    store: Store
    folder: Path
    cache: Path
    device: torch.device
    progress: Callable[[int, int, str], None]
    stop: StopSignal
    checkpoint_seconds: float

    @property
    def seed(self) -> int:
        """The cell's seed; 0 for jobs that all cells share."""
        return int(self.job.config.get("seed", 0))

    @cached_property
    def dataset(self) -> CachedDataset:
        """The job's data set, decoded into the cache if it is not there."""
        record = self.job if self.job.kind == "data" else self.record("data")
        config = check(DataConfig, self.job.runtime["data"], where="data")
        return open_dataset(config, cache=self.cache, fingerprint=record.config["fingerprint"], progress=self.progress)

    def record(self, role: str) -> Record:
        """The finished record of the job that plays `role`."""
        kind, key = self.job.depends[role].split("/")
        record = self.store.load(kind, key)
        if record is None:
            raise RuntimeError(f"{self.job.depends[role]} has no finished record")
        return record

    def depends_folder(self, role: str) -> Path:
        """The folder of the job that plays `role`."""
        kind, key = self.job.depends[role].split("/")
        return self.store.job_folder(kind, key)

    @cached_property
    def tokenizer_config(self) -> TokenizerConfig:
        """The configuration of the tokenizer this job is about."""
        source = self.job if self.job.kind == "tokenizer" else self.record("tokenizer")
        return TokenizerConfig.from_json(source.config["tokenizer"])

    @cached_property
    def tokenizer(self) -> TrainableTokenizer:
        """The trained tokenizer."""
        model = build(self.tokenizer_config)
        return self._loaded(model, self.depends_folder("tokenizer"))

    @cached_property
    def latents(self) -> LatentStore:
        """The stored latents."""
        return LatentStore.open(self.depends_folder("latents"), self.tokenizer_config.spec)

    @cached_property
    def nets(self) -> dict[str, FeatureNet]:
        """The feature nets that this job's references were made with."""
        names = [role.removeprefix("reference.") for role in self.job.depends if role.startswith("reference.")]
        if self.job.kind == "reference":
            names = [self.job.config["net"]]
        return {name: self._net(name) for name in names}

    @cached_property
    def references(self) -> dict[str, Reference]:
        """Reference features by net."""
        found = {}
        for name in self.nets:
            role = f"reference.{name}"
            found[name] = Reference.load(self.depends_folder(role), self.record(role).config["split"])
        return found

    @cached_property
    def split_references(self) -> dict[tuple[str, str], Reference]:
        """The same by net and split, and those that play `<split>_reference.<net>`: the split not compared with."""
        found = {(self.nets[name].name, reference.split): reference for name, reference in self.references.items()}
        for role in self.job.depends:
            split, is_reference, name = role.partition("_reference.")
            if is_reference:
                found[self.nets[name].name, split] = Reference.load(self.depends_folder(role), split)
        return found

    def context(self) -> Context:
        """What a task sees."""
        return Context(
            device=self.device,
            seed=self.seed,
            folder=self.folder,
            fit=self.fit,
            progress=self.progress,
            nets=self.nets,
            references=self.split_references,
        )

    def fit(self, model: Trainable, source: Any, config: TrainingConfig, *, seed: int) -> FitReport:
        """The one training loop, in this job's folder."""
        with self.stop.held():
            return train(
                model,
                source,
                config,
                seed=seed,
                folder=self.folder,
                device=self.device,
                progress=self.progress,
                stop=self.stop,
                checkpoint_seconds=self.checkpoint_seconds,
            )

    def save(self, model: nn.Module) -> None:
        """Write the model's weights atomically."""
        save_tensors(self.folder / MODEL, model.state_dict())

    def _loaded(self, model: Any, folder: Path) -> Any:
        model.drop_training_modules()
        model.load_state_dict(load_file(folder / MODEL))
        return model.to(self.device).eval().requires_grad_(False)

    def _net(self, name: str) -> FeatureNet:
        if name != "encoder":
            return nets.get(name).load(self.dataset.signal, self.device)
        config = check(EncoderConfig, self.record("encoder").config["encoder"], where="encoder")
        trainer = EncoderTrainer(config, self.dataset.signal, len(self.dataset.classes))
        return self._loaded(trainer, self.depends_folder("encoder")).net()


def execute(ctx: JobContext) -> JobResult:
    """Do the job."""
    return _KINDS[ctx.job.kind](ctx)


def _data(ctx: JobContext) -> JobResult:
    data = ctx.dataset
    return JobResult(
        extra={
            "train": len(data.train),
            "val": len(data.val),
            "classes": list(data.classes),
            "counts": dict(data.counts),
            "skipped": [dict(item) for item in data.skipped],
            "reasons": by_reason(item["reason"] for item in data.skipped),
        }
    )


def _encoder(ctx: JobContext) -> JobResult:
    data = ctx.dataset
    config = check(EncoderConfig, ctx.job.config["encoder"], where="encoder")
    torch.manual_seed(derive_seed(0, "encoder"))
    trainer = EncoderTrainer(config, data.signal, len(data.classes))
    report = ctx.fit(trainer, LabelledSource(data.train), config.training, seed=0)
    ctx.save(trainer)
    quality = trainer.held_out(data.val)
    return _trained(ctx, trainer, report, extra={"quality": quality, "net": trainer.net().name})


def _reference(ctx: JobContext) -> JobResult:
    split = ctx.dataset.train if ctx.job.config["split"] == "train" else ctx.dataset.val
    (net,) = ctx.nets.values()
    read = _Sources(split) if net.reads == "waveform" else split

    def drawn() -> Any:
        done = 0
        for batch in batches(read, ENCODE_BATCH, ctx.device):
            yield batch
            done += len(batch)
            ctx.progress(done, len(split), "features")

    Reference.of(collect(net, drawn()), ctx.job.config["split"]).save(ctx.folder)
    return JobResult(artifacts=(REFERENCE,), extra={"net": net.name, "samples": len(split)})


class _Sources:
    """A split's waveforms as a source of batches."""

    def __init__(self, split: Any) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, indices: np.ndarray, device: torch.device) -> torch.Tensor:
        return self.split.sources(indices, device)


def _tokenizer(ctx: JobContext) -> JobResult:
    config = ctx.tokenizer_config
    torch.manual_seed(derive_seed(ctx.seed, "init"))
    model = build(config)
    report = ctx.fit(model, ctx.dataset.train, config.training, seed=ctx.seed)
    ctx.save(model)
    return _trained(ctx, model, report)


def _latents(ctx: JobContext) -> JobResult:
    splits = {"train": ctx.dataset.train, "val": ctx.dataset.val}
    for name, split in splits.items():
        write_latents(
            ctx.tokenizer,
            split,
            ctx.folder,
            name,
            device=ctx.device,
            batch_size=ENCODE_BATCH,
            progress=ctx.progress,
        )
    write_statistics(ctx.folder)
    files = [*sorted(p.name for p in ctx.folder.glob("*.npy")), "statistics.json"]
    return JobResult(artifacts=tuple(files), extra={name: len(split) for name, split in splits.items()})


def _reconstruction(ctx: JobContext) -> JobResult:
    config = ReconstructionConfig(**ctx.job.config)
    extra: list[PairMetric] = []
    if config.lpips == "on" and not ctx.dataset.signal.modality.is_audio:
        from ..tasks.metrics.lpips import Lpips
        from ..tokenizers import weights
        from ..tokenizers.losses.lpips import LPIPS

        extra.append(Lpips(LPIPS(weights.require("alexnet_lpips")).to(ctx.device).eval()))
    result = reconstruct(
        ctx.tokenizer, ctx.dataset, config, ctx.context(), references=ctx.references, extra_metrics=extra
    )
    artifacts = (PAIRS,) if config.keep else ()
    return JobResult(metrics=result.metrics, extra=result.extra, artifacts=artifacts, run=result.run)


def _prior(ctx: JobContext) -> JobResult:
    prior = _untrained_prior(ctx, ctx.job.config)
    report = ctx.fit(prior, ctx.latents.train, prior_config(ctx.job.config).training, seed=ctx.seed)
    ctx.save(prior)
    metrics = held_out(prior, ctx.latents.val, ctx.tokenizer_config.spec, ctx.device)
    return _trained(ctx, prior, report, metrics=metrics)


def _generation(ctx: JobContext) -> JobResult:
    record = ctx.record("prior")
    prior: Prior = ctx._loaded(_untrained_prior(ctx, record.config), ctx.depends_folder("prior"))
    options = {k: v for k, v in ctx.job.config.items() if k != "seed"}
    config = GenerationConfig(**options)
    result = generate(
        prior,
        ctx.tokenizer,
        ctx.latents,
        config,
        ctx.context(),
        references=ctx.references,
    )
    extra = {"sampler": prior_config(record.config).protocol, **result.extra}
    artifacts = (SAMPLES,) if config.keep else ()
    return JobResult(metrics=result.metrics, extra=extra, artifacts=artifacts, run=result.run)


def _modelability(ctx: JobContext) -> JobResult:
    config = check(ModelabilityConfig, ctx.job.config, where="modelability")
    result, seconds = measure(ctx.latents, config, progress=ctx.progress)
    return JobResult(metrics=result.metrics, extra=result.extra, run={"proxy_seconds": seconds})


def _probes(ctx: JobContext) -> JobResult:
    options = {k: v for k, v in ctx.job.config.items() if k != "seed"}
    config = check(ProbesConfig, options, where="probes")
    made = ctx.tokenizer_config
    probed = ProbeInput(
        tokenizer=ctx.tokenizer,
        data=ctx.dataset,
        latents=ctx.latents,
        device=ctx.device,
        seed=ctx.seed,
        samples=config.samples,
        batch_size=config.batch_size,
        nets=ctx.nets,
        references=ctx.references,
        untrained=None if made.codec is not None else lambda: build(made),
    )
    result = probe(probed, config, progress=ctx.progress)
    return JobResult(metrics=result.metrics, extra=result.extra, run=result.run)


def prior_config(config: Mapping[str, Any]) -> Any:
    """The prior's options as kept in its job's configuration."""
    return check(priors.get(config["prior"]), config["options"], where="prior")


def _untrained_prior(ctx: JobContext, config: Mapping[str, Any]) -> Prior:
    torch.manual_seed(derive_seed(int(config["seed"]), "prior"))
    return build_prior(prior_config(config), ctx.tokenizer_config.spec)


def _trained(
    ctx: JobContext,
    model: nn.Module,
    report: FitReport,
    *,
    metrics: tuple[Metric, ...] = (),
    extra: Mapping[str, Any] | None = None,
) -> JobResult:
    facts = {k: list(v) if k == "curve" else v for k, v in asdict(report).items() if k != "seconds"}
    parameters = sum(p.numel() for p in model.parameters())
    return JobResult(
        metrics=metrics,
        extra={"parameters": parameters, **facts, **(extra or {})},
        artifacts=(MODEL,),
        run={
            "train_seconds": round(report.seconds, 3),
            "samples_per_second": rate(report.samples, report.seconds),
        },
    )


_KINDS: dict[str, Callable[[JobContext], JobResult]] = {
    "data": _data,
    "encoder": _encoder,
    "reference": _reference,
    "tokenizer": _tokenizer,
    "latents": _latents,
    "reconstruction": _reconstruction,
    "prior": _prior,
    "generation": _generation,
    "modelability": _modelability,
    "probes": _probes,
}
