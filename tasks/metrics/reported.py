"""Which metrics are reported of reconstructions and samples, by name as `tasks.metric_names` has them. Torch-free."""

from __future__ import annotations

from ...tokenizers.spec import Modality
from .config import (
    ClipPsnrConfig,
    CodesConfig,
    FrechetConfig,
    KidConfig,
    PairMetricConfig,
    PosteriorConfig,
    PsnrConfig,
    RateConfig,
    SiSdrConfig,
    measures,
    metrics,
)


def distance_names() -> list[str]:
    """Of Fréchet and kernel distances, without the letter before them that tells of what they are."""
    return [*FrechetConfig.reports, *KidConfig.reports]


def pair_names(modality: Modality) -> list[str]:
    """Of all that compares reconstructions of such signals with their originals."""
    parts = [registry.get(name) for registry in (metrics, measures) for name in registry]
    pairs = [part for part in parts if issubclass(part, PairMetricConfig) and modality in part.modalities]
    of_clips = ClipPsnrConfig.reports if modality is Modality.VIDEO else ()
    return [*(pair.kind for pair in pairs), *of_clips]


def operating_point_names(modality: Modality) -> list[str]:
    """Of the metrics of pairs that operating points have."""
    return [pair.kind for pair in (PsnrConfig, SiSdrConfig) if modality in pair.modalities]


def rate_names(modality: Modality) -> list[str]:
    """Of the real rate of such signals."""
    per_pixel = () if modality.is_audio else ("real_bits_per_pixel",)
    per_second = () if modality is Modality.IMAGE else ("real_kbits_per_second",)
    return ["real_bits", *per_pixel, *per_second]


def latent_names() -> list[str]:
    """Of what reconstruction tells of latents: posteriors, streams, codes, and those of each grid of several."""
    of_grids = [f"grid<n>_{name}" for name in CodesConfig.reports]
    return [*RateConfig.reports, *PosteriorConfig.reports, *CodesConfig.reports, *of_grids]
