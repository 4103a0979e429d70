"""The settings of `intervals.py`: what is drawn, and by which methods it is estimated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from intervals import Case, Estimate, estimate
from rate_cases import rate_curves
from torch import Tensor

from latentbench.results.metric import Metric
from latentbench.results.samples import pseudovalues
from latentbench.results.statistics import Entry, difference_interval
from latentbench.tasks.metrics.codes import CodeHistogram, code_metrics
from latentbench.tasks.metrics.frechet import FrechetReference, frechet_metric
from latentbench.tasks.metrics.frechet_pairs import paired_frechet_metric
from latentbench.tasks.metrics.jackknife import delete_a_group, group_of, of_sums
from latentbench.tasks.metrics.kid import kid_metric, paired_kid_metric
from latentbench.tasks.metrics.manifold import manifold_metrics
from latentbench.tasks.metrics.psnr import CAP_DB, interval_with_cap
from latentbench.tasks.probes.feature_information import Latent, squared_errors
from latentbench.tasks.probes.feature_information import information_bits as feature_bits
from latentbench.tasks.probes.spectrum_distance import band_powers, divergence
from latentbench.tasks.proxies.interface import ProxyInput, compute, sums_by_group
from latentbench.tokenizers.regularisers.spectral import band_of

# Features of a net, roughly: 128 directions whose variances fall quickly.
DEVIATIONS = torch.arange(1, 129).double() ** -0.75


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def reconstructed(quality: str, y: Tensor, generator: torch.Generator) -> Tensor:
    """Features of reconstructions of what has the features `y`: shrunk, noisy and shifted."""
    shrink, noise, shift = {"good": (0.96, 0.05, 0.0), "middling": (0.8, 0.2, 0.1), "bad": (0.5, 0.3, 0.8)}[quality]
    return shrink * y + (noise * normal(generator, *y.shape) + shift) * DEVIATIONS


def reconstructions() -> Iterator[Case]:
    for quality, n in (("good", 64), ("good", 256), ("middling", 128), ("middling", 256), ("bad", 64)):

        def draw(generator: torch.Generator, quality: str = quality, n: int = n) -> Mapping[str, Estimate | None]:
            y = normal(generator, n, 128) * DEVIATIONS
            x, reference = reconstructed(quality, y, generator), FrechetReference.of(y)
            return {
                "before": estimate(frechet_metric("rfd", x, reference, protocol="")),
                "pairs": estimate(paired_frechet_metric("rfd", x, reference, protocol="")[0]),
            }

        yield Case(name=f"rfd, {quality}, {n}", draw=draw)


def kernel_pairs() -> Iterator[Case]:
    for n in (64, 256):

        def draw(generator: torch.Generator, n: int = n) -> Mapping[str, Estimate | None]:
            y = normal(generator, n, 128) * DEVIATIONS
            x = 0.9 * y + 0.19**0.5 * normal(generator, n, 128) * DEVIATIONS
            before = kid_metric("rkd", x, y, protocol="", subsets=1)
            return {"before": estimate(before), "pairs": estimate(paired_kid_metric("rkd", x, y, protocol="")[0])}

        yield Case(name=f"rkd, equal distributions, {n}", draw=draw, population=0.0)


def kernel_samples() -> Iterator[Case]:
    def draw(generator: torch.Generator) -> Mapping[str, Estimate | None]:
        x, y = (normal(generator, n, 128) * DEVIATIONS for n in (128, 256))
        return {"unchanged": estimate(kid_metric("gkd", x, y, protocol="", subsets=20))}

    yield Case(name="gkd, equal distributions, 128", draw=draw, population=0.0)


def by_group(metric: Metric, left_out: list[float]) -> Entry:
    """A cell of one seed as tables compare it."""
    assert metric.value is not None
    samples = pseudovalues(metric.value, left_out, "data/x")
    return Entry(values={0: metric.value}, read=lambda: {0: samples})


def differences() -> Iterator[Case]:
    """Two cells on shared samples. "population" is 0: its share is 1 - false alarms of equal cells, 1 - power else."""
    for name, first, second in (("equal", 0.2, 0.2), ("apart", 0.2, 0.3)):

        def draw(
            generator: torch.Generator, first: float = first, second: float = second
        ) -> Mapping[str, Estimate | None]:
            y = normal(generator, 128, 128) * DEVIATIONS
            reference = FrechetReference.of(y)
            cells = [0.9 * y + noise * normal(generator, 128, 128) * DEVIATIONS for noise in (first, second)]
            (a, a_without), (b, b_without) = (paired_frechet_metric("r", x, reference, protocol="") for x in cells)
            before = [frechet_metric("r", x, reference, protocol="") for x in cells]
            now = difference_interval(by_group(a, a_without), by_group(b, b_without))
            assert now is not None
            value = now.value
            half = 1.96 * sum((metric.se or 0.0) ** 2 for metric in before) ** 0.5
            return {
                "before": (value, (value - half, value + half)),
                "difference": (value, (now.low, now.high)),
            }

        yield Case(name=f"rfd difference, {name}, 128", draw=draw, population=0.0)


def entropies() -> Iterator[Case]:
    """`zipf` codes drawn independently; in `alike` half of a sample's tokens repeat its first ones."""
    for kind, size, positions, n in (
        ("uniform", 256, 64, 64),
        ("zipf", 256, 64, 64),
        ("alike", 256, 64, 128),
        ("uniform", 1024, 16, 512),
        ("zipf", 1024, 16, 256),
        ("uniform", 4096, 64, 128),
        ("zipf", 4096, 64, 512),
        ("zipf", 4096, 64, 2048),
    ):
        shares = torch.ones(size, dtype=torch.float64) / torch.arange(1, size + 1) ** (kind != "uniform")
        shares /= shares.sum()

        def draw(
            generator: torch.Generator,
            shares: Tensor = shares,
            shape: tuple[int, int, int] = (n, 1, positions),
            alike: bool = kind == "alike",
        ) -> Mapping[str, Estimate | None]:
            codes = torch.multinomial(shares, shape[0] * shape[2], replacement=True, generator=generator).view(shape)
            if alike:
                half = shape[2] // 2
                codes[..., half:] = codes[..., :half]
            groups = []
            for part in group_of(len(codes), 10):
                groups.append(CodeHistogram((len(shares),)))
                groups[-1].update(codes[part])
            counts = torch.stack(
                [torch.bincount(codes[p].flatten(), minlength=len(shares)) for p in group_of(shape[0], 10)]
            )
            value, _, interval_half = of_sums(counts.double(), _plug_in)
            before = None if interval_half is None else (value, (value - interval_half, value + interval_half))
            return {"before": before, "corrected": estimate(code_metrics(groups)[2])}

        truth = float(-(shares * shares.log2()).sum())
        yield Case(name=f"bits, {kind}, {size} codes, {n} x {positions}", draw=draw, population=truth)


