"""Recipes: named presets that compose parts into a system of the field, and their resolution for a signal. No torch.

A recipe is a TOML file: `title`, `systems`, `modalities` and `claim` say what it is, perhaps a `base` recipe that it
changes, and the rest are options like a suite's, with `[modality.<name>]` tables for what differs between modalities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from ..results.errors import UserError, unknown
from .adapters.config import read_adapter
from .adapters.describe import describe
from .auxiliary.config import AUXILIARY, AuxiliaryObjectiveConfig
from .backbones.config import BACKBONES, BackboneConfig
from .codecs.config import CODECS, CodecConfig
from .config import TokenizerConfig
from .corruptions.config import CORRUPTIONS, CorruptionConfig
from .diffusion_decoders.config import DIFFUSION_DECODERS, DiffusionDecoderConfig
from .geometry import read_downsample
from .latent_size import sized_bottleneck
from .losses.config import LOSSES, LossConfig, WeightedPart
from .options import merge, merge_layer, normalise
from .part import P, read_part
from .registry import Registry
from .regularisers.config import REGULARISERS, RegulariserConfig
from .scrambles.config import SCRAMBLES, ScrambleConfig
from .sequence_coding.config import SEQUENCE_CODINGS, SequenceCodingConfig
from .spec import Modality, SignalSpec
from .training import TrainingConfig
from .validation import check, is_file, parse_toml

W = TypeVar("W", bound=WeightedPart)

# Tables that hold several parts, by kind, with a weight each.
_WEIGHTED: dict[str, Registry] = {"losses": LOSSES, "auxiliary": AUXILIARY, "regularisers": REGULARISERS}
_ABOUT = ("title", "systems", "modalities", "claim", "base", "modality")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe as read: what it is, its own `table` of options, and the recipe it starts from."""

    name: str
    title: str
    systems: tuple[str, ...]
    modalities: tuple[Modality, ...]
    claim: str
    table: Mapping[str, Any]
    base: Recipe | None = None

    def layers(self, modality: Modality) -> list[dict[str, Any]]:
        """Option tables for a modality, each to be laid over those before it."""
        own = {key: value for key, value in self.table.items() if key not in _ABOUT}
        special = dict(self.table.get("modality", {}).get(modality.value, {}))
        return [*(self.base.layers(modality) if self.base else []), own, special]


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    names = [entry.name.removesuffix(".toml") for entry in _folder().iterdir() if entry.name.endswith(".toml")]
    return sorted(name for name in names if not name.startswith("_"))


def load_recipe(name: str, where: str = "") -> Recipe:
    """The recipe called `name`, or in the file `name` when that ends in ".toml".

    Raises UserError for an unknown name (with its neighbour), an unreadable file, or a table that is no recipe.
    """
    return _load(name, where, ())


def resolve(recipe: str, signal: SignalSpec, options: Mapping[str, Any], *, where: str = "") -> TokenizerConfig:
    """A recipe with `options` laid over it, as the complete configuration for `signal`.

    `options` are nested tables: `downsample` (an int or one per axis), `channels`, `tsr`, `backbone`, `bottleneck`,
    `decoder`, `diffusion_decoder`, `losses`, `auxiliary`, `regularisers`, `training`, `codec`, `sequence_coding`,
    `corruption`, `latent_noise`, `scramble`, and the short names of `options.normalise`. A given `tsr` is solved for
    the codes per position of a quantiser that can have several, and for the channels of a continuous latent. Raises
    UserError with a path under `where` for whatever is unknown, of a wrong type, or impossible.
    """
    loaded = load_recipe(recipe, where=_join(where, "recipe"))
    if signal.modality not in loaded.modalities:
        raise UserError(
            f"{_join(where, 'recipe')}: {loaded.name!r} is for {', '.join(loaded.modalities)}, not {signal.modality}"
        )
    merged: dict[str, Any] = {}
    for layer in loaded.layers(signal.modality):
        place = f"recipe {loaded.name}"
        merged = merge_layer(merged, normalise(layer, where=place), where=place)
    merged = merge_layer(merged, normalise(options, where=where), where=where)
    return _Resolution(merged, signal, where).scrambled(loaded.name)


