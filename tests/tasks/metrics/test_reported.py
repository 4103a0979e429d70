"""Which metrics signals of each modality have."""

from __future__ import annotations

from latentbench.tasks.metrics.reported import operating_point_names, pair_names, rate_names
from latentbench.tokenizers.spec import Modality


def test_pairs_are_those_of_the_modality() -> None:
    images, clips, sounds = (set(pair_names(m)) for m in (Modality.IMAGE, Modality.VIDEO, Modality.WAVEFORM))
    assert {"psnr", "ssim", "lpips"} <= images
    assert images & {"si_sdr", "mel_distance", "temporal_error", "psnr_first"} == set()
    assert {"temporal_error", "flicker", "psnr_first", "psnr_worst_frame"} <= clips
    assert {"si_sdr", "pesq", "f0_error"} <= sounds
    assert "ssim" not in sounds


def test_rates_and_points_are_those_of_the_modality() -> None:
    assert rate_names(Modality.IMAGE) == ["real_bits", "real_bits_per_pixel"]
    assert rate_names(Modality.VIDEO) == ["real_bits", "real_bits_per_pixel", "real_kbits_per_second"]
    assert rate_names(Modality.WAVEFORM) == ["real_bits", "real_kbits_per_second"]
    assert operating_point_names(Modality.SPECTROGRAM) == ["psnr"]
    assert operating_point_names(Modality.WAVEFORM) == ["psnr", "si_sdr"]