def _plug_in(counts: Tensor) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log2()).sum())


def peaks() -> Iterator[Case]:
    """PSNRs of 30 ± 3 dB, a share of them at the cap."""
    for n, share in ((64, 0.0), (64, 0.02), (64, 0.1), (128, 0.02), (256, 0.02)):

        def draw(generator: torch.Generator, n: int = n, share: float = share) -> Mapping[str, Estimate | None]:
            values = 30 + 3 * normal(generator, n)
            values[torch.rand(n, generator=generator) < share] = CAP_DB
            before = Metric.from_samples("psnr", values.tolist(), direction="higher")
            interval = interval_with_cap(values)
            now = None if interval is None else (float(values.mean()), interval)
            return {"before": estimate(before), "with the cap": now}

        yield Case(name=f"psnr, {share:.0%} at the cap, {n}", draw=draw, population=30 + share * (CAP_DB - 30))


def proxies() -> Iterator[Case]:
    """Smooth Gaussian latents of 4 channels (2 for the full covariance), 8 x 8."""
    smooth = 0.9 ** (torch.arange(8)[:, None] - torch.arange(8)).abs().double()
    factor = torch.linalg.cholesky(smooth)
    roots = torch.linalg.eigvalsh(smooth).sqrt()
    truth = math.pi / 2 * float(torch.outer(roots, roots).mean())
    for name, n, channels in (("viv", 512, 4), ("viv_full", 1024, 2), ("high_frequency_share_25", 512, 4)):

        def draw(
            generator: torch.Generator, name: str = name, n: int = n, channels: int = channels
        ) -> Mapping[str, Estimate | None]:
            z = factor @ normal(generator, n, channels, 8, 8) @ factor.t()
            metrics = compute(name.removesuffix("_25"), ProxyInput.of(z.float()))
            return {"now": estimate(next(metric for metric in metrics if metric.name == name))}

        yield Case(name=f"{name}, smooth, {n}", draw=draw, population=truth if name.startswith("viv") else None)

    for amount in (0.0, 0.3, 0.6):

        def skewed(generator: torch.Generator, amount: float = amount) -> Mapping[str, Estimate | None]:
            z = normal(generator, 256, 4, 4, 4) + amount * (normal(generator, 256, 4, 4, 4) ** 2 - 1) / 2**0.5
            return {"now": estimate(compute("moments", ProxyInput.of(z.float()))[2])}

        skewness = 2 * 2**0.5 * amount**3 / (1 + amount**2) ** 1.5
        yield Case(name=f"latent_skewness, {skewness:.3f}, 256", draw=skewed, population=skewness)


