"""What a calibration is made from: tokenizers with an outcome (how well a prior generated), and what may predict it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import numpy as np

from ..display import printable
from ..errors import UserError, unknown
from ..metric import Direction
from .levels import Rows

# Numbers that cost no thought: a proxy that does not beat them is not worth its name. Names are compared in small
# letters, since others write PSNR.
DULL = (
    "elements",
    "tsr",
    "tsr_input",
    "downsample",
    "channels",
    "positions",
    "prior_tokens",
    "*bits*",
    "bitrate",
    "*parameters",
    # What training and sampling took.
    "*flops",
    "seconds",
    "*_seconds",
    "sampling_per_second",
    "peak_memory_bytes",
    # Distortion, also of frames, operating points and what a vocoder loses by itself.
    "psnr*",
    "native_psnr",
    "ssim*",
    "lpips*",
    "temporal_error*",
    "flicker",
    "si_sdr*",
    "*mel_distance*",
    "*mel_spectrogram_distance*",
    "*stft_distance*",
    "pesq*",
    "stoi*",
    "estoi*",
    "loudness_difference*",
    "f0_error*",
    "loss_*",
    "high_frequency_ratio",
    "rfid*",
    "rfd_*",
    "rkid*",
    "rkd_*",
    "rfad*",
    "rfvd*",
    # What data have by themselves, and what a contract complains of.
    "fd_floor_*",
    "label_chance",
    "contract*",
    "released",
    "codes",
)
# What looks at latents, which does cost thought: neither dull nor an outcome, whatever the patterns here say.
THOUGHT = (
    "code_zlib_bits",
    "code_back_off_bits",
    "code_mixing_bits",
    "code_bpe_bits",
    "code_range_bits",
    "*code_bits_per_position",
    "kl_bits",
    "psnr_noise_*",
    "psnr_equivariant",
    "psnr_corrupted",
    "psnr_inpainted",
    "density_variation",
    "density_gini",
)
# What is an outcome itself, or measured of a trained prior and its samples, and so predicts nothing.
OUTCOMES = (
    "gfid*",
    "gfd_*",
    "log_gfd_*",
    "gkd_*",
    "gkid*",
    "gfad*",
    "gfvd*",
    "mean_rank",
    "bits_at_equal_psnr",
    "precision*",
    "recall*",
    "density*",
    "coverage*",
    "nearest_train_ratio*",
    "memorised_share*",
    "nearest_sample_ratio*",
    "fd_infinity*",
    "fid_infinity",
    "inception_score",
    "undecodable",
    "nll_*bits*",
    "*flow_loss",
    "diffusion_loss",
)
FAMILY_MEAN = "family_mean"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One tokenizer: its family, its outcome by seed, its value of each predictor (the mean over seeds), the jobs that
    made it, where records tell, and predictors' values `by_seed` in the outcome's order, where these are known."""

    name: str
    family: str
    outcome: tuple[float, ...]
    values: Mapping[str, float]
    jobs: tuple[str, ...] = ()
    by_seed: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """The mean outcome over seeds."""
        return math.fsum(self.outcome) / len(self.outcome)


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A number that may predict the outcome: which way is said to be better, whether it is one of the dull ones, and
    what one tokenizer's value cost, as far as known: seconds, and training FLOPs as a share of the full prior's. A
    `pair` is of two proxies. `protocol` is how tokenizers' values were measured, "" where that is not known of all; of
    what differs between tokenizers (codes and values have different priors) a line for each."""

    name: str
    direction: Direction = "none"
    baseline: bool = False
    seconds: float | None = None
    share_of_flops: float | None = None
    pair: bool = False
    protocol: str = ""


@dataclass(frozen=True, kw_only=True)
class Observations:
    """The tokenizers of one calibration. `direction` says which way the outcome is better, `fixed` what partial
    coefficients hold fixed, `notes` what was left out; `modality` is "" where nobody says. `way` tells the priors apart
    where tokenizers have several, as in "guidance=2.0". `signal` is how many values a signal has, `samples` on how many
    of a prior the outcome was measured; None where nobody says."""

    title: str
    outcome: str
    direction: Direction
    items: tuple[Observation, ...]
    predictors: tuple[Predictor, ...]
    fixed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    modality: str = ""
    way: str = ""
    signal: int | None = None
    samples: int | None = None

    @property
    def families(self) -> int:
        """How many families there are; one where every tokenizer would be its own."""
        count = len({item.family for item in self.items})
        return count if count < len(self.items) else 1

    def rows(self, name: str) -> Rows:
        """The rows that have the predictor."""
        return self._rows([self.value(item, name) for item in self.items])

    def complete(self) -> Rows:
        """All rows, with the outcome in the predictor's place."""
        return self._rows([item.mean for item in self.items])

    def _rows(self, values: Sequence[float | None]) -> Rows:
        numbers = {family: i for i, family in enumerate(dict.fromkeys(item.family for item in self.items))}
        place = [i for i, value in enumerate(values) if value is not None]
        return Rows(
            x=np.array([values[i] for i in place], dtype=float),
            outcomes=[np.array(self.items[i].outcome) for i in place],
            family=np.array([numbers[self.items[i].family] for i in place], dtype=np.intp),
            place=np.array(place, dtype=np.intp),
        )

    def value(self, item: Observation, name: str) -> float | None:
        """The predictor's value for a tokenizer, None where it has none; `FAMILY_MEAN` is the mean outcome of the
        others of its family."""
        if name != FAMILY_MEAN:
            return item.values.get(name)
        others = [other.mean for other in self.items if other.family == item.family and other is not item]
        return math.fsum(others) / len(others) if others else None


