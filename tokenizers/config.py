"""A tokenizer's complete configuration, as data: what `build` builds, what a job's key hashes, what a plan prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from . import cost
from .adapters.config import ADAPTERS, AdapterConfig
from .adapters.declaration import Description
from .auxiliary.config import AUXILIARY, AuxiliaryObjectiveConfig
from .backbones.config import BACKBONES, BackboneConfig
from .backbones.patch_config import PatchConfig
from .bottlenecks.config import BOTTLENECKS, BottleneckConfig
from .bottlenecks.identity_config import IdentityConfig
from .codecs.config import CODECS, CodecConfig
from .corruptions.config import CORRUPTIONS, CorruptionConfig
from .cost import Cost
from .diffusion_decoders.config import DIFFUSION_DECODERS, DiffusionDecoderConfig
from .geometry import Layout
from .losses.config import LOSSES, LossConfig, WeightedPart
from .part import P, Part, plain, read_part
from .registry import Registry
from .regularisers.config import REGULARISERS, RegulariserConfig
from .scrambles.config import SCRAMBLES, ScrambleConfig
from .sequence_coding.config import SEQUENCE_CODINGS, SequenceCodingConfig
from .spec import LatentGrid, LatentSpec, SignalSpec
from .training import TrainingConfig
from .validation import check


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """A trainable tokenizer for one signal: its parts, its geometry and its training.

    `downsample` has one factor per axis of the signal, `channels` are those of the latents, `decoder` None is the
    backbone's own second half. `recipe` is the name it came from, for tables. A `codec` is the whole tokenizer, and so
    is an `adapter` with the `description` of what it loads: then the other parts are trivial ones, and not in its data.
    A
    `sequence_coding` turns a discrete tokenizer's codes into sequences of varying length. In training a `corruption`
    changes what the encoder reads, and `latent_noise` adds Gaussian noise of so many standard deviations of each
    channel to what the decoder reads. A `diffusion_decoder` turns the output of the feed-forward decoder into the
    signal. A `scramble` changes the latents of any tokenizer behind its encoder and is undone before its decoder: a
    control. Parts that are off are not in the data.
    """

    version: ClassVar[int] = 1

    recipe: str
    signal: SignalSpec
    downsample: tuple[int, ...]
    channels: int
    backbone: BackboneConfig
    bottleneck: BottleneckConfig
    decoder: BackboneConfig | None = None
    losses: tuple[LossConfig, ...]
    training: TrainingConfig
    codec: CodecConfig | None = None
    sequence_coding: SequenceCodingConfig | None = None
    corruption: CorruptionConfig | None = None
    latent_noise: float = 0.0
    auxiliary: tuple[AuxiliaryObjectiveConfig, ...] = ()
    regularisers: tuple[RegulariserConfig, ...] = ()
    diffusion_decoder: DiffusionDecoderConfig | None = None
    adapter: AdapterConfig | None = None
    description: Description | None = None
    scramble: ScrambleConfig | None = None

    @classmethod
    def of_adapter(
        cls, *, recipe: str, signal: SignalSpec, adapter: AdapterConfig, description: Description
    ) -> TokenizerConfig:
        """The configuration of a tokenizer of somebody else's, which is not trained here."""
        shape, whole = description.grids[0].shape, signal.shape
        alike = len(shape) == len(whole)
        return cls(
            recipe=recipe,
            signal=signal,
            downsample=tuple(round(a / b) for a, b in zip(whole, shape, strict=True)) if alike else (1,) * len(whole),
            channels=description.grids[0].channels,
            backbone=PatchConfig(),
            bottleneck=IdentityConfig(),
            losses=(),
            training=TrainingConfig(steps=0),
            adapter=adapter,
            description=description,
        )

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
            losses=(),
            training=TrainingConfig(steps=0),
            codec=codec,
        )

    @property
    def spec(self) -> LatentSpec:
        """Shape and rate of the latents."""
        if self.scramble is not None:
            return self.scramble.spec(self.unscrambled.spec)
        if self.codec is not None:
            return LatentSpec(signal=self.signal, grids=self.codec.grids(self.signal))
        if self.description is not None:
            return LatentSpec(signal=self.signal, grids=self.description.grids)
        spec = LatentSpec(signal=self.signal, grids=self.bottleneck.grids(self.layout, self.channels))
        return spec if self.sequence_coding is None else self.sequence_coding.spec(spec)

    @property
    def unscrambled(self) -> TokenizerConfig:
        """The tokenizer behind the scramble: all that is trained."""
        return self if self.scramble is None else replace(self, scramble=None)

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
        if self.scramble is not None:
            return self.unscrambled.to_json() | {"scramble": plain(self.scramble)}
        if self.codec is not None:
            return {"recipe": self.recipe, "signal": plain(self.signal), "codec": plain(self.codec)}
        if self.adapter is not None and self.description is not None:
            return {
                "recipe": self.recipe,
                "signal": plain(self.signal),
                "adapter": plain(self.adapter),
                "class": self.description.class_name,
                "grids": [plain(grid) for grid in self.description.grids],
                "software": self.adapter.software(),
                "state": self.description.state,
            }
        data: dict[str, Any] = {
            "recipe": self.recipe,
            "signal": plain(self.signal),
            "downsample": list(self.downsample),
            "channels": self.channels,
            "backbone": plain(self.backbone),
            "bottleneck": plain(self.bottleneck),
            "decoder": None if self.decoder is None else plain(self.decoder),
            "losses": [plain(loss) for loss in self.losses],
            "training": plain(self.training),
        }
        for key, part in self._optional().items():
            data[key] = plain(part)
        if self.latent_noise:
            data["latent_noise"] = self.latent_noise
        for key, objectives in (("auxiliary", self.auxiliary), ("regularisers", self.regularisers)):
            if objectives:
                data[key] = [plain(objective) for objective in objectives]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, where: str = "tokenizer") -> TokenizerConfig:
        """The inverse of `to_json`. Raises UserError with a path under `where` on data that is none."""

        def part(key: str, base: type[P], registry: Registry, table: Any = None) -> P:
            return read_part(base, registry, data[key] if table is None else table, where=f"{where}.{key}")

        def optional(key: str, base: type[P], registry: Registry) -> P | None:
            return None if data.get(key) is None else part(key, base, registry)

        if data.get("scramble") is not None:
            inner = {key: value for key, value in data.items() if key != "scramble"}
            return replace(cls.from_json(inner, where=where), scramble=part("scramble", ScrambleConfig, SCRAMBLES))
        signal = check(SignalSpec, data["signal"], where=f"{where}.signal")
        if "codec" in data:
            return cls.of_codec(recipe=data["recipe"], signal=signal, codec=part("codec", CodecConfig, CODECS))
        if "adapter" in data:
            grids = tuple(check(LatentGrid, grid, where=f"{where}.grids") for grid in data["grids"])
            return cls.of_adapter(
                recipe=data["recipe"],
                signal=signal,
                adapter=part("adapter", AdapterConfig, ADAPTERS),
                description=Description(class_name=data["class"], grids=grids),
            )
        return cls(
            recipe=data["recipe"],
            signal=signal,
            downsample=tuple(data["downsample"]),
            channels=data["channels"],
            backbone=part("backbone", BackboneConfig, BACKBONES),
            bottleneck=part("bottleneck", BottleneckConfig, BOTTLENECKS),
            decoder=optional("decoder", BackboneConfig, BACKBONES),
            losses=tuple(part("losses", LossConfig, LOSSES, item) for item in data["losses"]),
            training=check(TrainingConfig, data["training"], where=f"{where}.training"),
            sequence_coding=optional("sequence_coding", SequenceCodingConfig, SEQUENCE_CODINGS),
            corruption=optional("corruption", CorruptionConfig, CORRUPTIONS),
            latent_noise=data.get("latent_noise", 0.0),
            auxiliary=tuple(
                part("auxiliary", AuxiliaryObjectiveConfig, AUXILIARY, item) for item in data.get("auxiliary", ())
            ),
            regularisers=tuple(
                part("regularisers", RegulariserConfig, REGULARISERS, item) for item in data.get("regularisers", ())
            ),
            diffusion_decoder=optional("diffusion_decoder", DiffusionDecoderConfig, DIFFUSION_DECODERS),
        )

    def versions(self) -> dict[str, int]:
        """Version by part ("bottleneck.vq"): what a job's key needs beside the configuration."""
        if self.scramble is not None:
            return self.unscrambled.versions() | {f"scramble.{self.scramble.kind}": self.scramble.version}
        if self.codec is not None:
            return {"tokenizer": self.version, f"codec.{self.codec.kind}": self.codec.version}
        if self.adapter is not None:
            return {"tokenizer": self.version, f"adapter.{self.adapter.kind}": self.adapter.version}
        versions = {"tokenizer": self.version, **{f"{name}.{part.kind}": part.version for name, part in self._parts()}}
        beside = self.diffusion_decoder is not None or any(part.kind == "adversary" for part in self.auxiliary)
        if beside and self.training.precision == "bfloat16":
            versions |= {"training.bfloat16": 1}  # networks beside the tokenizer's own were once trained in float32
        return versions

    def preload(self) -> None:
        """Import what `build` will, so that processes that are forked from this one need not; only modules of ours."""
        for _, part in self._parts() if self.codec is None and self.adapter is None else ():
            part.preload()

    def _parts(self) -> list[tuple[str, Part]]:
        """The parts that it is composed of, each with the name that its version has in a job's key."""
        return [
            ("backbone", self.backbone),
            ("bottleneck", self.bottleneck),
            ("backbone", self.decoding),
            *self._optional().items(),
            *(("auxiliary", objective) for objective in self.auxiliary),
            *(("regulariser", regulariser) for regulariser in self.regularisers),
            *(("loss", loss) for loss in self.losses),
        ]

    def _optional(self) -> dict[str, Part]:
        """The single parts that a tokenizer may lack, by the name of their attribute, those that it has."""
        parts = {
            "sequence_coding": self.sequence_coding,
            "corruption": self.corruption,
            "diffusion_decoder": self.diffusion_decoder,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def weights(self) -> tuple[str, ...]:
        """Weights files that training needs, or a frozen encoder, by the names of `tokenizers/weights.py`."""
        parts: list[WeightedPart | BackboneConfig] = [self.backbone, *self.losses, *self.auxiliary_objectives]
        return tuple(sorted({name for part in parts for name in part.weights()}))

    @property
    def batch_coupled(self) -> str | None:
        """The first reason among its parts why its training needs a whole batch at a time, or None."""
        if self.latent_noise:
            return "latent_noise is scaled by the deviation over the batch"
        return _first((part.kind, part.batch_coupling()) for part in self._trained)

    @property
    def rank_coupled(self) -> str | None:
        """The first reason among its parts why several devices can't share its batches, or None."""
        return _first((part.kind, part.rank_coupling()) for part in self._trained)

    @property
    def _trained(self) -> list[Part]:
        """The parts that have a say in what a batch gives."""
        parts = (
            *(self.backbone, self.bottleneck, self.decoder, self.corruption, self.diffusion_decoder),
            *(*self.losses, *self.auxiliary, *self.regularisers),
        )
        return [part for part in parts if part is not None]

    def schedule_milestones(self) -> tuple[float, ...]:
        """Shares of the training at which the work of a step changes, the first 0."""
        parts: list[AuxiliaryObjectiveConfig | DiffusionDecoderConfig] = [*self.auxiliary_objectives]
        if self.diffusion_decoder is not None:
            parts.append(self.diffusion_decoder)
        return tuple(sorted({0.0, *(share for part in parts for share in part.schedule_milestones() if 0 < share < 1)}))

    def estimate_parameters(self) -> int:
        """Parameters of encoder, bottleneck and decoder, codebooks included, losses' networks excluded."""
        return self._cost.parameters

    def estimate_flops(self) -> float:
        """FLOPs of encoding and decoding one sample once (a training step takes about three times that)."""
        return self._cost.flops

    @cached_property
    def _cost(self) -> Cost:
        if self.scramble is not None:
            return self.unscrambled._cost
        if self.codec is not None:
            return self.codec.cost(self.signal)
        if self.description is not None:
            return Cost(parameters=self.description.parameters, flops=self.description.flops)
        if self.sequence_coding is not None:
            return replace(self, sequence_coding=None)._cost
        spec, features = self.spec, self.features
        total = self.backbone.encoder_cost(self.signal, self.downsample)
        total += self.bottleneck.cost(spec, features)
        total += self.decoding.decoder_cost(self.signal, self.downsample)
        if not self.bottleneck.projects:
            total += cost.pointwise(features, self.bottleneck.inputs(self.channels, features), self.layout.shape)
        outputs = self.bottleneck.outputs(self.channels, features)
        if not self.bottleneck.projects or outputs != self.decoder_features:
            total += cost.pointwise(outputs, self.decoder_features, self.layout.shape)
        shortcut = self.backbone.has_shortcut() or self.decoding.has_shortcut()
        if shortcut and not self.bottleneck.projects and outputs == self.channels:
            owner = self.backbone if self.backbone.has_shortcut() else self.decoding
            total += owner.shortcut_cost(self.signal, self.downsample, self.channels)
        for objective in self.auxiliary_objectives:
            total += objective.cost(self)
        if self.diffusion_decoder is not None:
            total += self.diffusion_decoder.cost(self.signal)
        return total


def _first(reasons: Iterable[tuple[str, str | None]]) -> str | None:
    return next((f"{kind}: {reason}" for kind, reason in reasons if reason), None)
