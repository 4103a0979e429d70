"""What configurations of codecs share, and the registry of them. No torch.

A codec is a tokenizer made by hand, with nothing to train.
"""

from __future__ import annotations

from typing import ClassVar

from ..cost import Cost
from ..part import Part
from ..registry import Registry
from ..spec import LatentGrid, Modality, SignalSpec


class CodecConfig(Part):
    """A whole tokenizer without parameters, in place of backbone, bottleneck and losses.

    `modalities` are those it codes. Its target is constructed with the configuration and the signal.
    """

    modalities: ClassVar[tuple[Modality, ...]] = tuple(Modality)

    def unsupported_reason(self, signal: SignalSpec) -> str | None:
        """Why such signals can't be coded; None where they can."""
        return None

    def downsample(self, signal: SignalSpec) -> tuple[int, ...]:
        """Signal positions per latent position, for tables; ones where latents are no grid."""
        return (1,) * len(signal.shape)

    def grids(self, signal: SignalSpec) -> tuple[LatentGrid, ...]:
        """The latents' grids, known before any data is seen."""
        raise NotImplementedError

    def aimed_bits(self, signal: SignalSpec) -> float | None:
        """Bits per sample that its options aim at on average; None where nothing is known before it has coded."""
        return None

    def cost(self, signal: SignalSpec) -> Cost:
        """Forward FLOPs per sample, as far as they are matrix products."""
        return Cost()


CODECS = Registry(
    "codec",
    "latentbench.codecs",
    {
        "identity": "tokenizers.codecs.identity_config:IdentityCodecConfig",
        "dct": "tokenizers.codecs.dct_config:DCTConfig",
        "jpeg": "tokenizers.codecs.jpeg_config:JPEGConfig",
        "h264": "tokenizers.codecs.h264_config:H264Config",
        "h265": "tokenizers.codecs.modern_video_config:H265Config",
        "vp9": "tokenizers.codecs.modern_video_config:VP9Config",
        "av1": "tokenizers.codecs.modern_video_config:AV1Config",
        "opus": "tokenizers.codecs.opus_config:OpusConfig",
        "mp3": "tokenizers.codecs.mp3_aac_config:MP3Config",
        "aac": "tokenizers.codecs.mp3_aac_config:AACConfig",
    },
    base=CodecConfig,
)
