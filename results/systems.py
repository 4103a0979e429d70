"""The field's systems by id, what is claimed of each, and the comparisons that test it in the suite `systems`.

Cells go by their labels in `bench/suites/systems.toml`. Margins are part of a claim: what would be too little to call
it shown, or too much to call two numbers equal.
"""

from __future__ import annotations

import math
from itertools import pairwise

from .claims import Comparison, System

_RFD, _GFD, _NORMAL_FD = (f"{kind}_encoder_supervised" for kind in ("rfd", "gfd", "normal_fd"))
Right = str | float | tuple[str, ...]
_EXACT = 1e-9  # of numbers that are computed twice and are to be the same
# `flow_loss` of the best that knows latents as independent N(0, 1): 1 / (t² + (1 - t)²) at time t, the mean over times.
NORMAL_FLOW_LOSS = math.pi / 2


def _same(metric: str, left: str, right: Right, margin: float = _EXACT) -> Comparison:
    return Comparison(metric=metric, left=left, relation="equal to", right=right, margin=margin)


def _above(
    metric: str, left: str, right: Right, *, modalities: tuple[str, ...] = (), counts: bool = True
) -> Comparison:
    return Comparison(metric=metric, left=left, relation="above", right=right, modalities=modalities, counts=counts)


def _below(
    metric: str,
    left: str,
    right: Right,
    *,
    right_metric: str = "",
    modalities: tuple[str, ...] = (),
    counts: bool = True,
) -> Comparison:
    return Comparison(
        metric=metric,
        left=left,
        relation="below",
        right=right,
        right_metric=right_metric,
        modalities=modalities,
        counts=counts,
    )


def _not_below(metric: str, left: str, right: Right, margin: float, *, relative: bool = False) -> Comparison:
    return Comparison(metric=metric, left=left, relation="not below", right=right, margin=margin, relative=relative)


def _not_above(
    metric: str, left: str, right: Right, margin: float, *, relative: bool = False, modalities: tuple[str, ...] = ()
) -> Comparison:
    return Comparison(
        metric=metric,
        left=left,
        relation="not above",
        right=right,
        margin=margin,
        relative=relative,
        modalities=modalities,
    )


def _rising(metric: str, label: str, points: tuple[int, ...]) -> tuple[Comparison, ...]:
    """The metric at each operating point below that at the next."""
    return tuple(
        _below(f"{metric}_{low}", label, label, right_metric=f"{metric}_{high}") for low, high in pairwise(points)
    )


