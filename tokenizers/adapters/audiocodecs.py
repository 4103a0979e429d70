"""Some 20 audio codecs by the one API of the package audiocodecs, which fetches their weights by itself.

`python -P -m latentbench.tokenizers.adapters.audiocodecs JSON` constructs one with the network, once.

Shape legend: B batch, N samples, K codes per position, T positions.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...results.errors import UserError
from ..interface import Latents
from ..spec import Modality
from .audio_codecs_config import AudiocodecsConfig
from .base import Adapter
from .declaration import Declaration
from .network import network_cut
from .python import state_digest


class AudiocodecsAdapter(Adapter):
    """One of its classes, at the codec's own rate: then nothing is resampled."""

    def __init__(self, config: AudiocodecsConfig) -> None:
        self.class_name = config.codec
        try:
            with network_cut(), _hub_offline():
                self.codec = constructed(config.codec, config.options, config.n_quantizers)
        except UserError:
            raise
        except Exception as error:
            cause = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(
                f"{config.codec} can't be constructed without the network; --allow-download fetches its weights, "
                f"once ({cause})"
            ) from None
        vocabulary = getattr(self.codec, "vocab_size", None)
        heads, hop = self._geometry()
        self.declaration = Declaration(
            modalities=(Modality.WAVEFORM,),
            channels=1,
            rate=float(self.codec.orig_sample_rate),
            multiple=hop,
            pad=True,
            codebook_sizes=(int(vocabulary),) * heads if vocabulary else (),
            knob=f"n_quantizers = {heads}",
        )

    @torch.no_grad()
    def _geometry(self) -> tuple[int, int]:
        """Codes per position, and samples per position, which the package does not say.

        The second is by how many samples two seconds there and back are longer than one, over the further positions:
        what decoders leave out at an end does not count. Raises UserError where positions are no even steps in time.
        """
        self.codec.eval()
        rate = round(self.codec.orig_sample_rate)
        codes = [self.codec.sig_to_toks(torch.zeros(1, seconds * rate)) for seconds in (1, 2)]
        samples = [self.codec.toks_to_sig(part).shape[-1] for part in codes]
        noise = torch.rand(1, rate, generator=torch.Generator().manual_seed(0)) - 0.5
        if self.codec.sig_to_toks(noise).shape[1] != codes[0].shape[1]:
            raise UserError(f"{self.class_name}: the sound decides its number of positions, and grids are fixed")
        first, second = (part.shape[1] for part in codes)
        hop, rest = divmod(samples[1] - samples[0], second - first) if second > first else (0, 0)
        if hop < 1 or rest:
            numbers = f"{first} and {second} positions, {samples[0]} and {samples[1]} samples"
            raise UserError(f"{self.class_name}: one and two seconds have {numbers}: no whole number per position")
        whole = first - -(-rate // hop)
        if whole > 1:  # one more may come of padding
            raise UserError(f"{self.class_name}: {whole} of its codes are of the whole sound, with no place in time")
        return codes[0].shape[2], hop

    def modules(self) -> list[nn.Module]:
        return [self.codec]

    def state(self) -> str:
        return state_digest(self.modules())

    def encode(self, signal: Tensor) -> Latents:
        return Latents(codes=self.codec.sig_to_toks(signal[:, 0]).movedim(2, 1))

    def decode(self, latents: Latents) -> Tensor:
        if latents.codes is None:
            raise UserError(f"{self.class_name} decodes codes only")
        audio: Tensor = self.codec.toks_to_sig(latents.codes.movedim(1, 2))
        return audio.unsqueeze(1)


def constructed(codec: str, options: Mapping[str, Any], n_quantizers: int | None) -> Any:
    """The codec, at its own rate. Raises UserError where the number of codes has to be said, or can't be."""
    import audiocodecs

    cls = getattr(audiocodecs, codec)
    choice = inspect.signature(cls).parameters.get("num_codebooks")
    arguments = dict(options)
    if "num_codebooks" in arguments:
        raise UserError("options.num_codebooks: say it by n_quantizers")
    if choice is None and n_quantizers is not None:
        raise UserError(f"n_quantizers: {codec} has no choice of it")
    if choice is not None:
        if n_quantizers is None:
            raise UserError(f"n_quantizers: missing; {codec} has a choice of it (its own default is {choice.default})")
        arguments["num_codebooks"] = n_quantizers
    built = cls(arguments.pop("sample_rate", 24000), **arguments)
    built.sample_rate = built.orig_sample_rate
    return built


@contextmanager
def _hub_offline() -> Iterator[None]:
    """Inside, the Hugging Face hub's libraries look into their cache alone."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


if __name__ == "__main__":
    constructed(**json.loads(sys.argv[1]))
