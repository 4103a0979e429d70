"""The rows of the table of systems that no `[[claims]]` of a suite fills: adapters, priors, statements on the field.

Each says where it runs here, or that it does not yet. Names are the field's; ids are stable.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..tokenizers.spec import Modality

_GRIDS = "suites image-tsr-grid, video-tsr-grid, audio-tsr-grid"
_SUITE = "suite systems"


@dataclass(frozen=True, kw_only=True)
class FurtherSystem:
    """A row of its own: `where` it runs, for which `modalities` (empty: all), and what is said of it.

    Its last result is that of cells with one of these `priors` (of the recipe `recipe` alone, if given), the verdict on
    `claim` (another row's id), or how many cells of the `suites` are finished.
    """

    id: str
    name: str
    where: str
    says: str
    modalities: tuple[Modality, ...] = ()
    priors: tuple[str, ...] = ()
    recipe: str = ""
    claim: str = ""
    suites: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The system's id and name."""
        return f"{self.id} {self.name}"

    @property
    def runs(self) -> bool:
        """Whether anything here runs it."""
        return not self.where.startswith("not yet")


def _prior(id: str, name: str, says: str, *priors: str, where: str = "", recipe: str = "") -> FurtherSystem:
    word = "prior" if len(priors) == 1 else "priors"
    place = where or f"{word} {', '.join(priors)}"
    return FurtherSystem(id=id, name=name, where=place, says=says, priors=priors, recipe=recipe)


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
    FurtherSystem(
        id="F1",
        name="Equal TSR, equal distortion",
        where=_GRIDS,
        says="at one TSR, fewer positions with more channels each come back about as well",
        suites=("image-tsr-grid", "video-tsr-grid", "audio-tsr-grid"),
    ),
    FurtherSystem(
        id="F2",
        name="TSR trades distortion for modelability",
        where=_GRIDS,
        says="a higher TSR makes reconstructions worse and latents easier to model",
        suites=("image-tsr-grid", "video-tsr-grid", "audio-tsr-grid"),
    ),
    FurtherSystem(
        id="F3",
        name="Squared error blurs",
        where=f"{_SUITE}, suite photo-tokenizers",
        says="squared error alone loses high frequencies; perceptual and adversarial losses bring them back",
        claim="A10",
    ),
    FurtherSystem(
        id="F4",
        name="The KL weight sets a scale",
        where=_SUITE,
        says="at the weights in use, the KL term scales latents and hardly limits what they hold",
        claim="A3",
    ),
    FurtherSystem(
        id="F5",
        name="Equivariance helps the prior",
        where=_SUITE,
        says="an equivariance regulariser makes latents easier to model and costs little distortion",
        claim="B7",
    ),
    FurtherSystem(
        id="F6",
        name="Entropy coding hurts the prior",
        where=_SUITE,
        says="at equal bits, entropy-coded latents are far harder to model",
        claim="A19",
    ),
    FurtherSystem(
        id="F7",
        name="What an auxiliary decoder changes",
        where=_SUITE,
        says="it changes what the encoder keeps, and can be dropped after training at no cost",
        claim="B4",
    ),
    FurtherSystem(
        id="F8",
        name="Latents cost less than signals",
        where=f"{_SUITE}, suite latent-vs-signal",
        says="a prior on latents reaches the same quality for a fraction of the FLOPs",
        claim="A20",
    ),
    FurtherSystem(
        id="F9",
        name="Frame-by-frame video latents",
        where="not yet: tokenizers that see one frame at a time",
        says="frames encoded one by one flicker and waste what they share; spatio-temporal latents do not",
        modalities=(Modality.VIDEO,),
    ),
    FurtherSystem(
        id="F10",
        name="Latents keep the signal's grid",
        where="suite systems (probe equivariance)",
        says="a shifted signal has shifted latents",
        suites=("systems",),
    ),
    FurtherSystem(
        id="F11",
        name="From crops to larger grids",
        where="not yet: evaluation at another size than that of training",
        says="a tokenizer trained on crops works on larger signals",
    ),
    FurtherSystem(
        id="F12",
        name="Texture goes before structure",
        where="not yet: distortion of the two parts apart (procedural data have both)",
        says="as TSR grows, texture loses fidelity first",
    ),
)
