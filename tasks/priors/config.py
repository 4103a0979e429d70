"""Priors by name: what every configuration of one has, and the choice of one for given latents. Needs no torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from ...results.errors import UserError, unknown
from ...tokenizers.part import Part, plain
from ...tokenizers.registry import Registry
from ...tokenizers.spec import LatentSpec
from ...tokenizers.training import TrainingConfig
from ...tokenizers.validation import check


@dataclass(frozen=True, kw_only=True)
class PriorConfig(Part):
    """The options of one prior. A subclass adds its own, and says what it can model and what it costs.

    Its `kind` is `name` in a suite's `[prior]`; `builds` names the `Prior`, which is constructed with the configuration
    and the latents' spec. `training` is the training budget. `sizes` are named model sizes: the options that
    `size = "s"` stands for, so that priors of different kinds are compared at like sizes. `reports` are its held-out
    scores' names as `tasks.metric_names` has them, None where it does not say. `sampling_options` names those options
    of the class that say how samples are drawn, which neither training nor held-out scores read: priors that differ in
    nothing else are trained once.
    """

    reports: ClassVar[tuple[str, ...] | None] = None

    sampling_options: ClassVar[frozenset[str]] = frozenset()

    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        """Checks of options; those of several classes are chained with `super().__post_init__()`, which ends here."""

    @classmethod
    def with_size(cls, options: Mapping[str, Any], *, where: str) -> Mapping[str, Any]:
        """`options` with "size" replaced by the options of that size, below those that are given beside it.

        Raises UserError for an unknown size, and for a prior that has none.
        """
        if "size" not in options or "size" in {option.name for option in fields(cls)}:
            return options
        size = options["size"]
        if not cls.sizes:
            raise UserError(f"{where}: size: this prior has no named sizes; give its options")
        if not isinstance(size, str) or size not in cls.sizes:
            raise unknown("size", str(size), list(cls.sizes), where=f"{where}: size")
        return {**cls.sizes[size], **{key: value for key, value in options.items() if key != "size"}}

    def identity(self) -> dict[str, Any]:
        """The options as a job's key holds them: plain data without those in `identity_defaults` at their default."""
        return {key: value for key, value in plain(self).items() if key != "kind"}

    @classmethod
    def all_sampling_options(cls) -> frozenset[str]:
        """The `sampling_options` of this class and its bases."""
        return frozenset().union(*(vars(base).get("sampling_options", ()) for base in cls.__mro__))

    def training_identity(self) -> dict[str, Any]:
        """`identity` of what is trained: with all sampling options at their defaults."""
        default, drawn = type(self)().identity(), self.sampling()
        own = {name: default.get(name) if name in drawn else value for name, value in self.identity().items()}
        return {name: value for name, value in own.items() if name in default or name not in drawn}

    def sampling(self) -> dict[str, Any]:
        """Those of `all_sampling_options` that are not at their defaults, as plain data."""
        own, default, names = self.identity(), type(self)().identity(), self.all_sampling_options()
        return {name: value for name, value in own.items() if name in names and value != default.get(name)}

    @abstractmethod
    def unsupported_reason(self, spec: LatentSpec) -> str | None:
        """Why these latents can't be modelled with these options ("it models codes, ..."), or None when they can."""
        raise NotImplementedError

    @property
    def sampling_settings(self) -> str:
        """The part of `protocol` that is the prior's own: how samples are drawn."""
        return ""

    @property
    def protocol(self) -> str:
        """One line with the version and the sampling settings: what distinguishes the samples of two equal models."""
        version = f"{self.kind} v{self.version}"
        return f"{version}, {self.sampling_settings}" if self.sampling_settings else version

    @abstractmethod
    def forward_flops(self, spec: LatentSpec) -> float:
        """Floating-point operations of one forward pass for one sample (a multiply-add is two)."""
        raise NotImplementedError

    def sampling_flops(self, spec: LatentSpec) -> float:
        """Floating-point operations to draw one sample; by default one forward pass."""
        return self.forward_flops(spec)


@dataclass(frozen=True, kw_only=True)
class ClassConditional(PriorConfig):
    """The options of a prior that can be conditioned on class labels (`conditioning.Labels`).

    `classes` is how many labels the data has (0: not conditioned); in training a label is left out with probability
    `label_dropout`; sampling draws labels from the training split's histogram and guides with scale `guidance`
    (classifier-free; 1: not guided, at half the cost of any other).
    """

    identity_defaults: ClassVar[frozenset[str]] = frozenset({"classes", "label_dropout", "guidance"})
    sampling_options: ClassVar[frozenset[str]] = frozenset({"guidance"})

    classes: int = 0
    label_dropout: float = 0.1
    guidance: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes < 0:
            raise ValueError("classes must be at least 0 (0: not conditioned on labels)")
        if not 0 <= self.label_dropout < 1:
            raise ValueError("label_dropout must lie in [0, 1)")
        if self.guidance < 0:
            raise ValueError("guidance must be at least 0 (1: none)")
        if self.guidance != 1 and not self.classes:
            raise ValueError("guidance needs classes")
        if self.guidance != 1 and not self.label_dropout:
            raise ValueError("guidance needs a label_dropout above 0: it is what trains the unconditional prediction")

    @property
    def protocol(self) -> str:
        """The sampling settings, and with labels their number and the guidance scale."""
        labels = f", {self.classes} classes, guidance {self.guidance:g}" if self.classes else ""
        return super().protocol + labels

    @property
    def evaluations(self) -> int:
        """Forward passes per prediction in sampling: 2 with guidance."""
        return 2 if self.guidance != 1 else 1

    def sampling_flops(self, spec: LatentSpec) -> float:
        """One forward pass (with a cache); two with guidance."""
        return self.forward_flops(spec) * self.evaluations


