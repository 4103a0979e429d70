"""Probes: small deterministic measurements on a trained tokenizer, each testing what a family of the field claims.

Importing this package loads no torch; the registry imports a probe when it is asked for.
"""

from __future__ import annotations

from ...tokenizers.registry import Registry

probes = Registry(
    "probe",
    "latentbench.probes",
    {
        "normal_samples": "tasks.probes.normal_samples:NormalSamples",
        "corrupted_input": "tasks.probes.corrupted_input:CorruptedInput",
        "latent_noise": "tasks.probes.latent_noise:LatentNoise",
        "permutation": "tasks.probes.permutation:Permutation",
        "equivariance": "tasks.probes.equivariance:Equivariance",
        "label_probe": "tasks.probes.label_probe:LabelProbe",
        "high_frequency": "tasks.probes.high_frequency:HighFrequency",
        "losses": "tasks.probes.losses:Losses",
        "gradient_isolation": "tasks.probes.gradient_isolation:GradientIsolation",
    },
)
