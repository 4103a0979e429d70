"""A vocoder of transformers with its weights.

Shape legend: B batch, C channels, S = B * C, N samples, M mel bins of the data set, V those of the vocoder,
F frequencies, T frames.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...results.errors import UserError, one_line
from ...tokenizers import weights
from ...tokenizers.adapters.files import all_loaded
from ...tokenizers.mel import LogMel
from ...tokenizers.spec import SignalSpec
from .base import Vocoder
from .convention import MelConvention
from .pretrained_config import PretrainedConfig


class Pretrained(Vocoder):
    """See `PretrainedConfig`."""

    config: PretrainedConfig

    def __init__(self, config: PretrainedConfig, signal: SignalSpec) -> None:
        import transformers

        super().__init__(config, signal)
        folder = Path(config.files["config.json"]).parent
        self.convention = config.convention
        class_name = config.class_name
        try:
            loaded = getattr(transformers, class_name).from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
        except Exception as error:
            raise UserError(one_line(f"{folder}: {class_name} can't be loaded: {error}")) from None
        self.net: Any = all_loaded(loaded, class_name).eval().requires_grad_(False)
        self.log_mel = LogMel(self.mel)
        self.refitted = bool(self.convention.unlike_filters(self.mel))
        bank = filters(self.convention) if self.refitted else heights(self.convention)
        self.register_buffer("bank", bank, persistent=False)
        digest = weights.digest(self.net.state_dict())
        through = ", its mel through a fitted spectrum" if self.refitted else ""
        self.protocol = f"pretrained {class_name} {digest}{through}"

    @torch.no_grad()
    def render(self, mel: Tensor) -> Tensor:
        frames, hop = mel.shape[-1], self.mel.hop
        read_SVT = self.converted(mel).flatten(0, 1)
        if self.convention.centred:
            return self._sound(read_SVT)[:, : frames * hop].reshape(*mel.shape[:2], -1)
        # Its frames lie half a hop behind ours: so does what it makes of them.
        later = self._sound(torch.cat([read_SVT, read_SVT[..., -1:]], dim=-1))
        return later[:, hop // 2 : hop // 2 + frames * hop].reshape(*mel.shape[:2], -1)

    def converted(self, mel: Tensor) -> Tensor:
        """The data set's log-mel `[B, C, M, T]` in [-1, 1] as what the net reads, `[B, C, V, T]`."""
        with torch.autocast(mel.device.type, enabled=False):
            power = self.log_mel.power(mel)
            bank = self.get_buffer("bank")
            if self.refitted:
                passed = bank.T @ self.log_mel.spectrum(power) ** (self.convention.power / 2)
            else:
                passed = bank[:, None] * power
            passed = passed.clamp_min(self.convention.floor)
            if self.convention.log == "ln":
                return passed.log()
            return passed.log10() * (20 / self.convention.power if self.convention.log == "db" else 1)

    def _sound(self, read_SVT: Tensor) -> Tensor:
        """What the net makes of its log-mel: `[S, N]` of at least T * hop samples."""
        with torch.autocast(read_SVT.device.type, enabled=False):
            if self.net.config.model_type == "univnet":
                shape = (read_SVT.shape[-1], self.net.config.model_in_channels)
                noise = torch.randn(shape, generator=torch.Generator().manual_seed(self.config.seed))
                noises = noise.to(read_SVT.device).expand(len(read_SVT), -1, -1)
                sound: Tensor = self.net(read_SVT.mT, noise_sequence=noises).waveforms
            else:
                sound = self.net(read_SVT.mT)
        if sound.shape[-1] < read_SVT.shape[-1] * self.mel.hop:
            raise UserError(
                f"vocoder: {self.protocol} makes {sound.shape[-1]} samples of {read_SVT.shape[-1]} frames, "
                f"and frames are {self.mel.hop} apart"
            )
        return sound


def filters(convention: MelConvention) -> Tensor:
    """`[F, V]`: a spectrum of `power` times these is what the logarithm is taken of."""
    from torchaudio.functional import melscale_fbanks

    bank: Tensor = melscale_fbanks(
        convention.n_fft // 2 + 1,
        convention.f_min,
        convention.highest,
        convention.n_mels,
        convention.sample_rate,
        norm="slaney" if convention.norm == "slaney" else None,
        mel_scale=convention.scale,
    )
    return bank


def heights(convention: MelConvention) -> Tensor:
    """`[V]`: how high each filter is, where they are of unit height without `norm`."""
    own, unit = filters(convention).sum(0), filters(replace(convention, norm="none")).sum(0)
    return torch.where(unit > 0, own / unit.clamp_min(1e-12), 1.0)
