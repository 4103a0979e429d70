"""Whether a tokenizer of somebody else's does what every task takes for granted: its contract, check by check.

Shape legend: B batch, C channels, D channels of latents, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from ..results.errors import UserError
from ..tokenizers.adapters.tokenizer import AdapterTokenizer
from ..tokenizers.interface import Latents
from ..tokenizers.spec import Modality
from .metrics.psnr import psnr

BATCH = 4
_TOLERANCE = 1e-3  # of values, relative to their deviation: two orders above what float32 convolutions differ by
_CODES = 0.01  # the share of codes that rounding alone may flip
_MEAN, _STD = 0.5, 2.0  # how far normalised latents may be from N(0, 1): a forgotten factor is far beyond
_NATIVE_DB = 40.0

Verdict = Literal["passed", "marked", "error"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check gave: `marked` numbers are worth having with the reason beside them, an `error`'s are not."""

    check: str
    verdict: Verdict = "passed"
    says: str = ""


@torch.inference_mode()
def check_contract(
    tokenizer: AdapterTokenizer, real: Tensor, *, native: Callable[[], AdapterTokenizer] | None = None
) -> tuple[list[Finding], dict[str, float]]:
    """All checks on a batch of `real` signals `[B, C, *signal]` and one of noise of the same shape.

    `native` builds the tokenizer in the type of its weights. Also gives what was measured on the way: `mean` and `std`
    of normalised latents, `native_db`, the PSNR between reconstructions of both types.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(real.shape, generator=generator).to(real.device) * 2 - 1
    findings = [_eval_mode(tokenizer), _tiling(tokenizer)]
    measured: dict[str, float] = {}
    for name, signal in (("real", real), ("random", noise)):
        try:
            latents = tokenizer.encode(signal)
            decoded = tokenizer.decode(latents)
        except UserError as error:
            return [*findings, Finding(check=f"size, {name}", verdict="error", says=str(error))], measured
        findings.append(_shapes(tokenizer, latents, decoded, name))
        if findings[-1].verdict == "error":
            return findings, measured
        findings += [
            _finite(latents, decoded, name),
            *_codes(tokenizer, latents, name),
            _again("two encodes", latents, tokenizer.encode(signal), name),
            _decoded_again(tokenizer, decoded, tokenizer.decode(latents), name),
        ]
        single = tokenizer.encode(signal[:1])
        findings.append(_again("batch of 1 against a row of the batch", _row(latents), single, name))
        findings.append(_alone(decoded, tokenizer.decode(_row(latents)), tokenizer, name))
        if name == "real":
            of_moments, moments = _moments(tokenizer, latents)
            findings += of_moments
            measured |= moments
            findings += _causal(tokenizer, signal, latents)
            if native is not None and tokenizer.declaration.dtype != "float32":
                of_native, gap = _native(native, signal, decoded)
                findings.append(of_native)
                measured |= gap
    return findings, measured


def _eval_mode(tokenizer: nn.Module) -> Finding:
    training = [name or "itself" for name, module in tokenizer.named_modules() if module.training]
    if training:
        return Finding(check="eval mode", verdict="error", says=f"in training mode: {', '.join(training[:3])}")
    return Finding(check="eval mode")


def _tiling(tokenizer: AdapterTokenizer) -> Finding:
    switches = tokenizer.adapter.tiling()
    if switches and tokenizer.adapter.tiles_always:
        says = f"{tokenizer.adapter.class_name} works in tiles only, whose blended seams change numbers"
        return Finding(check="tiling off", verdict="marked", says=says)
    if switches:
        return Finding(check="tiling off", verdict="error", says=f"is on, and changes numbers: {', '.join(switches)}")
    return Finding(check="tiling off")


def _shapes(tokenizer: AdapterTokenizer, latents: Latents, decoded: Tensor, name: str) -> Finding:
    expected = [(grid.heads or grid.channels, *grid.shape) for grid in tokenizer.spec.grids]
    actual = [tuple((z.codes if z.codes is not None else z.values).shape[1:]) for z in latents.levels]  # type: ignore[union-attr]
    signal = tokenizer.spec.signal
    size = (signal.channels, *signal.shape)
    if actual != expected:
        return Finding(check=f"size, {name}", verdict="error", says=f"latents {actual}, and {expected} were described")
    if tuple(decoded.shape[1:]) != size:
        return Finding(
            check=f"size, {name}", verdict="error", says=f"decodes to {tuple(decoded.shape[1:])}, not {size}"
        )
    return Finding(check=f"size, {name}")


def _finite(latents: Latents, decoded: Tensor, name: str) -> Finding:
    tensors = [decoded, *(z.values for z in latents.levels if z.values is not None)]
    if all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        return Finding(check=f"finite, {name}")
    verdict: Verdict = "error" if name == "real" else "marked"
    return Finding(check=f"finite, {name}", verdict=verdict, says=f"{name} signals give NaN or infinity")


def _codes(tokenizer: AdapterTokenizer, latents: Latents, name: str) -> list[Finding]:
    for level, grid in zip(latents.levels, tokenizer.spec.grids, strict=True):
        if level.codes is None:
            continue
        low, high = int(level.codes.min()), level.codes.amax(dim=(0, *range(2, level.codes.ndim))).tolist()
        for head, (top, size) in enumerate(zip(high, grid.codebook_sizes, strict=True)):
            if low < 0 or top >= size:
                hint = "; do they count from 1? spec.first_code = 1" if top == size else ""
                says = f"head {head} gives codes up to {top} (lowest of all {low}), and its codebook has {size}{hint}"
                return [Finding(check=f"codes in [0, K), {name}", verdict="error", says=says)]
    return [Finding(check=f"codes in [0, K), {name}")] if tokenizer.spec.discrete else []


def _difference(a: Latents, b: Latents) -> tuple[float, float]:
    """The largest difference of values relative to their deviation, and the share of codes that differ."""
    values = codes = 0.0
    for x, y in zip(a.levels, b.levels, strict=True):
        if x.values is not None and y.values is not None:
            values = max(values, _relative(x.values, y.values))
        if x.codes is not None and y.codes is not None:
            codes = max(codes, float((x.codes != y.codes).double().mean()))
    return values, codes


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.double().std().clamp_min(1e-12))


def _again(check: str, a: Latents, b: Latents, name: str) -> Finding:
    values, codes = _difference(a, b)
    if values > _TOLERANCE:
        says = f"{check} differ by {values:.2g} of the latents' deviation"
    elif codes > _CODES:
        says = f"{check} differ in {codes:.1%} of the codes"
    else:
        return Finding(check=f"{check}, {name}")
    return Finding(check=f"{check}, {name}", verdict="marked", says=f"{says} ({name} signals)")


def _decoded_again(tokenizer: AdapterTokenizer, a: Tensor, b: Tensor, name: str) -> Finding:
    difference = _relative(a, b)
    if difference <= _TOLERANCE:
        return Finding(check=f"two decodes, {name}")
    cause = "as declared, its decoder draws noise" if tokenizer.declaration.stochastic else "its decoder draws noise"
    says = f"two decodes differ by {difference:.2g} of the signal's deviation ({name} signals): {cause}"
    return Finding(check=f"two decodes, {name}", verdict="marked", says=says)


def _alone(decoded: Tensor, single: Tensor, tokenizer: AdapterTokenizer, name: str) -> Finding:
    difference = _relative(single, decoded[:1])
    if difference <= _TOLERANCE or tokenizer.declaration.stochastic:
        return Finding(check=f"decoded alone and in a batch, {name}")
    says = f"decoded alone and in a batch, a sample differs by {difference:.2g} of its deviation ({name} signals)"
    return Finding(check=f"decoded alone and in a batch, {name}", verdict="marked", says=says)


def _row(latents: Latents) -> Latents:
    def first(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[:1]

    rows = [
        replace(
            z, values=first(z.values), codes=first(z.codes), scale=first(z.scale), lengths=first(z.lengths), rest=()
        )
        for z in latents.levels
    ]
    return replace(rows[0], rest=tuple(rows[1:]))


def _moments(tokenizer: AdapterTokenizer, latents: Latents) -> tuple[list[Finding], dict[str, float]]:
    check = "normalised moments"
    if latents.values is None or tokenizer.spec.discrete:
        return [], {}
    values = latents.values.double()
    posterior = 0.0 if latents.scale is None else float(latents.scale.double().square().mean())
    mean, std = float(values.mean()), float((values.var() + posterior).sqrt())
    measured = {"mean": mean, "std": std}
    if not tokenizer.normalises:
        return [], measured
    if abs(mean) <= _MEAN and 1 / _STD <= std <= _STD:
        return [Finding(check=check)], measured
    origin = tokenizer.declaration.normaliser.origin
    says = f"latents normalised by {origin} have mean {mean:.3g} and deviation {std:.3g}, expected about 0 and 1"
    return [Finding(check=check, verdict="marked", says=says)], measured


def _causal(tokenizer: AdapterTokenizer, signal: Tensor, latents: Latents) -> list[Finding]:
    """An earlier latent must not change with the later half of the signal."""
    modality, grid = tokenizer.spec.signal.modality, tokenizer.spec.grids[0]
    timed = modality in (Modality.VIDEO, Modality.WAVEFORM) and len(grid.shape) == modality.rank
    if not tokenizer.declaration.causal or not timed or grid.shape[0] < 3:
        return []
    # In a causal clip the first frame has a latent of its own, and the others share theirs.
    alone = int(modality is Modality.VIDEO)
    half = grid.shape[0] // 2
    step = (tokenizer.declaration.padded(tokenizer.spec.signal)[0] - alone) // (grid.shape[0] - alone)
    start = alone + (half - alone) * step
    other = signal.clone()
    other[:, :, start:] = -other[:, :, start:].flip(2)
    values, codes = _difference(_early(latents, half), _early(tokenizer.encode(other), half))
    if values <= _TOLERANCE and codes <= _CODES:
        return [Finding(check="causality")]
    says = f"declared causal, but the first {half} of {grid.shape[0]} latents change with later samples"
    return [Finding(check="causality", verdict="marked", says=says)]


def _early(latents: Latents, count: int) -> Latents:
    def cut(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[:, :, :count]

    return Latents(values=cut(latents.values), codes=cut(latents.codes))


def _native(
    native: Callable[[], AdapterTokenizer], signal: Tensor, decoded: Tensor
) -> tuple[Finding, dict[str, float]]:
    check = "float32 against native type"
    try:
        other = native()
        again = other.decode(other.encode(signal))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        return Finding(check=check, verdict="marked", says=f"does not run in its native type: {reason}"), {}
    name = other.declaration.dtype
    if not bool(torch.isfinite(again).all()):
        return Finding(check=check, verdict="marked", says=f"in {name}, its native type, it gives NaN or infinity"), {}
    gap = float(psnr(again.clamp(-1, 1), decoded.clamp(-1, 1), data_range=2.0).mean())
    if gap >= _NATIVE_DB:
        return Finding(check=check), {"native_db": gap}
    says = f"reconstructions in {name}, its native type, are at {gap:.1f} dB from those in float32"
    return Finding(check=check, verdict="marked", says=says), {"native_db": gap}


def failures(findings: Sequence[Finding], verdict: Verdict) -> list[str]:
    """What the findings with this verdict say, each once."""
    return list(dict.fromkeys(finding.says for finding in findings if finding.verdict == verdict))
