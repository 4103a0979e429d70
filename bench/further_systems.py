"""The rows of the table of systems that no `[[claims]]` of a suite fills: adapters, priors, statements on the field.

Each says where it runs here, or that it does not yet. Names are the field's; ids are stable.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..tokenizers.spec import Modality

_SYSTEMS = "systems"


@dataclass(frozen=True, kw_only=True)
class FurtherSystem:
    """A row of its own: `where` it runs, for which `modalities` (empty: all), and what is said of it.

    Its last result is that of cells with one of these `priors` (of the recipe `recipe` alone, if given), or how many
    cells of the `suites` are finished; that of a statement is what its `suites` conclude.
    """

    id: str
    name: str
    where: str
    says: str
    modalities: tuple[Modality, ...] = ()
    priors: tuple[str, ...] = ()
    recipe: str = ""
    suites: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The system's id and name."""
        return f"{self.id} {self.name}"

    @property
    def statement(self) -> bool:
        """Whether it is a statement on the field: claims with its id, in its `suites`, decide it."""
        return self.id.startswith("F")

    @property
    def runs(self) -> bool:
        """Whether anything here runs it."""
        return not self.where.startswith("not yet")


def _prior(id: str, name: str, says: str, *priors: str, where: str = "", recipe: str = "") -> FurtherSystem:
    word = "prior" if len(priors) == 1 else "priors"
    place = where or f"{word} {', '.join(priors)}"
    return FurtherSystem(id=id, name=name, where=place, says=says, priors=priors, recipe=recipe)


def _statement(
    id: str, name: str, says: str, suite: str = "", *, modalities: tuple[Modality, ...] = ()
) -> FurtherSystem:
    """A statement on the field, decided by `suite` or by one of its own, `statement-<id>`."""
    suite = suite or f"statement-{id.lower()}"
    return FurtherSystem(id=id, name=name, where=f"suite {suite}", says=says, modalities=modalities, suites=(suite,))


FURTHER: tuple[FurtherSystem, ...] = (
    FurtherSystem(
        id="A21",
        name="Pretrained tokenizers of others",
        where="adapters diffusers, transformers, python, torchscript, onnx",
        says="AutoencoderKL, EnCodec, DAC and their like stand in one table with those trained here",
        suites=("eval",),
    ),
    _prior("C1", "PixelCNN", "gated masked convolutions over a grid of codes", "pixelcnn"),
    _prior("C2", "Autoregressive transformer", "codes in raster order, levels of a code in depth order", "ar"),
    _prior("C3", "Masked prediction (MaskGIT)", "codes filled in from the surest on, a few steps a sample", "maskgit"),
    _prior("C4", "Diffusion with a U-Net", "continuous grids, noise removed by convolutions at several scales", "unet"),
    _prior("C5", "Rectified flow with a transformer (DiT)", "continuous latents of any topology", "flow"),
    _prior("C6", "Continuous autoregression", "a mixture (GIVT) or a small flow (MAR) draws each token", "givt", "mar"),
    _prior("C7", "Dilated convolutions", "WaveNet over codes of an axis, DiffWave over signals", "wavenet", "diffwave"),
    _prior("C8", "Set prior", "tokens without order, codes or continuous", "set_ar", "set_flow"),
    _prior("C9", "Resolution cascade", "a small signal first, then its larger version; no latents", "cascade"),
    _prior(
        "C10",
        "Single stage in signal space",
        "a flow or diffusion on the signal itself",
        "flow",
        "unet",
        where="recipe identity with the priors flow, unet",
        recipe="identity",
    ),
    _prior("C11", "Hierarchical prior", "the coarse grid of codes first, the fine ones given it", "hierarchical"),
    _statement(
        "F1", "Equal TSR, equal distortion", "at one TSR, fewer positions with more channels come back about as well"
    ),
    _statement(
        "F2", "TSR trades distortion for modelability", "a higher TSR: worse reconstructions, latents easier to model"
    ),
    _statement(
        "F3",
        "Squared error blurs",
        "squared error alone loses high frequencies; an adversary brings them back",
        _SYSTEMS,
    ),
    _statement(
        "F4",
        "The KL weight sets a scale",
        "at the weights in use, the KL term scales latents and hardly limits what they hold",
        _SYSTEMS,
    ),
    _statement(
        "F5",
        "Equivariance helps the prior",
        "an equivariance regulariser makes latents easier to model and costs little distortion",
        _SYSTEMS,
    ),
    _statement(
        "F6", "Entropy coding hurts the prior", "at equal bits, entropy-coded latents are far harder to model", _SYSTEMS
    ),
    _statement(
        "F7",
        "What an auxiliary decoder changes",
        "it changes what the encoder keeps, and can be dropped after training at no cost",
        _SYSTEMS,
    ),
    _statement(
        "F8",
        "Latents cost less than signals",
        "a prior on latents reaches the same quality for a fraction of the FLOPs",
        _SYSTEMS,
    ),
    _statement(
        "F9",
        "Frame-by-frame video latents",
        "frames encoded one by one flicker and waste what they share; spatio-temporal latents do not",
        modalities=(Modality.VIDEO,),
    ),
    _statement("F10", "Latents keep the signal's grid", "a shifted signal has shifted latents", _SYSTEMS),
    _statement("F11", "From crops to larger grids", "a tokenizer trained on crops works on larger signals"),
    _statement("F12", "Texture goes before structure", "as TSR grows, texture loses fidelity first"),
)
