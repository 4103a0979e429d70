"""A tokenizer's complete configuration, as data: what `build` builds, what a job's key hashes, what a plan prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from . import cost
from .auxiliary.config import AUXILIARY, AuxiliaryObjectiveConfig
from .backbones.config import BACKBONES, BackboneConfig, PatchConfig
from .bottlenecks.config import BOTTLENECKS, BottleneckConfig, IdentityConfig
from .codecs.config import CODECS, CodecConfig
from .corruptions.config import CORRUPTIONS, CorruptionConfig
from .cost import Cost
from .diffusion_decoders.config import DIFFUSION_DECODERS, DiffusionDecoderConfig
from .geometry import Layout
from .losses.config import LOSSES, LossConfig, WeightedPart
from .part import plain, read_part
from .regularisers.config import REGULARISERS, RegulariserConfig
from .sequence_coding.config import SEQUENCE_CODINGS, RecodingConfig
from .spec import LatentSpec, SignalSpec
from .training import TrainingConfig
from .validation import check


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """A trainable tokenizer for one signal: its parts, its geometry and its training.

    `downsample` has one factor per axis of the signal, `channels` are those of the latents, `decoder` None is the
    backbone's own second half. `recipe` is the name it came from, for tables. A `codec` is the whole tokenizer:
    then the other parts are the trivial ones of `of_codec`, and not in its data. `recoding` makes shorter sequences of
    a discrete tokenizer's codes. In training a `corruption` changes what the encoder reads, and `latent_noise` adds
    noise of so many deviations of each channel to what the decoder reads. A `diffusion_decoder` follows the
    feed-forward one and turns its output into the signal. Parts that are off are not in the data.
    """

    version: ClassVar[int] = 1

    recipe: str
    signal: SignalSpec
    downsample: tuple[int, ...]
    channels: int
    backbone: BackboneConfig
    bottleneck: BottleneckConfig
    decoder: BackboneConfig | None = None
    objective: tuple[LossConfig, ...]
    training: TrainingConfig
    codec: CodecConfig | None = None
    recoding: RecodingConfig | None = None
    corruption: CorruptionConfig | None = None
    latent_noise: float = 0.0
    auxiliary: tuple[AuxiliaryObjectiveConfig, ...] = ()
    regularisers: tuple[RegulariserConfig, ...] = ()
    diffusion_decoder: DiffusionDecoderConfig | None = None

    @classmethod
    def of_codec(cls, *, recipe: str, signal: SignalSpec, codec: CodecConfig) -> TokenizerConfig:
        """The configuration of a codec, which has no other parts and is not trained."""
        return cls(
            recipe=recipe,
            signal=signal,
            downsample=codec.downsample(signal),
            channels=codec.grids(signal)[0].channels,
            backbone=PatchConfig(),
            bottleneck=IdentityConfig(),
            objective=(),
            training=TrainingConfig(steps=0),
            codec=codec,
        )

    @property
    def spec(self) -> LatentSpec:
        """Shape and rate of the latents."""
        if self.codec is not None:
            return LatentSpec(signal=self.signal, grids=self.codec.grids(self.signal))
        spec = LatentSpec(signal=self.signal, grids=self.bottleneck.grids(self.layout, self.channels))
        return spec if self.recoding is None else self.recoding.spec(spec)

    @property
    def layout(self) -> Layout:
        """Where the backbone puts its features."""
        return self.backbone.layout(self.signal, self.downsample)

    @property
    def features(self) -> int:
        """Channels that the encoder gives to the bottleneck's projection."""
        return self.backbone.features(self.signal, self.downsample)

    @property
    def decoder_features(self) -> int:
        """Channels that the decoder takes from the bottleneck's projection."""
        return self.decoding.features(self.signal, self.downsample)

    @property
    def decoding(self) -> BackboneConfig:
        """The backbone whose second half decodes."""
        return self.decoder or self.backbone

    @property
    def auxiliary_objectives(self) -> tuple[AuxiliaryObjectiveConfig, ...]:
        """Auxiliary objectives and regularisers, in the order in which they are built and run."""
        return tuple(sorted((*self.auxiliary, *self.regularisers), key=lambda objective: objective.kind))

    def to_json(self) -> dict[str, Any]:
        """Plain, canonical data: every option of every part, so that equal data means an equal tokenizer."""
        if self.codec is not None:
            return {"recipe": self.recipe, "signal": plain(self.signal), "codec": plain(self.codec)}
        optional: dict[str, Any] = {}
        if self.recoding is not None:
            optional["recoding"] = plain(self.recoding)
        if self.corruption is not None:
            optional["corruption"] = plain(self.corruption)
        if self.latent_noise:
            optional["latent_noise"] = self.latent_noise
        # The names "regularisers" and "generative" here, in `from_json` and in `versions`: keys move together with the
        # next change of versions.
        if self.auxiliary_objectives:
            optional["regularisers"] = [plain(objective) for objective in self.auxiliary_objectives]
        if self.diffusion_decoder is not None:
            optional["generative"] = plain(self.diffusion_decoder)
        return {
            "recipe": self.recipe,
            "signal": plain(self.signal),
            "downsample": list(self.downsample),
            "channels": self.channels,
            "backbone": plain(self.backbone),
            "bottleneck": plain(self.bottleneck),
            "decoder": None if self.decoder is None else plain(self.decoder),
            "objective": [plain(term) for term in self.objective],
            "training": plain(self.training),
            **optional,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, where: str = "tokenizer") -> TokenizerConfig:
        """The inverse of `to_json`. Raises UserError with a path under `where` on data that is none."""

        def backbone(key: str) -> BackboneConfig:
            return read_part(BackboneConfig, BACKBONES, data[key], where=f"{where}.{key}")

        signal = check(SignalSpec, data["signal"], where=f"{where}.signal")
        if "codec" in data:
            codec = read_part(CodecConfig, CODECS, data["codec"], where=f"{where}.codec")
            return cls.of_codec(recipe=data["recipe"], signal=signal, codec=codec)
        recoding = corruption = diffusion_decoder = None
        if "corruption" in data:
            corruption = read_part(CorruptionConfig, CORRUPTIONS, data["corruption"], where=f"{where}.corruption")
        if "generative" in data:
            diffusion_decoder = read_part(
                DiffusionDecoderConfig, DIFFUSION_DECODERS, data["generative"], where=f"{where}.generative"
            )
        if "recoding" in data:
            recoding = read_part(RecodingConfig, SEQUENCE_CODINGS, data["recoding"], where=f"{where}.recoding")
        return cls(
            recipe=data["recipe"],
            signal=signal,
            downsample=tuple(data["downsample"]),
            channels=data["channels"],
            backbone=backbone("backbone"),
            bottleneck=read_part(BottleneckConfig, BOTTLENECKS, data["bottleneck"], where=f"{where}.bottleneck"),
            decoder=None if data["decoder"] is None else backbone("decoder"),
            objective=tuple(
                read_part(LossConfig, LOSSES, term, where=f"{where}.objective") for term in data["objective"]
            ),
            training=check(TrainingConfig, data["training"], where=f"{where}.training"),
            recoding=recoding,
            corruption=corruption,
            latent_noise=data.get("latent_noise", 0.0),
            auxiliary=tuple(
                read_part(AuxiliaryObjectiveConfig, AUXILIARY, item, where=f"{where}.regularisers")
                for item in data.get("regularisers", ())
                if item["kind"] in AUXILIARY
            ),
            regularisers=tuple(
                read_part(RegulariserConfig, REGULARISERS, item, where=f"{where}.regularisers")
                for item in data.get("regularisers", ())
                if item["kind"] not in AUXILIARY
            ),
            diffusion_decoder=diffusion_decoder,
        )

    def versions(self) -> dict[str, int]:
        """Version by part ("bottleneck.vq"): what a job's key needs beside the configuration."""
        if self.codec is not None:
            return {"tokenizer": self.version, f"codec.{self.codec.kind}": self.codec.version}
        parts = {
            "tokenizer": self.version,
            f"backbone.{self.backbone.kind}": self.backbone.version,
            f"bottleneck.{self.bottleneck.kind}": self.bottleneck.version,
            f"backbone.{self.decoding.kind}": self.decoding.version,
        }
        if self.recoding is not None:
            parts[f"recoding.{self.recoding.kind}"] = self.recoding.version
        if self.corruption is not None:
            parts[f"corruption.{self.corruption.kind}"] = self.corruption.version
        if self.diffusion_decoder is not None:
            parts[f"generative.{self.diffusion_decoder.kind}"] = self.diffusion_decoder.version
        parts |= {f"regulariser.{objective.kind}": objective.version for objective in self.auxiliary_objectives}
        return parts | {f"objective.{loss.kind}": loss.version for loss in self.objective}

    def weights(self) -> tuple[str, ...]:
        """Weights files without which it can't be trained, by the names of `tokenizers/weights.py`."""
        parts: list[WeightedPart] = [*self.objective, *self.auxiliary_objectives]
        return tuple(sorted({name for part in parts for name in part.weights()}))

    def schedule_milestones(self) -> tuple[float, ...]:
        """Shares of the training at which the work of a step changes, the first 0."""
        parts: list[AuxiliaryObjectiveConfig | DiffusionDecoderConfig] = [*self.auxiliary_objectives]
        if self.diffusion_decoder is not None:
            parts.append(self.diffusion_decoder)
        return tuple(sorted({0.0, *(share for part in parts for share in part.schedule_milestones() if 0 < share < 1)}))

    def estimate_parameters(self) -> int:
        """Parameters of encoder, bottleneck and decoder, codebooks included, losses' networks excluded."""
        return self._cost().parameters

    def estimate_flops(self) -> float:
        """FLOPs of encoding and decoding one sample once (a training step takes about three times that)."""
        return self._cost().flops

    def _cost(self) -> Cost:
        if self.codec is not None:
            return self.codec.cost(self.signal)
        if self.recoding is not None:
            return replace(self, recoding=None)._cost()
        spec, features, wanted = self.spec, self.features, self.decoder_features
        total = self.backbone.encoder_cost(self.signal, self.downsample)
        total += self.bottleneck.cost(spec, features)
        total += self.decoding.decoder_cost(self.signal, self.downsample)
        if not self.bottleneck.projects:
            total += cost.pointwise(features, self.bottleneck.inputs(self.channels, features), self.layout.shape)
        given = self.bottleneck.outputs(self.channels, features)
        if not self.bottleneck.projects or given != wanted:
            total += cost.pointwise(given, wanted, self.layout.shape)
        shortcut = self.backbone.has_shortcut() or self.decoding.has_shortcut()
        if shortcut and not self.bottleneck.projects and given == self.channels:
            owner = self.backbone if self.backbone.has_shortcut() else self.decoding
            total += owner.shortcut_cost(self.signal, self.downsample, self.channels)
        for objective in self.auxiliary_objectives:
            total += objective.cost(self)
        if self.diffusion_decoder is not None:
            total += self.diffusion_decoder.cost(self.signal)
        return total