def informations() -> Iterator[Case]:
    """What is told of a label by two Gaussians, and of a position by the one before it, where that is all there is."""
    margin = 0.8
    z = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    density = (-0.5 * (z - margin).square()).exp() / (2 * math.pi) ** 0.5
    truth = 1 - float(torch.trapezoid(density * torch.nn.functional.softplus(-2 * margin * z), z)) / math.log(2)
    for n in (500, 2000):

        def labelled(generator: torch.Generator, n: int = n) -> Mapping[str, Estimate | None]:
            labels = torch.randint(2, (n,), generator=generator)
            z = normal(generator, n, 1, 4, 4)
            z[:, 0, 0, 0] += margin * (2 * labels - 1)
            (told,) = compute("label_information", ProxyInput.of(z.float(), labels=labels))
            return {"now": estimate(told)}

        yield Case(name=f"label_information, {n}", draw=labelled, population=truth)
    slopes = torch.tensor([[3.0, 2, 1, 0.5], [0.0, 1, 1, 0.5]], dtype=torch.float64)  # of the two that tell
    for n in (64, 256):

        def linear(generator: torch.Generator, n: int = n) -> Mapping[str, Estimate | None]:
            z = normal(generator, 500 + n, 16)
            y = z[:, :2] @ slopes + normal(generator, 500 + n, 4)
            errors = squared_errors(Latent.of(z[:500], z[500:]), y[:500], y[500:])
            value, _, half = of_sums(sums_by_group(errors), feature_bits)
            return {"now": None if half is None else (value, (value - half, value + half))}

        known = float((0.5 * (1 + slopes.square().sum(0)).log2()).mean())
        yield Case(name=f"feature_information, {n}", draw=linear, population=known)
    rho, length = 0.8, 8
    told = -0.5 * math.log2(1 - rho**2 * (length - 1) / length)
    for name, proxy, n in (
        ("causal_information", "predictability", 256),
        ("causal_information_mlp", "nonlinear_predictability", 256),
        ("causal_information_mlp", "nonlinear_predictability", 1024),
    ):

        def chain(
            generator: torch.Generator, name: str = name, proxy: str = proxy, n: int = n
        ) -> Mapping[str, Estimate | None]:
            z = normal(generator, n, 2, length)
            for position in range(1, length):
                z[..., position] = rho * z[..., position - 1] + (1 - rho**2) ** 0.5 * z[..., position]
            metrics = compute(proxy, ProxyInput.of(z.float()))
            return {"now": estimate(next(metric for metric in metrics if metric.name == name))}

        yield Case(name=f"{name}, {n}", draw=chain, population=told)


