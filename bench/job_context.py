"""What a job may reach in a worker process: its folder, its device, and what it depends on, loaded when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from ..results.metric import Metric
from ..results.record import JobResult, Record
from ..results.store import Store
from ..tasks.config import Precision
from ..tasks.distances import Reference
from ..tasks.given_frames import GivenFrames
from ..tasks.interface import Context, FeatureNet, FitReport
from ..tasks.latents import LatentStore
from ..tasks.nets import nets
from ..tasks.nets.config import EncoderConfig
from ..tasks.nets.encoder import EncoderTrainer
from ..tasks.precision import set_precision
from ..tasks.priors.build import build_prior
from ..tasks.priors.config import PriorConfig, priors
from ..tasks.priors.interface import Prior
from ..tasks.stopwatch import rate
from ..tasks.tensors import save_tensors
from ..tasks.vocoders import VocoderConfig, vocoders
from ..tasks.vocoders.base import Vocoder
from ..tokenizers.build import build
from ..tokenizers.config import TokenizerConfig
from ..tokenizers.interface import Trainable, TrainableTokenizer
from ..tokenizers.part import read_part
from ..tokenizers.seeding import derive_seed
from ..tokenizers.training import TrainingConfig
from ..tokenizers.validation import check
from .datasets import CachedDataset, open_dataset
from .datasets.config import DataConfig
from .job_files import FILES, by_place
from .jobs import BATCH_SIZE, Job
from .rank_processes import Ranks
from .signals import StopSignal
from .training import WHOLE, train
from .worker_protocol import continue_training

MODEL = "model.safetensors"
_CLIPS_TRIED = 8  # to see which frames the first latents of a clip hold


class DamagedDependencyError(RuntimeError):
    """What a job reads is not what another has left: that job has to be done again first."""


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """A job with everything it may reach. `batch_size` is that of encoding, which no number depends on;
    `divide` has a training's batches computed in so many parts where they can be (see `training.micro_batch`);
    `ranks` are the processes that share its batches; `verified` names the jobs whose artifacts were compared with
    their digests."""

    job: Job
    store: Store
    folder: Path
    cache: Path
    device: torch.device
    progress: Callable[[int, int, str], None]
    stop: StopSignal
    checkpoint_seconds: float
    batch_size: int = BATCH_SIZE
    divide: int = 1
    ranks: Ranks = field(default_factory=Ranks)
    verified: set[str] = field(default_factory=set)

    @property
    def seed(self) -> int:
        """The cell's seed; 0 for jobs that all cells share."""
        return int(self.job.config.get("seed", 0))

    @property
    def precision(self) -> Precision:
        """The suite's `evaluation.precision`, where it can change the job's numbers."""
        precision: Precision = self.job.config.get("precision", "float32")
        return precision

    @cached_property
    def dataset(self) -> CachedDataset:
        """The job's data set, decoded into the cache if it is not there."""
        record = self.job if self.job.kind == "data" else self.record("data")
        config = check(DataConfig, self.job.runtime["data"], where="data")
        return open_dataset(config, cache=self.cache, fingerprint=record.config["fingerprint"], progress=self.progress)

    def record(self, role: str) -> Record:
        """The finished record of the job in this role, with the files that its configuration names where they lie.

        Raises DamagedDependencyError where there is none any more.
        """
        kind, key = self.job.depends[role].split("/")
        record = self.store.load(kind, key)
        if record is None:
            raise DamagedDependencyError(f"{self.job.depends[role]} has no finished record")
        return replace(record, config=by_place(record.config, self.job.runtime.get(FILES, {})))

    def folder_of(self, role: str) -> Path:
        """The folder of the job in this role, each artifact compared with its digest when this is first asked for.

        Raises DamagedDependencyError.
        """
        name = self.job.depends[role]
        record = self.record(role)
        if name not in self.verified:
            if damage := self.store.damage(record):
                raise DamagedDependencyError(f"{name}: {damage}")
            self.verified.add(name)
        return self.store.job_folder(record.kind, record.key)

    @cached_property
    def tokenizer_config(self) -> TokenizerConfig:
        """The configuration of the tokenizer this job is about."""
        source = self.record("tokenizer") if "tokenizer" in self.job.depends else self.job
        return TokenizerConfig.from_json(source.config["tokenizer"])

    @cached_property
    def tokenizer(self) -> TrainableTokenizer:
        """The trained tokenizer, computing in `precision`; an adapter's from its own files, which the plan has compared
        with their digests."""
        untrained = build(self.tokenizer_config)
        adapted = self.tokenizer_config.adapter is not None
        tokenizer: TrainableTokenizer = untrained.to(self.device) if adapted else self.loaded(untrained, "tokenizer")
        return set_precision(tokenizer, self.precision, self.device)

    @cached_property
    def latents(self) -> LatentStore:
        """The stored latents."""
        return LatentStore.open(self.folder_of("latents"), self.tokenizer_config.spec)

    @cached_property
    def nets(self) -> dict[str, FeatureNet]:
        """The feature nets that this job's references were computed with, or are to be."""
        names = [role.removeprefix("reference.") for role in self.job.depends if role.startswith("reference.")]
        if self.job.kind == "reference":
            names = [self.job.config["net"]]
        return {name: self._net(name) for name in names}

    @cached_property
    def references(self) -> dict[str, Reference]:
        """Reference features by net."""
        splits = {name: self.record(f"reference.{name}").config["split"] for name in self.nets}
        return {name: Reference.load(self.folder_of(f"reference.{name}"), split) for name, split in splits.items()}

    @cached_property
    def vocoder(self) -> Vocoder | None:
        """The trained vocoder, computing in float32 whatever `precision` is; None where the job needs none."""
        if "vocoder" not in self.job.depends:
            return None
        vocoder: Vocoder = self.loaded(self.untrained_vocoder(self.record("vocoder").config), "vocoder")
        return vocoder

    def task_context(self) -> Context:
        """What a task sees. `references` are by net and split: also of the split that is not compared with, whose
        role is `<split>_reference.<net>`."""
        references = {(self.nets[name].name, reference.split): reference for name, reference in self.references.items()}
        for role in self.job.depends:
            split, is_reference, name = role.partition("_reference.")
            if is_reference:
                references[self.nets[name].name, split] = Reference.load(self.folder_of(role), split)
        return Context(
            device=self.device,
            seed=self.seed,
            folder=self.folder,
            progress=self.progress,
            nets=self.nets,
            references=references,
            vocoder=self.vocoder,
        )

    def fit(
        self, model: Trainable, source: Any, config: TrainingConfig, *, seed: int, until: Fraction = WHOLE
    ) -> FitReport:
        """The one training loop, in this job's folder; from where an earlier rung of the training has stopped."""
        if self.ranks.number == 0:
            continue_training(self.job, self.folder, self.store)
        with self.stop.held(), self.ranks.joined(self.device):
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
                divide=self.divide,
                until=until,
            )

    def save(self, model: nn.Module) -> None:
        """Write the model's weights atomically."""
        save_tensors(self.folder / MODEL, model.state_dict())

    def loaded(self, model: Any, role: str) -> Any:
        """`model` with the weights that the job in this role has trained, frozen, on the job's device."""
        model.drop_training_modules()
        model.load_state_dict(load_file(self.folder_of(role) / MODEL))
        return model.to(self.device).eval().requires_grad_(False)

    def prior_config(self, config: Mapping[str, Any]) -> PriorConfig:
        """The prior's options as its job's configuration keeps them."""
        return check(priors.get(config["prior"]), config["options"], where="prior")

    def untrained_tokenizer(self) -> TrainableTokenizer:
        """The tokenizer of this job, which trains it, with its initial weights."""
        torch.manual_seed(derive_seed(self.seed, "init"))
        return build(self.tokenizer_config)

    def untrained_prior(self, config: Mapping[str, Any]) -> Prior:
        """The prior of a job's configuration with its initial weights."""
        torch.manual_seed(derive_seed(int(config["seed"]), "prior"))
        return build_prior(self.prior_config(config), self.tokenizer_config.spec)

    def given_frames(self, prior: PriorConfig) -> GivenFrames | None:
        """Which frames of clips the prior is given, as the trained tokenizer has it; None for one that models all."""
        count = getattr(prior, "condition_frames", 0)
        if not count:
            return None
        clips = self.dataset.val.batch(np.arange(min(_CLIPS_TRIED, len(self.dataset.val))), self.device)
        return GivenFrames.measured(self.tokenizer, clips, count)

    def untrained_vocoder(self, config: Mapping[str, Any]) -> Vocoder:
        """The vocoder of a job's configuration with its initial weights."""
        part = read_part(VocoderConfig, vocoders, config["vocoder"], where="vocoder")
        torch.manual_seed(derive_seed(part.seed, "vocoder"))
        vocoder: Vocoder = part.build(self.dataset.signal)
        return vocoder

    def trained(
        self,
        model: nn.Module,
        report: FitReport,
        *,
        metrics: tuple[Metric, ...] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> JobResult:
        """The result of a job that has trained and saved `model`."""
        facts = asdict(report) | {"curve": list(report.curve)}
        volatile = {"train_seconds": round(facts.pop("seconds"), 3)}
        volatile |= {"samples_per_second": rate(report.samples, report.seconds)}
        if layout := facts.pop("memory_format"):
            volatile["memory_format"] = layout
        parameters = sum(p.numel() for p in model.parameters())
        extra = {"parameters": parameters, **facts, **(extra or {})}
        return JobResult(metrics=metrics, extra=extra, artifacts=(MODEL,), run=volatile)

    def _net(self, name: str) -> FeatureNet:
        if name != "encoder":
            net: FeatureNet = nets.get(name)().load(self.dataset.signal, self.device)
            return set_precision(net, self.precision, self.device)
        config = check(EncoderConfig, self.record("encoder").config["encoder"], where="encoder")
        trainer = EncoderTrainer(config, self.dataset.signal, len(self.dataset.classes))
        return set_precision(self.loaded(trainer, "encoder").net(), self.precision, self.device)
