"""How far from the data a decoder leads when its latents have errors such as a prior makes.

Values get noise; of codes some are replaced by near ones, which is the idea of pFID (Qiu et al. 2025,
arXiv:2503.08354), here with other shares and numbers of neighbours. Shape legend: N samples, H heads, K codes of a
head, C channels, D feature length, *grid the axes of a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ...results.metric import Metric
from ...tokenizers.bottlenecks.base import Bottleneck
from ...tokenizers.interface import Latents
from ...tokenizers.seeding import derive_seed
from ..metrics.frechet_pairs import paired_frechet_metric
from ..metrics.jackknife import delete_a_group, distance_metric
from ..priors.noise import normal
from ..reconstruction import net_features
from .interface import Probe, ProbeInput
from .latent_noise import SCALES, noisy, slopes

SHARES = (0.1, 0.3, 0.5)
NEIGHBOURS = 8
LARGEST = 1 << 16
_ROWS = 1024

Perturbed = Callable[[Latents, list[int]], list[Latents]]  # latents and their indices to one of each strength
Pair = tuple[Metric, list[float]]  # what `paired_frechet_metric` gives


class PerturbedDistance(Probe):
    """See `PerturbedDistanceConfig`."""

    def unsupported_reason(self, probed: ProbeInput) -> str | None:
        if not probed.readable_nets:
            return "no feature net of the suite reads these signals"
        if not probed.spec.discrete:
            return None
        if len(probed.spec.grids) > 1 or max(probed.spec.grid.codebook_sizes) > LARGEST:
            return f"it replaces codes of one grid, of at most {LARGEST} each"
        if _bottleneck(probed) is None:
            return "this tokenizer does not tell which of its codes are near each other"
        return None

    def measure(self, probed: ProbeInput) -> tuple[Metric, ...]:
        if not probed.spec.discrete:
            errors: Perturbed = partial(_with_noise, probed)
            levels = (0.0, *SCALES)
            note = "decode(z + s σ ε), σ per channel of the training split, ε from N(0, I)"
            slope = f"{note}; least-squares slope over s = {_listed(levels)}"
            mean = f"{note}; mean over s = {_listed(SCALES)}"
            pairs = _pairs(probed, errors, len(levels))
            return (
                *_metrics(probed, pairs, "latent_noise_fd_{}", lambda d: float(d[1:].mean()), mean, least=0.0),
                *_metrics(probed, pairs, "latent_noise_fd_slope_{}", partial(_slope, levels), slope),
            )
        bottleneck = _bottleneck(probed)
        assert bottleneck is not None  # `unsupported_reason` speaks of it
        near = near_codes(bottleneck, probed.spec.grid.codebook_sizes, probed.spec.grid.shape)
        pairs = _pairs(probed, partial(_with_near_codes, probed, near), len(SHARES))
        line = f"each code with probability s replaced by one of the {NEIGHBOURS} nearest of its head, decoded; "
        line += f"mean over s = {_listed(SHARES)}"
        return _metrics(probed, pairs, "near_codes_fd_{}", lambda d: float(d.mean()), line, least=0.0)


def _bottleneck(probed: ProbeInput) -> Bottleneck | None:
    """The tokenizer's bottleneck, which knows what its codes stand for; None where it has none."""
    bottleneck = getattr(probed.tokenizer, "bottleneck", None)
    return bottleneck if isinstance(bottleneck, Bottleneck) else None