SYSTEMS: tuple[System, ...] = (
    System(
        id="A1",
        name="Autoencoder",
        claim="best distortion of the KL family; worst moments, sampling from N(0, I) fails",
        comparisons=(
            _above("psnr", "ae", "kl-vae-1"),
            _above("latent_outlier", "ae", "kl-vae-1"),
            _above(_NORMAL_FD, "ae", "kl-vae-1"),
        ),
    ),
    System(
        id="A2",
        name="Linear autoencoder = PCA",
        claim="reaches the closed-form PCA error of the same rank within 1 %",
        comparisons=(_not_above("loss_l2", "linear-ae", "pca", 0.01, relative=True),),
    ),
    System(
        id="A3",
        name="VAE, β-VAE, KL-regularised autoencoder",
        claim="β = 1 loses detail and can collapse; β → 1e-6 only bounds scale and outliers",
        comparisons=(
            _below("psnr", "kl-vae-1", "kl-vae"),
            _below("kl_bits", "kl-vae-1", "kl-vae"),
            _below("active_units", "kl-vae-1", "kl-vae", counts=False),  # it can collapse; it need not
            _not_below("psnr", "kl-vae", "ae", 1.0),
            _below("latent_outlier", "kl-vae", "ae"),
        ),
    ),
    System(
        id="A4",
        name="Denoising autoencoder",
        claim="beats a plain autoencoder on corrupted input; masked patches are inpainted better than by the mean",
        comparisons=(_above("psnr_corrupted", "denoising-ae", "ae"), _above("inpainting_gain", "denoising-ae", 0.0)),
    ),
    System(
        id="A5",
        name="VQ-VAE",
        claim="codebook perplexity above a quarter of K; exact straight-through gradients (a unit test)",
        comparisons=(
            _above("perplexity_share", "vq-vae", 0.25),
            _above("perplexity_share", "vq-vae-ema", 0.25),
        ),
    ),
    System(
        id="A6",
        name="Multi-head (product) VQ",
        claim="same total bits, better distortion than one huge codebook",
        comparisons=(
            _same("bits_per_sample", "multi-head-vq", "vq-vae-4096"),
            _above("psnr", "multi-head-vq", "vq-vae-4096"),
        ),
    ),
    System(
        id="A7",
        name="Residual VQ with quantiser dropout",
        claim="distortion falls monotonically with depth; one model serves several bitrates",
        comparisons=_rising("psnr_depth", "rvq", (1, 2, 3, 4)),
    ),
    System(
        id="A8",
        name="FSQ, LFQ / binary quantisers",
        claim="full codebook use without auxiliary losses (LFQ has one, and is reported apart)",
        comparisons=(_above("codebook_use", "fsq", 0.95), _above("codebook_use", "lfq", 0.95, counts=False)),
    ),
    System(
        id="A9",
        name="VQ-VAE-2",
        claim="beats one grid of the same bits",
        # the coarse grid has a quarter of an image's positions, and half of a sound's: each has a twin of its own
        comparisons=tuple(
            comparison
            for modality, twin in (("image", "vq-vae-1024"), ("waveform", "vq-vae-4096"))
            for comparison in (
                _not_above("bits_per_sample", "vq-vae-2", twin, _EXACT, modalities=(modality,)),
                _above("psnr", "vq-vae-2", twin, modalities=(modality,)),
            )
        ),
    ),
    System(
        id="A10",
        name="VQGAN",
        claim="higher pixel error but better perceptual/Fréchet score than L2 alone",
        comparisons=(_below("psnr", "vqgan", "vq-vae-l2"), _below(_RFD, "vqgan", "vq-vae-l2")),
    ),
    System(
        id="A11",
        name="LDM's KL-reg and VQ-reg",
        claim="both feed the same continuous prior (which beats N(0, 1) per element, whose loss is π/2)",
        comparisons=tuple(_below("flow_loss", label, NORMAL_FLOW_LOSS) for label in ("kl-vae-prior", "vq-reg-prior")),
    ),
    System(
        id="A12",
        name="1-D tokenizers",
        claim="runs at token counts no grid can have (7 tokens), and decodes better than one token of them",
        comparisons=(_same("positions", "titok", 7), _above("psnr", "titok", "titok-1")),
    ),
    System(
        id="A13",
        name="Nested dropout, coarse to fine",
        claim="distortion is monotone in prefix length with one model",
        comparisons=_rising("psnr_prefix", "nested-dropout", (1, 2, 4, 8)),
    ),
    System(
        id="A14",
        name="Adaptive length or resolution",
        claim="at equal mean tokens, within 10 %, beats a fixed budget on mixed-complexity data",
        comparisons=(
            _not_above("mean_tokens", "adaptive-length", "fixed-length", 0.1, relative=True),
            _below("loss_l2", "adaptive-length", "fixed-length"),
            _not_above("mean_tokens", "adaptive-resolution", ("low-resolution", "high-resolution"), 0.1, relative=True),
            _below("loss_l2", "adaptive-resolution", ("low-resolution", "high-resolution")),
        ),
    ),
    System(
        id="A15",
        name="Sets of tokens",
        claim="decoder invariant to token order, exactly",
        comparisons=(_same("permutation_invariance", "token-set", 1.0),),
    ),
    System(
        id="A16",
        name="Merged codes (BPE)",
        claim="shorter sequences, lossless round trip (the same distortion as unmerged)",
        comparisons=(
            _below("mean_tokens", "vq-vae-bpe", "vq-vae", right_metric="positions"),
            _same("psnr", "vq-vae-bpe", "vq-vae", 1e-4),
        ),
    ),
    System(
        id="A17",
        name="Features as tokens",
        claim="decoder gradient never reaches the encoder",
        comparisons=(_same("encoder_gradient", "semantic-vq", 0.0),),
    ),
    System(
        id="A18",
        name="Variable-rate, run-length coded latents",
        claim="average rate under the fixed-rate twin's at equal distortion",
        comparisons=(
            _below("stream_bits", "slow-vq", "vq-vae-fixed-rate", right_metric="bits_per_sample"),
            _not_below("psnr", "slow-vq", "vq-vae-fixed-rate", 0.5),
        ),
    ),
    System(
        id="A19",
        name="Hand-made codecs, entropy-coded byte streams",
        claim="the entropy-coded twin of the same bits is measurably harder to model",
        comparisons=(
            _same("psnr", "codes-entropy", "codes", 1e-4),
            # a sample that coding does not shorten is kept as its plain codes, of which nothing is to be learnt
            _below("stream_bits", "codes-entropy", "codes", right_metric="bits_per_sample"),
            _not_below("prior_flops", "codes-entropy", "codes", 0.02, relative=True),
            _above("nll_bits", "codes-entropy", "codes"),
        ),
    ),
    System(
        id="A20",
        name="Pixel or sample space",
        claim="priors on it cost more for the same quality: at equal FLOPs, the tokenizer's counted, they are worse",
        comparisons=(
            _not_below("flops", "identity-prior", "kl-vae-prior", 0.02, relative=True),
            _above(_GFD, "identity-prior", "kl-vae-prior"),
        ),
    ),
    System(
        id="B1",
        options="losses.l1, .l2, .huber, .logit_laplace",
        name="Regression losses",
        claim="each trains, and is best on its own number",
        comparisons=(
            _below("loss_l1", "ae-l1", "ae"),
            _below("loss_l2", "ae", "ae-l1"),
            _below("loss_huber", "ae-huber", "ae"),
            _below("loss_logit_laplace", "ae-logit-laplace", "ae"),
        ),
    ),
    System(
        id="B2",
        options="losses.stft, .mel, .dwt, .lpips",
        name="Perceptual losses",
        claim="each lowers its own distance: STFT and mel of sound, wavelets of video (LPIPS needs weights: not here)",
        comparisons=(
            _below("loss_stft", "ae-spectral", "ae-wave-l1", modalities=("waveform",)),
            _below("loss_mel", "ae-spectral", "ae-wave-l1", modalities=("waveform",)),
            _below("loss_dwt", "ae-dwt", "ae-l1", modalities=("video",)),
        ),
    ),
    System(
        id="B3",
        name="Adversarial losses",
        claim="bring back the high frequencies that the twin without an adversary loses",
        comparisons=(
            _above("high_frequency_ratio", "vqgan", "vq-vae-32", modalities=("image",)),
            _above("high_frequency_ratio", "vqgan", "vq-vae", modalities=("video", "waveform", "spectrogram")),
        ),
    ),
    System(
        id="B4",
        name="Auxiliary decoder",
        claim="trains the encoder alone: the main decoder's gradient does not reach it, dropping it changes nothing",
        comparisons=(
            _same("encoder_gradient", "auxiliary-decoder", 0.0),
            _same("companion_effect", "auxiliary-decoder", 0.0),
        ),
    ),
    System(
        id="B5",
        name="Generative prior in the loop",
        claim="latents that a prior models better, at some cost in distortion",
        comparisons=(
            _below(_GFD, "prior-in-the-loop", "kl-vae"),
            _below("psnr", "prior-in-the-loop", "kl-vae", counts=False),
        ),
    ),
    System(
        id="B6",
        name="Representation alignment",
        claim="a linear reader finds more of the labels in the latents",
        comparisons=(_above("label_accuracy", "aligned-vae", "kl-vae"),),
    ),
    System(
        id="B7",
        name="Equivariance",
        claim="decode(T(z)) nearer to T(x) at little cost in distortion; less of the latents at high frequencies",
        comparisons=(
            _above("psnr_equivariant", "eq-vae", "kl-vae"),
            _below("high_frequency_share_25", "eq-vae", "kl-vae", modalities=("image",)),
            _below("equivariance_error", "eq-vae", "kl-vae", counts=False),  # of the encoder, which it acts on least
            _not_below("psnr", "eq-vae", "kl-vae", 1.0),
        ),
    ),
    System(
        id="B8",
        options="latent_noise",
        name="Latent noise",
        claim="a decoder that loses less when its latents are disturbed",
        comparisons=(_above("noise_slope", "ae-noise", "ae"), _above("psnr_noise_50", "ae-noise", "ae")),
    ),
    System(
        id="B9",
        name="Diffusion decoders",
        claim="at the same bottleneck, reconstructions nearer in distribution than a feed-forward decoder's",
        comparisons=(_below(_RFD, "diffusion-decoder", "kl-vae"),),
    ),
    System(
        id="B10",
        name="Few-step decoders",
        claim="one or two steps of the distilled decoder beat as many of the undistilled one",
        comparisons=tuple(_below(f"{_RFD}_steps_{n}", "few-step-decoder", "diffusion-decoder") for n in (1, 2)),
    ),
)