priors = Registry(
    "prior",
    "latentbench.priors",
    {
        "ar": "tasks.priors.ar_config:ARConfig",
        "cascade": "tasks.priors.cascade_config:CascadeConfig",
        "diffwave": "tasks.priors.diffwave_config:DiffWaveConfig",
        "flow": "tasks.priors.flow_config:FlowConfig",
        "givt": "tasks.priors.givt_config:GIVTConfig",
        "hierarchical": "tasks.priors.hierarchical_config:HierarchicalConfig",
        "mar": "tasks.priors.mar_config:MARConfig",
        "maskgit": "tasks.priors.maskgit_config:MaskGITConfig",
        "pixelcnn": "tasks.priors.pixelcnn_config:PixelCNNConfig",
        "set_ar": "tasks.priors.set_ar_config:SetARConfig",
        "set_flow": "tasks.priors.set_flow_config:SetFlowConfig",
        "unet": "tasks.priors.unet_config:UNetConfig",
        "wavenet": "tasks.priors.wavenet_config:WaveNetConfig",
    },
    base=PriorConfig,
)

_PREFERRED = ("ar", "flow")


def able_priors(spec: LatentSpec) -> list[str]:
    """The priors whose default options can model these latents, the preferred ones first."""
    names = (*_PREFERRED, *(name for name in priors.names() if name not in _PREFERRED))
    return [name for name in names if priors.get(name)().unsupported_reason(spec) is None]


def choose(spec: LatentSpec, *, where: str = "") -> str:
    """The prior that "auto" stands for: the first that can model these latents. Raises UserError when none can."""
    names = able_priors(spec)
    if not names:
        raise UserError(f"{where}: no prior for these latents; no known prior can model them".removeprefix(": "))
    return names[0]


def batch_coupled(config: PriorConfig, spec: LatentSpec) -> str | None:
    """Why the prior's training on these latents needs a whole batch at a time, or None."""
    return _length_coupled(spec) or config.batch_coupling()


def rank_coupled(config: PriorConfig, spec: LatentSpec) -> str | None:
    """Why several devices can't share the batches of the prior's training on these latents, or None."""
    return _length_coupled(spec) or config.rank_coupling()


def _length_coupled(spec: LatentSpec) -> str | None:
    varies = any(grid.variable for grid in spec.grids)
    return "its loss is a mean over the codes of a batch, whose samples differ in length" if varies else None


def check_supported(config: PriorConfig, spec: LatentSpec, *, where: str = "") -> None:
    """Raises UserError with the reason when the prior can't model these latents, naming those that can."""
    prefix = f"{where}: " if where else ""
    reason = config.unsupported_reason(spec)
    if reason is None:
        coupled = batch_coupled(config, spec)
        if config.training.micro_batch is not None and coupled:
            raise UserError(f"{prefix}training.micro_batch: a batch can't be divided here ({coupled})")
        if config.training.devices > 1 and (coupled := rank_coupled(config, spec)):
            raise UserError(f"{prefix}training.devices: several devices can't share a batch here ({coupled})")
        return
    names = [name for name in able_priors(spec) if name != config.kind]
    others = f"can: {', '.join(names)}" if names else "no other prior can"
    raise UserError(f"{prefix}prior {config.kind!r} can't model these latents: {reason}; {others}")


def resolve_prior(
    name: str, options: Mapping[str, Any], spec: LatentSpec, *, where: str, named_at: str | None = None
) -> PriorConfig:
    """The checked configuration of prior `name` ("auto": chosen by the latents' kind) for these latents.

    `options` is plain data from a suite; `size` among them stands for a named model size. Raises UserError that starts
    with `where` on an unknown option or a wrong type, and with `named_at` (None: `where`) on an unknown prior or one
    that can't model the latents.
    """
    named_at = where if named_at is None else named_at
    cls = priors.get(choose(spec, where=named_at) if name == "auto" else name, where=named_at)
    config: PriorConfig = check(cls, cls.with_size(options, where=where), where=where)
    check_supported(config, spec, where=named_at)
    return config