@torch.no_grad()
def near_codes(bottleneck: Bottleneck, sizes: Sequence[int], grid: Sequence[int]) -> list[Tensor]:
    """For each head the codes nearest to each code by the values they stand for, the other heads' codes 0: `[K, n]`
    int64, n = `NEIGHBOURS` or K - 1 where that is less."""
    device = next((tensor.device for tensor in (*bottleneck.parameters(), *bottleneck.buffers())), torch.device("cpu"))
    positions = int(torch.tensor(tuple(grid)).prod())
    near = []
    for head, size in enumerate(sizes):
        batch = -(-size // positions)
        codes = torch.zeros(batch, len(sizes), positions, dtype=torch.int64, device=device)
        codes[:, head] = (torch.arange(batch * positions, device=device) % size).view(batch, positions)
        values = bottleneck.lookup(codes.view(batch, len(sizes), *grid)).flatten(2).transpose(1, 2).flatten(0, 1)
        values = values[:size].double()
        rows = []
        for start in range(0, size, _ROWS):
            apart = torch.cdist(values[start : start + _ROWS], values)
            apart[torch.arange(len(apart)), torch.arange(start, start + len(apart))] = torch.inf
            rows.append(apart.topk(min(NEIGHBOURS, size - 1), dim=1, largest=False).indices)
        near.append(torch.cat(rows))
    return near


def _with_near_codes(probed: ProbeInput, near: Sequence[Tensor], latents: Latents, indices: list[int]) -> list[Latents]:
    """One draw per sample decides for all shares: what a small one replaces, a larger one replaces by the same."""
    codes = latents.codes
    assert codes is not None
    chance, other = torch.empty(codes.shape), torch.empty_like(codes, device="cpu")
    for row, index in enumerate(indices):
        generator = torch.Generator().manual_seed(derive_seed(probed.seed, "near_codes", index))
        chance[row] = torch.rand(codes.shape[1:], generator=generator)
        for head, table in enumerate(near):
            shape = codes.shape[2:]
            other[row, head] = torch.randint(max(1, table.shape[1]), shape, generator=generator)
    chance, other = chance.to(codes.device), other.to(codes.device)
    moved = codes.clone()
    for head, table in enumerate(near):
        if table.shape[1]:
            moved[:, head] = table.to(codes.device)[codes[:, head], other[:, head]]
    return [Latents(codes=torch.where(chance < share, moved, codes)) for share in SHARES]


def _with_noise(probed: ProbeInput, latents: Latents, indices: list[int]) -> list[Latents]:
    noise = [
        normal(probed.seed, indices, (grid.channels, *grid.shape), stream=number).to(probed.device)
        for number, grid in enumerate(probed.spec.grids)
    ]
    moments = probed.latents.moments
    changes = (partial(noisy, scale=scale, noise=noise, moments=moments) for scale in (0.0, *SCALES))
    return [probed.changed(latents, change) for change in changes]


def _pairs(probed: ProbeInput, errors: Perturbed, count: int) -> dict[str, list[Pair]]:
    """By net: the distance at each of `count` strengths of error, and that without each group of samples."""
    batches: dict[str, list[list[Tensor]]] = {name: [[] for _ in range(count)] for name in probed.readable_nets}
    for indices, x in probed.signals():
        for level, latents in enumerate(errors(probed.tokenizer.encode(x), indices.tolist())):
            decoded = probed.decode(latents).nan_to_num()
            for name, net in probed.readable_nets.items():
                batches[name][level].append(net_features(net, decoded, decoded).cpu())
    return {
        name: [
            paired_frechet_metric("", torch.cat(level), probed.references[name].frechet, protocol="")
            for level in levels
        ]
        for name, levels in batches.items()
    }


def _metrics(
    probed: ProbeInput,
    pairs_by_net: dict[str, list[Pair]],
    name: str,
    statistic: Callable[[Tensor], float],
    line: str,
    *,
    least: float = -torch.inf,
) -> tuple[Metric, ...]:
    """For each net a statistic of the distances at all strengths, whose interval leaves out a sample in all of them."""
    metrics = []
    for key, net in probed.readable_nets.items():
        pairs = pairs_by_net[key]
        values = [metric.value for metric, _ in pairs]
        known = [value for value in values if value is not None]
        left_out = torch.tensor([*zip(*(without for _, without in pairs), strict=False)], dtype=torch.float64)
        value = statistic(torch.tensor(known, dtype=torch.float64)) if len(known) == len(values) else None
        spread = delete_a_group([statistic(row) for row in left_out])
        protocol = f"{net.protocol}; reference: {probed.references[key].title}; {line}; n = {pairs[0][0].n}"
        metrics.append(
            distance_metric(
                name.format(net.name),
                value,
                *spread,
                n=pairs[0][0].n,
                missing=max(metric.missing for metric, _ in pairs),
                protocol=protocol,
                least=least,
            )
        )
    return tuple(metrics)


def _slope(levels: Sequence[float], distances: Tensor) -> float:
    return float(slopes(torch.tensor(levels, dtype=torch.float64), distances[None])[0])


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
