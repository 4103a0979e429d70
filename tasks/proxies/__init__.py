"""Proxies of modelability: what the latents alone say about how easily a prior learns them.

Importing this package loads no torch; the registry imports a proxy when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...tokenizers.registry import Registry

if TYPE_CHECKING:
    from ...results.metric import Metric
    from .interface import ProxyInput

proxies = Registry(
    "proxy",
    "latentbench.proxies",
    {
        "moments": "tasks.proxies.moments:Moments",
        "channel_correlation": "tasks.proxies.channels:ChannelCorrelation",
        "effective_rank": "tasks.proxies.channels:EffectiveRank",
        "high_frequency_share": "tasks.proxies.spectrum:HighFrequencyShare",
        "local_correlation": "tasks.proxies.neighbours:LocalCorrelation",
        "viv": "tasks.proxies.viv:Viv",
        "codes": "tasks.proxies.codes:Codes",
    },
)


def compute(name: str, latents: ProxyInput) -> tuple[Metric, ...]:
    """The metrics of the proxy called `name`; none where it does not apply (codes of a continuous latent).

    Raises UserError for an unknown name.
    """
    return proxies.get(name)().metrics(latents)