def errors_of_latents() -> Iterator[Case]:
    """The mean over strengths of distances of what is decoded with errors, and their slope; spectra; similarity by
    distance of a moving average of m vectors, whose correlation at distance d is 1 - d/m."""
    for n in (64, 256):

        def disturbed(generator: torch.Generator, n: int = n) -> Mapping[str, Estimate | None]:
            y = normal(generator, n, 128) * DEVIATIONS
            noise = normal(generator, n, 128) * DEVIATIONS
            reference = FrechetReference.of(y)
            pairs = [
                paired_frechet_metric("", 0.95 * y + scale * noise, reference, protocol="") for scale in (0.1, 0.2, 0.5)
            ]
            values = torch.tensor([metric.value for metric, _ in pairs], dtype=torch.float64)
            left_out = torch.tensor([without for _, without in pairs], dtype=torch.float64)
            value, (_, half) = float(values.mean()), delete_a_group(left_out.mean(0).tolist())
            return {"now": None if half is None else (value, (value - half, value + half))}

        yield Case(name=f"perturbed_distance, {n}", draw=disturbed)
    smooth = 0.9 ** (torch.arange(16)[:, None] - torch.arange(16)).abs().double()
    factor = torch.linalg.cholesky(smooth)
    for n in (64, 256):

        def spectra(generator: torch.Generator, n: int = n) -> Mapping[str, Estimate | None]:
            x = factor @ normal(generator, n, 3, 16, 16)
            z = x @ factor.t() + 0.3 * normal(generator, n, 3, 16, 16)
            table = torch.stack([band_powers(part.float(), 16) for part in (x, z)], 1).double()
            table = table[:, :, band_of((16, 16), 16)[1] > 0]
            value, _, half = of_sums(sums_by_group(table), divergence)
            return {"now": None if half is None else (value, (value - half, value + half))}

        yield Case(name=f"psd_kl, {n}", draw=spectra)

        def averages(generator: torch.Generator, n: int = n) -> Mapping[str, Estimate | None]:
            noise = normal(generator, n, 64, 26)
            z = torch.stack([noise[..., start : start + 10].sum(-1) for start in range(17)], -1)
            return {"now": estimate(compute("correlation_decay", ProxyInput.of(z.float()))[0])}

        yield Case(name=f"correlation_decay, {n}", draw=averages, population=0.1)


def neighbourhoods() -> Iterator[Case]:
    """Precision to coverage of 16-d Gaussian samples: like the data, narrower, shifted, wider; against one reference
    and against one drawn anew."""
    deviations = torch.arange(1, 17).double() ** -0.5
    for kind, scale, shift in (("equal", 1.0, 0.0), ("narrow", 0.7, 0.0), ("shifted", 1.0, 0.5), ("wide", 1.3, 0.0)):
        for n in (128, 256):
            fixed = normal(torch.Generator().manual_seed(n), n, 16) * deviations
            for varies in (False, True):

                def draw(
                    generator: torch.Generator,
                    scale: float = scale,
                    shift: float = shift,
                    fixed: Tensor = fixed,
                    varies: bool = varies,
                ) -> Mapping[str, Estimate | None]:
                    y = normal(generator, *fixed.shape) * deviations if varies else fixed
                    x = (scale * normal(generator, *fixed.shape) + shift) * deviations
                    return {m.name.split("_")[0]: estimate(m) for m in manifold_metrics("net", x, y, protocol="")}

                reference = "new" if varies else "one"
                yield Case(name=f"manifold, {kind}, {n}, {reference} reference", draw=draw)


def cases() -> Iterator[Case]:
    yield from reconstructions()
    yield from differences()
    yield from kernel_pairs()
    yield from kernel_samples()
    yield from entropies()
    yield from peaks()
    yield from proxies()
    yield from informations()
    yield from errors_of_latents()
    yield from neighbourhoods()
    yield from rate_curves()
