"""What configurations of sequence codings share, and the registry of them. No torch.

A sequence coding turns a discrete tokenizer's codes into sequences of varying length.
"""

from __future__ import annotations

from collections.abc import Collection

from ..part import Part
from ..registry import Registry
from ..spec import LatentGrid, LatentSpec


class SequenceCodingConfig(Part):
    """A tokenizer's codes as one sequence of varying length, and back to what its decoder reads.

    Its target is constructed with the configuration and the `LatentSpec` of the codes.
    """

    def unsupported_reason(self, inner: LatentSpec, *, regularisers: Collection[str]) -> str | None:
        """Why the codes of a tokenizer with these latents and kinds of regularisers can't be coded; else None."""
        if not inner.discrete:
            return f"{self.kind} needs codes, and these latents are continuous"
        if len(inner.grids) > 1 or inner.grid.variable or inner.grid.topology == "set":
            return f"{self.kind} codes one grid or sequence of fixed length"
        return None

    def grid(self, inner: LatentSpec) -> LatentGrid:
        """The sequence; its `shape` is the longest it can be."""
        raise NotImplementedError

    def spec(self, inner: LatentSpec) -> LatentSpec:
        """Shape and (longest) rate of the sequences."""
        return LatentSpec(signal=inner.signal, grids=(self.grid(inner),))


SEQUENCE_CODINGS = Registry(
    "sequence coding",
    "latentbench.sequence_codings",
    {
        "bpe": "tokenizers.sequence_coding.bpe_config:BPEConfig",
        "entropy": "tokenizers.sequence_coding.entropy_config:EntropyConfig",
        "prefix": "tokenizers.sequence_coding.prefix_config:PrefixConfig",
        "resolution": "tokenizers.sequence_coding.resolution_config:ResolutionConfig",
        "run_length": "tokenizers.sequence_coding.run_length_config:RunLengthConfig",
    },
    base=SequenceCodingConfig,
)
