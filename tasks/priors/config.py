"""Priors by name: their options, which latents each can model, and what they cost. Needs no torch."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ...results.errors import UserError
from ...tokenizers.registry import Registry
from ...tokenizers.spec import LatentSpec
from ...tokenizers.training import TrainingConfig
from ...tokenizers.validation import check
from .patches import check_patch, choose_patch, counts
from .presets import with_size

if TYPE_CHECKING:
    from .interface import Prior


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """The options of one prior. A subclass adds its own, and says what it can model, what it costs and how it is built.

    `name` is the registered name; `version` counts changes that move numbers; `training` is the training budget.
    `identity_defaults` names options that came after the prior did: at their default they change nothing and stay out
    of job keys.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    identity_defaults: ClassVar[frozenset[str]] = frozenset()

    training: TrainingConfig = field(default_factory=TrainingConfig)

    def identity(self) -> dict[str, Any]:
        """The options as a job's key holds them: all but those in `identity_defaults` that are at their default."""
        default = {option.name: option.default for option in fields(self)}
        options = asdict(self)
        return {k: v for k, v in options.items() if k not in self.identity_defaults or v != default[k]}

    @classmethod
    @abstractmethod
    def unsupported_reason(cls, spec: LatentSpec) -> str | None:
        """Why these latents can't be modelled ("it models codes"), or None when they can."""
        raise NotImplementedError

    @property
    @abstractmethod
    def protocol(self) -> str:
        """One line with the sampling settings: what must agree before samples' scores may be compared."""
        raise NotImplementedError

    @abstractmethod
    def forward_flops(self, spec: LatentSpec) -> float:
        """Floating-point operations of one forward pass for one sample (a multiply-add is two)."""
        raise NotImplementedError

    def sampling_flops(self, spec: LatentSpec) -> float:
        """Floating-point operations to draw one sample; by default one forward pass."""
        return self.forward_flops(spec)

    def fits(self, spec: LatentSpec) -> None:
        """Raises UserError where the options don't suit the latents."""

    @abstractmethod
    def build(self, spec: LatentSpec) -> Prior:
        """The untrained prior for these latents; imports torch. Raises UserError where the options don't suit them."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ClassConditional(PriorConfig):
    """The options of a prior that can be conditioned on class labels (`conditioning.Labels`).

    `classes` is how many labels the data has (0: not conditioned); in training a label is left out with probability
    `label_dropout`; sampling draws labels from the training split's histogram and guides with scale `guidance`
    (classifier-free; 1: not guided, at half the cost of any other).
    """

    identity_defaults: ClassVar[frozenset[str]] = frozenset({"classes", "label_dropout", "guidance"})

    classes: int = 0
    label_dropout: float = 0.1
    guidance: float = 1.0

    def __post_init__(self) -> None:
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
    def conditioning(self) -> str:
        """What `protocol` says about labels: nothing without them, else their number and the guidance scale."""
        return f", {self.classes} classes, guidance {self.guidance:g}" if self.classes else ""

    @property
    def evaluations(self) -> int:
        """Forward passes per prediction in sampling: 2 with guidance."""
        return 2 if self.guidance != 1 else 1


@dataclass(frozen=True, kw_only=True)
class ARConfig(ClassConditional):
    """Autoregressive transformer over codes, position after position, the heads of a position one after the other.

    `width`, `layers`, `attention_heads` and `dropout` shape the trunk; `depth_width` and `depth_layers` the small
    network that predicts a position's heads in turn (None: as wide as the trunk; unused with one head). `positions` is
    how it knows where it is: "learned" embeddings per axis or "rotary" angles per axis. `order` is "raster", all heads
    of a position before the next, or "delay", head j a position behind head j - 1 and one step per position (as in
    MusicGen; the codes of a step are taken for independent; see `ar.py`). Sampling: logits divided by `temperature`,
    then cut to the `top_k` likeliest codes (0: all) and to the smallest set that holds `top_p` of the probability
    (1: all). The defaults sample from the model itself. For `classes` see `ClassConditional`.
    """

    name: ClassVar[str] = "ar"
    version: ClassVar[int] = 2
    identity_defaults: ClassVar[frozenset[str]] = ClassConditional.identity_defaults | {"order"}

    width: int = 128
    layers: int = 4
    attention_heads: int = 4
    dropout: float = 0.0
    depth_width: int | None = None
    depth_layers: int = 2
    positions: Literal["learned", "rotary"] = "learned"
    order: Literal["raster", "delay"] = "raster"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(steps=2000, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.01)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_transformer(self.width, self.layers, self.attention_heads, self.dropout)
        if self.depth_layers < 0 or (self.depth_width is not None and self.depth_width < 1):
            raise ValueError("depth_layers must be at least 0 and depth_width at least 1")
        check_drawing(self.temperature, self.top_k, self.top_p)

    @classmethod
    def unsupported_reason(cls, spec: LatentSpec) -> str | None:
        """One grid of codes, or a sequence of fixed or varying length."""
        reason = one_ordered_grid(spec) or needs_codes(spec)
        if reason is None and spec.grid.variable and spec.grid.topology != "sequence":
            return "of varying length it models sequences alone, and these latents are a grid"
        return reason

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        order = "" if self.order == "raster" else f", {self.order} order"
        drawing = f"temperature {self.temperature:g}, top_k {self.top_k}, top_p {self.top_p:g}"
        return f"ar v{self.version}{order}, {drawing}{self.conditioning}"

    def forward_flops(self, spec: LatentSpec) -> float:
        """Linear layers, attention (causal: half of it) and heads of one sample (of the greatest length)."""
        sizes = list(spec.grid.codebook_sizes)
        lag = len(sizes) - 1 if self.order == "delay" else 0
        n, d = spec.grid.positions + lag, self.width
        sizes[0] += spec.grid.variable
        trunk = self.layers * (24 * n * d * d + 2 * n * n * d)
        if lag:
            return float(trunk + 2 * n * d * sum(sizes))
        return float(trunk + depth_flops(n, d, sizes, self.depth_width or d, self.depth_layers))

    def sampling_flops(self, spec: LatentSpec) -> float:
        """One forward pass with a cache; two with guidance."""
        return self.forward_flops(spec) * self.evaluations

    def build(self, spec: LatentSpec) -> Prior:
        """An `ARPrior`."""
        from .ar import ARPrior

        return ARPrior(self, spec)


@dataclass(frozen=True, kw_only=True)
class FlowConfig(ClassConditional):
    """Rectified flow with a diffusion transformer (DiT) over continuous latents.

    `width`, `layers`, `attention_heads` and `dropout` shape the transformer. `patch` is how many positions per axis
    make a token (None: powers of two, so that a sample has at most `max_tokens` tokens). Training times are
    logit-normal with `time_mean` and `time_std`. Sampling integrates from noise to data in `steps` equal steps with
    the Euler or Heun method (two evaluations a step). `likelihood` adds `nll_ode_bits` to the held-out scores, in
    `likelihood_steps` Heun steps: with one "hutchinson" probe, or "exact" (a backward pass per element).
    """

    name: ClassVar[str] = "flow"
    version: ClassVar[int] = 3
    identity_defaults: ClassVar[frozenset[str]] = ClassConditional.identity_defaults | {
        "likelihood",
        "likelihood_steps",
    }

    width: int = 128
    layers: int = 4
    attention_heads: int = 4
    dropout: float = 0.0
    patch: tuple[int, ...] | None = None
    max_tokens: int = 256
    time_mean: float = 0.0
    time_std: float = 1.0
    sampler: Literal["euler", "heun"] = "euler"
    steps: int = 50
    likelihood: Literal["off", "hutchinson", "exact"] = "off"
    likelihood_steps: int = 25
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=2000, lr=1e-3, betas=(0.9, 0.99)))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_transformer(self.width, self.layers, self.attention_heads, self.dropout)
        check_patch(self.patch, self.max_tokens)
        if self.steps < 1 or self.likelihood_steps < 1:
            raise ValueError("steps and likelihood_steps must be at least 1")
        if self.time_std <= 0:
            raise ValueError("time_std must be positive")

    @classmethod
    def unsupported_reason(cls, spec: LatentSpec) -> str | None:
        """One grid or sequence of continuous values, of fixed length."""
        return one_fixed_grid(spec) or ("it models continuous latents, and these are codes" if spec.discrete else None)

    @property
    def protocol(self) -> str:
        """The sampling settings."""
        return f"{self.name} v{self.version}, {self.sampler} {self.steps} steps{self.conditioning}"

    def fits(self, spec: LatentSpec) -> None:
        """Raises UserError when `patch` has another rank than the grid."""
        self.patch_for(spec)

    def patch_for(self, spec: LatentSpec) -> tuple[int, ...]:
        """Positions per token along each axis. Raises UserError when `patch` has another rank than the grid."""
        return choose_patch(spec.grid.shape, self.patch, self.max_tokens, name=self.name)

    def tokens_for(self, spec: LatentSpec) -> tuple[int, ...]:
        """Tokens along each axis; the last ones are padded where a patch does not divide the axis."""
        return counts(spec.grid.shape, self.patch_for(spec))

    def forward_flops(self, spec: LatentSpec) -> float:
        """Linear layers, attention, conditioning and patch projections of one sample."""
        n, d = math.prod(self.tokens_for(spec)), self.width
        patch = 2 * 2 * n * d * spec.grid.channels * math.prod(self.patch_for(spec))
        condition = 2 * (256 * d + d * d) + 2 * d * (self.layers * 6 * d + 2 * d)
        return float(self.layers * (24 * n * d * d + 4 * n * n * d) + patch + condition)

    def sampling_flops(self, spec: LatentSpec) -> float:
        """All evaluations of the sampler."""
        return self.forward_flops(spec) * self.steps * self.evaluations * (2 if self.sampler == "heun" else 1)

    def build(self, spec: LatentSpec) -> Prior:
        """A `FlowPrior`."""
        from .flow import FlowPrior

        return FlowPrior(self, spec)


def check_transformer(width: int, layers: int, heads: int, dropout: float) -> None:
    """Raise ValueError for sizes that no transformer of ours can have."""
    if min(width, layers, heads) < 1:
        raise ValueError("width, layers and attention_heads must be at least 1")
    if width % heads or (width // heads) % 2:
        raise ValueError(f"width must be a multiple of twice the attention_heads ({2 * heads})")
    if not 0 <= dropout < 1:
        raise ValueError("dropout must lie in [0, 1)")


def check_drawing(temperature: float, top_k: int, top_p: float) -> None:
    """Raise ValueError for options that logits can't be shaped by."""
    if temperature <= 0:
        raise ValueError("temperature must be positive")
    if top_k < 0:
        raise ValueError("top_k must be at least 0 (0: all codes)")
    if not 0 < top_p <= 1:
        raise ValueError("top_p must lie in (0, 1]")


