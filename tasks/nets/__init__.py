"""Feature nets by name: light descriptions that load the net when asked (importing this needs no torch)."""

from __future__ import annotations

from ...tokenizers.registry import Registry

nets = Registry(
    "feature net",
    "latentbench.nets",
    {
        "inception": "tasks.nets.config:Inception",
        "mobilenet_v2": "tasks.nets.config:MobileNetV2",
        "yamnet": "tasks.nets.config:Yamnet",
        "musicnn": "tasks.nets.config:Musicnn",
        "i3d": "tasks.nets.config:I3D",
    },
)
