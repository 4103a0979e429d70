"""Which columns a table shows: the field's, in the field's order, as far as the modality has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from .errors import UserError, unknown
from .groups import Group, direction_of
from .rows import BASE, COST, IDENTITY, SPEC, column_names, metric_names

# The default metrics in their order on the page.
_METRICS = (
    r"si_sdr",
    r"psnr",
    r"ssim",
    r"lpips(_\w+)?",
    r"stft_distance",
    r"mel_distance",
    r"temporal_error",
    r"rfid|rfd_\w+",
    r"gfid|gfd_\w+",
    r"gkid|gkd_\w+",
    r"(fid|fd)_infinity(_\w+)?",
    r"precision_\w+",
    r"recall_\w+",
    r"density_\w+",
    r"coverage_\w+",
    r"inception_score",
    r"nearest_train_ratio_\w+",
    r"memorised_share_\w+",
    r"undecodable",
    r"nll_bits",
    r"nll_(bound|density|ode)_bits",
    r"(flow|diffusion|masked)_loss",
    r"viv",
    r"high_frequency_share_\d+",
    r"local_correlation",
    r"effective_rank",
    r"codebook_use",
    r"codebook_perplexity",
)
_DISTORTION = re.compile(r"si_sdr|psnr|stft_distance|mel_distance|ssim|lpips(_\w+)?|temporal_error")
_DISTANCE = re.compile(r"[rg](fid|kid|(fd|kd)_\w+)|(fid|fd)_infinity(_\w+)?")
# Of a tokenizer's further ways to decode: shown when asked for.
_POINT = re.compile(r"\w+_(depth|prefix|steps|resolution)_\d+")
_BY_COUNT = re.compile(r"[rg](fid|kid|(fd|kd)_\w+)|(precision|recall|density|coverage)_\w+|inception_score")

SHORT = {
    "bits_per_sample": "bits",
    "bits_per_element": "bits/el",
    "bitrate": "bit/s",
    "parameters": "params",
    "prior_parameters": "prior params",
    "peak_memory_bytes": "memory",
    "sampling_per_second": "sampled/s",
}


def default_columns(groups: Sequence[Group]) -> list[str]:
    """The columns of a table in print: TSR, elements, bits, rate (nominal and measured); distortion; distances of
    reconstructions and samples; the prior's loss; a few proxies; parameters and seconds."""
    timed = any(group.mean("bitrate") is not None for group in groups)
    rate = "bitrate" if timed else "bits_per_element"
    present = _measured(groups)
    present = [name for name in present if not _POINT.fullmatch(name)]
    metrics = [name for pattern in _METRICS for name in present if re.fullmatch(pattern, name)]
    first = ["tsr", "elements", "bits_per_sample", rate, "rate_bits", "stream_bits", "parameters", "seconds"]
    names = [*first, *dict.fromkeys(metrics)]
    return [name for name in names if any(group.mean(name) is not None for group in groups)]


def must_agree(metric: str) -> bool:
    """True for metrics that tables are read for, distortions and distances: a table with two protocols of one of them
    is refused. Of others (proxies, losses, use of codes) that nobody asked for, the column is left out."""
    return _DISTORTION.fullmatch(metric) is not None or _DISTANCE.fullmatch(metric) is not None


def depends_on_count(metric: str) -> bool:
    """True for metrics whose expectation changes with the number of samples: titles name it, `gfd_<net>@256`."""
    return _BY_COUNT.fullmatch(metric) is not None


def chosen_columns(groups: Sequence[Group], columns: str | Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """The table's columns: the default ones, "all", or those named (`rfd_*` stands for all that match).

    `known` are the columns of all tables together: a name outside raises UserError; one that this table lacks is left
    out, and so are the columns that every table opens with (recipe, seed, axes).
    """
    if columns is None:
        return default_columns(groups)
    present = _measured(groups)
    if columns == "all":
        return [name for name in (*SPEC, *present, *COST) if any(group.mean(name) is not None for group in groups)]
    wanted = matching(columns, known)
    flat = {name for name in BASE if name not in IDENTITY}
    return [name for name in wanted if name in present or name in flat]


def matching(columns: str | Sequence[str], known: Sequence[str]) -> list[str]:
    """The names in `columns` (a list, or text with commas), with patterns filled in. Raises UserError if unknown."""
    names = columns.split(",") if isinstance(columns, str) else columns
    wanted: list[str] = []
    for name in (name.strip() for name in names):
        found = [column for column in known if fnmatchcase(column, name)]
        if not found:
            raise unknown("column", name, known)
        wanted += found
    return list(dict.fromkeys(wanted))


def primary(groups: Sequence[Group]) -> str | None:
    """The metric that a table is ranked by unless told: its first distortion metric, else its first with a
    direction."""
    directed = [name for name in _measured(groups) if direction_of(groups, name) != "none"]
    order = [name for pattern in _METRICS for name in directed if re.fullmatch(pattern, name)]
    distortion = [name for name in order if _DISTORTION.fullmatch(name)]
    return next(iter([*distortion, *order, *directed]), None)


def front_axes(groups: Sequence[Group], axes: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """The Pareto front's axes: bits per sample against the primary metric unless told; () where the table has none.

    Raises UserError on an unknown name, a single axis, or one of which no direction is known.
    """
    if axes is None:
        first = primary(groups)
        return ("bits_per_sample", first) if first is not None else ()
    axes = [name.strip() for name in axes]
    for name in axes:
        if name not in known:
            raise unknown("column", name, known, where="Pareto front")
    if len(set(axes)) == 1:
        raise UserError(f"Pareto front: {axes[0]!r} alone has no front; name two columns, as in bits_per_sample,psnr")
    if any(all(group.mean(name) is None for group in groups) for name in axes):
        return ()
    for name in axes:
        if direction_of(groups, name) == "none":
            raise UserError(f"Pareto front: of {name!r} no direction is better; name a column that has one")
    return tuple(axes)


def known_columns(groups: Sequence[Group]) -> list[str]:
    """All flat columns of the groups' rows together."""
    return column_names([row for group in groups for row in group.rows])


def _measured(groups: Sequence[Group]) -> list[str]:
    names = metric_names(row for group in groups for row in group.rows)
    return [name for name in names if any(group.mean(name) is not None for group in groups)]