def depth_flops(positions: int, width: int, sizes: Sequence[int], inner: int, layers: int) -> float:
    """Floating-point operations of a `DepthHead` at `positions`: codebooks of `sizes`, from `width` through `inner`."""
    if len(sizes) == 1:
        return float(2 * positions * width * sizes[0])
    depth = 2 * positions * width * inner + len(sizes) * positions * layers * 16 * inner * inner
    return float(depth + sum(2 * positions * inner * k for k in sizes))


def one_ordered_grid(spec: LatentSpec) -> str | None:
    """Why these latents are not one grid or sequence, or None when they are."""
    if len(spec.grids) > 1:
        return f"it models one grid, and these latents are a hierarchy of {len(spec.grids)}"
    if spec.grid.topology == "set":
        return "it models ordered positions, and these latents are a set"
    return None


def one_fixed_grid(spec: LatentSpec) -> str | None:
    """Why these latents are not one grid or sequence of fixed length, or None when they are."""
    varying = "it models latents of fixed length, and these vary" if spec.grid.variable else None
    return one_ordered_grid(spec) or varying


def needs_codes(spec: LatentSpec) -> str | None:
    """Why these latents are not codes, or None when they are."""
    return None if spec.discrete else "it models codes, and these latents are continuous"


priors = Registry(
    "prior",
    "latentbench.priors",
    {
        "ar": "tasks.priors.config:ARConfig",
        "cascade": "tasks.priors.cascade_config:CascadeConfig",
        "diffwave": "tasks.priors.diffusion_config:DiffWaveConfig",
        "flow": "tasks.priors.config:FlowConfig",
        "givt": "tasks.priors.token_config:GIVTConfig",
        "hierarchical": "tasks.priors.discrete_config:HierarchicalConfig",
        "mar": "tasks.priors.token_config:MARConfig",
        "maskgit": "tasks.priors.discrete_config:MaskGITConfig",
        "pixelcnn": "tasks.priors.discrete_config:PixelCNNConfig",
        "set_ar": "tasks.priors.set_config:SetARConfig",
        "set_flow": "tasks.priors.set_config:SetFlowConfig",
        "unet": "tasks.priors.diffusion_config:UNetConfig",
        "wavenet": "tasks.priors.wavenet_config:WaveNetConfig",
    },
)

