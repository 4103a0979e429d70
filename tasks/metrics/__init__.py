"""Metrics: pure functions on tensors, and a registry of those that compare a reconstruction with its original.

Importing this package loads no torch; the registry imports an entry when it is asked for.
"""

from __future__ import annotations

from ...tokenizers.registry import Registry

metrics = Registry(
    "metric",
    "latentbench.metrics",
    {
        "psnr": "tasks.metrics.psnr:Psnr",
        "ssim": "tasks.metrics.ssim:Ssim",
        "si_sdr": "tasks.metrics.audio:SiSdr",
        "stft_distance": "tasks.metrics.audio:StftDistance",
        "mel_distance": "tasks.metrics.audio:MelDistance",
        "temporal_error": "tasks.metrics.temporal:TemporalError",
    },
)