def choose(
    names: Sequence[str], proxies: Sequence[str] | None, baselines: Sequence[str] | None, *, where: str
) -> tuple[list[str], list[str]]:
    """Proxies and baselines among the columns `names`, by names or patterns; None takes all but outcomes for proxies,
    and `DULL` for baselines. A column named as one is not the other. Raises UserError for a pattern without a column.
    """
    for option, patterns in (("--proxies", proxies), ("--baselines", baselines)):
        for pattern in patterns or ():
            if not any(matches(name, [pattern]) for name in names):
                raise unknown("column of numbers", pattern, names, where=f"{where}: {option}")
    if baselines is None:
        dull = [n for n in names if is_dull(n) and not is_outcome(n) and not matches(n, proxies or ())]
    else:
        dull = [name for name in names if matches(name, baselines)]
    rest = [name for name in names if name not in dull]
    if proxies is None:
        return [name for name in rest if not is_outcome(name)], dull
    return [name for name in rest if matches(name, proxies)], dull


def is_dull(name: str) -> bool:
    """Whether the column costs no thought."""
    return matches(name.lower(), DULL) and not matches(name.lower(), THOUGHT)


def is_outcome(name: str) -> bool:
    """Whether the column says how well a prior generated, or modelled."""
    return matches(name.lower(), OUTCOMES) and not matches(name.lower(), THOUGHT)


def ways(names: Sequence[str], higher: Sequence[str], lower: Sequence[str], *, where: str = "") -> dict[str, Direction]:
    """Which way is better, of the names that one of the patterns is of. Raises UserError for a pattern without a name,
    and for a name that would be better both ways."""
    result: dict[str, Direction] = {}
    sides: Sequence[tuple[Direction, Sequence[str]]] = (("higher", higher), ("lower", lower))
    for direction, patterns in sides:
        for pattern in patterns:
            if not any(matches(name, [pattern]) for name in names):
                raise unknown("column", pattern, names, where=f"{where}--{direction}")
        for name in (name for name in names if matches(name, patterns)):
            if result.setdefault(name, direction) != direction:
                raise UserError(f"{where}--higher and --lower: {printable(name)} is in both; expected one of them")
    return result


def directed(tables: Sequence[Observations], higher: Sequence[str], lower: Sequence[str]) -> list[Observations]:
    """The tables with the predictors' directions as told, by names or patterns. Raises UserError as `ways` does."""
    told = ways([*dict.fromkeys(p.name for table in tables for p in table.predictors)], higher, lower)
    return [
        replace(
            table,
            predictors=tuple(replace(p, direction=told.get(p.name, p.direction)) for p in table.predictors),
        )
        for table in tables
    ]


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns (`*` stands for any text) is the name's."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def with_family_mean(items: Sequence[Observation]) -> bool:
    """Whether families say something that rows do not: two or more, and one with more than a row."""
    families = [item.family for item in items]
    return 1 < len(set(families)) < len(families)