_PREFERRED = ("ar", "flow")


def choose(spec: LatentSpec, name: str | None = None, *, where: str = "") -> str:
    """The prior for these latents: the first that can model them, or `name` when it can.

    Raises UserError for an unknown name, and for one that can't model the latents, naming those that can.
    """
    if name is not None:
        reason = priors.get(name, where=where).unsupported_reason(spec)
        if reason is None:
            return name
    able = [n for n in (*_PREFERRED, *(m for m in priors.names() if m not in _PREFERRED)) if _able(n, spec)]
    if name is None and able:
        return able[0]
    prefix = f"{where}: " if where else ""
    what = f"prior {name!r} can't model these latents: {reason}" if name is not None else "no prior for these latents"
    raise UserError(f"{prefix}{what}; {'can: ' + ', '.join(able) if able else 'no known prior can'}")


def _able(name: str, spec: LatentSpec) -> bool:
    return priors.get(name).unsupported_reason(spec) is None


def resolve_prior(name: str, options: Mapping[str, Any], spec: LatentSpec, *, where: str) -> PriorConfig:
    """The checked configuration of prior `name` ("auto": chosen by the latents' kind) for these latents.

    `options` is plain data from a suite; `size` among them stands for a named model size (`presets.py`). Raises
    UserError that starts with `where` on an unknown prior or option, a wrong type, or a prior that can't model the
    latents.
    """
    name = choose(spec, None if name == "auto" else name, where=where)
    cls = priors.get(name)
    config: PriorConfig = check(cls, with_size(cls, options, where=where), where=where)
    config.fits(spec)
    return config


def estimate_flops(config: PriorConfig, spec: LatentSpec) -> float:
    """Floating-point operations of one training step's share of one sample: forward and backward, 3 x forward."""
    return 3.0 * config.forward_flops(spec)
