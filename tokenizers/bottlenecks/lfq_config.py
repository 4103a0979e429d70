"""Configuration of lookup-free quantisation. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .config import BottleneckConfig, check_heads, indivisible

# A prior has a logit for each code of a head: beyond this, bits are split over several heads (as MAGVIT-v2 does).
_LARGEST_BITS = 18
# Codes whose shares a step computes: 2^12 cost about what a convolution of 64 channels does.
_LARGEST_JOINT_BITS = 12


@dataclass(frozen=True, kw_only=True)
class LFQConfig(BottleneckConfig):
    """Each channel's sign is a bit, no codebook (LFQ, A8; Yu et al. 2023); `heads` codes share the bits.

    `entropy` weighs E[H(q)] - `diversity` x H(E[q]) in nats per bit, where `temperature` softens q; `commitment` keeps
    features near -1 and 1. H(E[q]) takes bits for independent, or with `joint` is that of whole codes (of few bits).
    """

    kind: ClassVar[str] = "lfq"
    version: ClassVar[int] = 1
    batch_coupled: ClassVar[str | None] = "its entropy is that of a batch"
    over_ranks: ClassVar[bool] = True
    builds: ClassVar[str | type] = "lfq:LFQ"
    identity_defaults: ClassVar[frozenset[str]] = frozenset({"joint"})
    tsr_option: ClassVar[str | None] = "heads"

    heads: int = 1
    entropy: float = 0.1
    diversity: float = 1.0
    temperature: float = 1.0
    commitment: float = 0.05
    joint: bool = False

    def __post_init__(self) -> None:
        check_heads(self.heads)
        if self.temperature <= 0:
            raise ValueError("temperature must be positive")
        if min(self.entropy, self.diversity, self.commitment) < 0:
            raise ValueError("entropy, diversity and commitment must not be negative")

    def default_channels(self) -> int | None:
        return 8 * self.heads

    def codebook_sizes(self, channels: int) -> tuple[int, ...]:
        return (2 ** (channels // self.heads),) * self.heads

    def unsupported_reason(self, *, channels: int, features: int, backbone: str) -> str | None:
        if reason := indivisible(channels, self.heads):
            return reason
        bits = channels // self.heads
        if bits > _LARGEST_BITS:
            return (
                f"channels {channels} on heads {self.heads} are codes of {bits} bits, at most {_LARGEST_BITS} are "
                f"allowed; heads = {_split(channels)} would do"
            )
        if self.joint and bits > _LARGEST_JOINT_BITS:
            return f"joint counts all codes of a head: at most {_LARGEST_JOINT_BITS} bits, not {bits}"
        return None


def _split(bits: int) -> int:
    """The fewest equal heads of at most `_LARGEST_BITS` bits."""
    return next(heads for heads in range(1, bits + 1) if bits % heads == 0 and bits // heads <= _LARGEST_BITS)
