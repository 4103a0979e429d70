"""The task "closed_form": samples of priors without training, decoded and measured as those of trained priors are.

A prior that must be trained is only worth its training where it beats these, and what they reach says how simple the
latents are. As their distances are those of signals, they compare tokenizers of any shape.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from ..results.metric import Metric
from ..results.record import JobResult
from ..tokenizers.interface import Tokenizer
from ..tokenizers.seeding import derive_seed
from .closed_forms import closed_forms
from .closed_forms.interface import ClosedForm
from .config import ClosedFormTaskConfig
from .distances import Reference
from .generation import proxy_distances
from .interface import Context
from .latents import LatentStore
from .metrics.balls import evenly


def measure(
    tokenizer: Tokenizer,
    latents: LatentStore,
    config: ClosedFormTaskConfig,
    context: Context,
    *,
    references: dict[str, Reference],
) -> JobResult:
    """Fit each of `config.priors` that the latents allow to `config.fitted` training latents (0: all), draw
    `config.samples`, and measure `cfd_<prior>_<net>`: the Fréchet distance that `gfd_<net>` is of trained priors.

    `extra` has the reason for each prior that is left out and which prior each metric is of, `run` the seconds that
    each of the others took.
    """
    asked = tuple(name for name in config.priors if closed_forms.get(name).unsupported_reason(tokenizer.spec) is None)
    skipped = {name: closed_forms.get(name).unsupported_reason(tokenizer.spec) for name in config.priors}
    data = _training_data(latents, config, context.seed) if asked else torch.zeros(0)
    metrics: list[Metric] = []
    seconds: dict[str, float] = {}
    measured_by: dict[str, str] = {}
    for done, name in enumerate(asked):
        started = time.monotonic()
        prior: ClosedForm = closed_forms.get(name)().build(tokenizer.spec)
        prior.device = context.device
        prior.fit(data)
        told = replace(context.part(name), progress=_quiet)
        own = proxy_distances(
            prior,
            tokenizer,
            latents,
            config,
            told,
            references=references,
            named=f"cfd_{name}_{{}}".format,
            stream=name,
        )
        line = f"samples of the prior in closed form {name!r}"
        metrics += (replace(metric, protocol=f"{metric.protocol}; {line}") for metric in own)
        measured_by |= {metric.name: name for metric in own}
        seconds[name] = round(time.monotonic() - started, 3)
        context.progress(done + 1, len(asked), name)
    left_out = {name: reason for name, reason in skipped.items() if reason is not None}
    extra = {"measured_by": measured_by, "skipped": left_out}
    return JobResult(metrics=tuple(metrics), extra=extra, run={"proxy_seconds": seconds})


def _quiet(done: int, total: int, message: str) -> None:
    """The progress of one prior's samples is no progress of the job."""


def _training_data(latents: LatentStore, config: ClosedFormTaskConfig, seed: int) -> Tensor:
    """What trained priors see of the training split: a posterior's samples, normalised, or codes."""
    split = latents.train
    rows = evenly(len(split), config.fitted or len(split))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "closed_form", "posterior"))
        read = split.batch(rows.numpy(), torch.device("cpu")).latents
    data = read.codes if latents.spec.discrete else read.values
    assert data is not None
    return data