def resolve_adapter(
    kind: str, signal: SignalSpec, options: Mapping[str, Any], *, where: str = ""
) -> TokenizerConfig | None:
    """The tokenizer of somebody else's that `options` of the adapter `kind` name, as the configuration for `signal`.

    None where it is for other modalities. Loads it once, in another process if this one has no torch. Raises UserError
    with a path under `where` for what is not there, can't be loaded, or does not take such a signal.
    """
    adapter = read_adapter(kind, options, where).located(where)
    declaration = describe(adapter, None, where).declaration
    if declaration is None or signal.modality not in declaration.modalities:
        return None
    return TokenizerConfig.of_adapter(
        recipe=kind, signal=signal, adapter=adapter, description=describe(adapter, signal, where)
    )


class _Resolution:
    """One resolution: the merged options, read in the order in which they depend on each other."""

    def __init__(self, options: dict[str, Any], signal: SignalSpec, where: str) -> None:
        self.options = options
        self.signal = signal
        self.where = where

    def scrambled(self, name: str) -> TokenizerConfig:
        """The configuration, with the scramble that the options name; "none" is none."""
        table = self.options.pop("scramble", {"kind": "none"})
        config = self.config(name)
        if table == {"kind": "none"}:
            return config
        self.options["scramble"] = table
        scramble = self._read("scramble", ScrambleConfig, SCRAMBLES)
        self._require("scramble", lambda: scramble.unsupported_reason(config.spec))
        return replace(config, scramble=scramble)

    def config(self, name: str) -> TokenizerConfig:
        options, signal = self.options, self.signal
        if "codec" in options:
            return self._codec(name)
        downsample = read_downsample(options.get("downsample", 1), signal, where=self._at("downsample"))
        backbone = self._read("backbone", BackboneConfig, BACKBONES, options.get("backbone", {"kind": "conv"}))
        decoder = self._decoder()
        self._require("backbone", lambda: backbone.unsupported_reason(signal))
        self._require("decoder", lambda: decoder.unsupported_reason(signal) if decoder is not None else None)
        if not (decoder or backbone).decodes:
            key, kind = ("decoder", decoder.kind) if decoder else ("backbone", backbone.kind)
            raise UserError(f'{self._at(key)}: {kind!r} has no decoder: give another\'s, decoder = {{ kind = "conv" }}')
        try:
            downsample = backbone.factors(signal, downsample)
            layout = backbone.layout(signal, downsample)
            if decoder is not None and decoder.layout(signal, downsample) != layout:
                raise UserError(f"{self._at('decoder')}: {decoder.kind!r} can't read the grid of {backbone.kind!r}")
            features = backbone.features(signal, downsample)
        except ValueError as error:
            raise UserError(f"{self._at('downsample')}: {error}") from None
        bottleneck, channels = sized_bottleneck(options, signal, layout, features, at=self._at)
        self._require(
            "bottleneck",
            lambda: bottleneck.unsupported_reason(channels=channels, features=features, backbone=backbone.kind),
        )
        if layout.topology == "set" and len(bottleneck.grids(layout, channels)) > 1:
            reason = "a hierarchy of grids needs an order of its positions, and a set has none"
            raise UserError(f"{self._at('bottleneck')}: {reason}")
        diffusion_decoder = self._for_signal("diffusion_decoder", DiffusionDecoderConfig, DIFFUSION_DECODERS)
        config = TokenizerConfig(
            recipe=name,
            signal=signal,
            downsample=downsample,
            channels=channels,
            backbone=backbone,
            bottleneck=bottleneck,
            decoder=decoder,
            losses=self._losses(optional=diffusion_decoder is not None),
            training=check(TrainingConfig, options.get("training", {}), where=self._at("training")),
            corruption=self._for_signal("corruption", CorruptionConfig, CORRUPTIONS),
            latent_noise=self._latent_noise(),
            auxiliary=self._weighted("auxiliary", AuxiliaryObjectiveConfig),
            regularisers=self._weighted("regularisers", RegulariserConfig),
            diffusion_decoder=diffusion_decoder,
        )
        for table, objectives in (("auxiliary", config.auxiliary), ("regularisers", config.regularisers)):
            for item in objectives:
                self._require(f"{table}.{item.kind}", lambda item=item: item.unsupported_reason(config))  # type: ignore[misc]
        coupled = config.batch_coupled
        if config.training.micro_batch is not None and coupled:
            raise UserError(f"{self._at('training.micro_batch')}: a batch can't be divided here ({coupled})")
        if config.training.devices > 1 and (coupled := config.rank_coupled):
            raise UserError(f"{self._at('training.devices')}: several devices can't share a batch here ({coupled})")
        if "sequence_coding" not in options:
            return config
        coding = self._read("sequence_coding", SequenceCodingConfig, SEQUENCE_CODINGS)
        kinds = {regulariser.kind for regulariser in config.regularisers}
        self._require("sequence_coding", lambda: coding.unsupported_reason(config.spec, regularisers=kinds))
        return replace(config, sequence_coding=coding)

    def _codec(self, name: str) -> TokenizerConfig:
        """A codec has no other parts. A suite's training budget is for those that train, and no mistake here."""
        for key in self.options.keys() - {"codec", "training"}:
            raise UserError(f"{self._at(key)}: a codec is a whole tokenizer, and has none")
        codec = self._read("codec", CodecConfig, CODECS)
        if self.signal.modality not in codec.modalities:
            raise UserError(f"{self._at('codec')}: {codec.kind!r} is for {', '.join(codec.modalities)}")
        self._require("codec", lambda: codec.unsupported_reason(self.signal))
        return TokenizerConfig.of_codec(recipe=name, signal=self.signal, codec=codec)

    def _decoder(self) -> BackboneConfig | None:
        """Another backbone's second half, or the same backbone's with other options; None where nothing is said."""
        if "decoder" not in self.options:
            return None
        table, first = self.options["decoder"], self.options.get("backbone", {})
        kind = table.get("kind", first.get("kind", "conv"))
        if isinstance(kind, str) and kind in DIFFUSION_DECODERS:
            raise UserError(
                f"{self._at('decoder.kind')}: {kind!r} is a diffusion decoder, whose table is diffusion_decoder"
            )
        other = kind != first.get("kind", kind)  # whose options are not its own
        return self._read("decoder", BackboneConfig, BACKBONES, merge({} if other else first, table))

    def _for_signal(self, key: str, base: type[P], registry: Registry) -> P | None:
        """The part in the table `key`, where there is one and it supports the signal."""
        if key not in self.options:
            return None
        part: Any = self._read(key, base, registry)
        self._require(key, lambda: part.unsupported_reason(self.signal))
        return part

    def _losses(self, *, optional: bool) -> tuple[LossConfig, ...]:
        losses = self._weighted("losses", LossConfig)
        if not losses and not optional:
            raise UserError(f"{self._at('losses')}: no loss has a weight above 0; known: {', '.join(LOSSES.names())}")
        return losses

    def _weighted(self, key: str, base: type[W]) -> tuple[W, ...]:
        """The parts in the table `key`, one a kind, whose weight is not 0, in the order of their kinds."""
        parts: list[W] = []
        registry = _WEIGHTED[key]
        for kind, table in sorted(self.options.get(key, {}).items()):
            at = self._at(f"{key}.{kind}")
            if kind not in registry:
                for other, others in _WEIGHTED.items():
                    if kind in others:
                        raise UserError(f"{at}: {kind!r} is no {registry.kind}; its place is {other}.{kind}")
                raise unknown(registry.kind, kind, registry.names(), where=self._at(key))
            part = self._read(f"{key}.{kind}", base, registry, _of_kind(kind, table, where=at))
            if part.weight == 0:
                continue
            if self.signal.modality not in part.modalities:
                raise UserError(f"{at}: defined for {', '.join(part.modalities)}, not {self.signal.modality}")
            parts.append(part)
        return tuple(parts)

    def _latent_noise(self) -> float:
        noise = self.options.get("latent_noise", 0.0)
        if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise < float("inf"):
            raise UserError(f"{self._at('latent_noise')}: expected a number >= 0, got {noise!r}")
        return float(noise)

    def _read(self, key: str, base: type[P], registry: Registry, table: Any = None) -> P:
        """The part that `table` describes, by default the options under `key`."""
        return read_part(base, registry, self.options[key] if table is None else table, where=self._at(key))

    def _require(self, key: str, reason: Callable[[], str | None]) -> None:
        """Raises UserError at `key` where `reason` gives one, or itself fails with ValueError."""
        try:
            message = reason()
        except ValueError as error:
            message = str(error)
        if message:
            raise UserError(f"{self._at(key)}: {message}")

    def _at(self, key: str) -> str:
        return _join(self.where, key)


def _of_kind(kind: str, table: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """`table` with its kind, which is the name that it stands under; another one would take a second part's place."""
    if table.get("kind", kind) != kind:
        raise UserError(f"{where}.kind: it is {kind!r}, as the table's name says, and not {table['kind']!r}")
    return {**table, "kind": kind}


_LONGEST_CHAIN = 30


def _load(name: str, where: str, seen: tuple[str, ...]) -> Recipe:
    at = f"{where}: " if where else ""
    if len(seen) > _LONGEST_CHAIN:
        raise UserError(f"{at}a recipe's bases are at most {_LONGEST_CHAIN}, and {seen[0]!r} has more")
    if name in seen:
        raise UserError(f"{at}recipe {name!r} is its own base ({' -> '.join([*seen, name])})")
    if name.endswith(".toml"):
        path, short = Path(name), Path(name).stem
        if not is_file(path):
            raise UserError(f"{at}no recipe file {name!r}")
        place = name
    else:
        path, short, place = _folder() / f"{name}.toml", name, f"recipe {name}"
        if Path(name).name != name or not path.is_file() or (name.startswith("_") and not seen):
            raise unknown("recipe", name, recipe_names(), where=where)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: {error}") from None
    table = _parsed(text, place)
    base = None
    if "base" in table:
        base = _load(_text(table, "base", place), f"{place}: base", (*seen, name))
    modalities = _texts(table, "modalities", place) if "modalities" in table else None
    special = table.get("modality", {})
    for key, value in {"modality": special, **(special if isinstance(special, dict) else {})}.items():
        if not isinstance(value, dict):
            dotted = key if key == "modality" else f"modality.{key}"
            raise UserError(f"{place}: {dotted}: expected a table, got {value!r}")
    for modality in (*(modalities or ()), *special):
        if modality not in list(Modality):
            raise unknown("modality", modality, list(Modality), where=place)
    inherited = base.modalities if base else tuple(Modality)
    return Recipe(
        name=short,
        title=_text(table, "title", place, short),
        systems=_texts(table, "systems", place),
        modalities=inherited if modalities is None else tuple(Modality(m) for m in modalities),
        claim=_text(table, "claim", place, ""),
        table=table,
        base=base,
    )


@lru_cache(maxsize=256)
def _parsed(text: str, place: str) -> Mapping[str, Any]:
    """The table of a recipe's text, which a suite reads for hundreds of cells; it is never changed."""
    return parse_toml(text, place)


def _folder() -> Any:
    return files(__package__) / "recipes"


def _text(table: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise UserError(f"{where}: {key}: expected a text, got {value!r}")
    return value


def _texts(table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{where}: {key}: expected a list of texts, got {value!r}")
    return tuple(value)


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
