"""A trained vocoder with an inverse STFT as its head.

Shape legend: B batch, C channels, S = B * C, M mel bins, F frequencies of the transform, T frames, N samples, W width,
E values per frame that the first layer reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...tokenizers.losses.stft import log_mel_distance, multi_resolution_stft
from ...tokenizers.mel import LogMel
from ...tokenizers.spec import SignalSpec
from .base import Vocoder
from .config import ISTFTConfig

_LOUDEST = 1e2  # magnitude, as in Vocos: an exponential has no bound of its own
_FAINTEST = 1e-5  # of a full-scale tone's magnitude, some 10 to 500, this is below float32's rounding
_LOG_SCALE = 0.2  # logarithms of magnitudes, -11 to 5, are so brought near the log-mel's -1 to 1
_LAYER_SCALE = 0.5


class ISTFT(Vocoder):
    """See `ISTFTConfig`.

    It predicts by what factor and by what angle the spectrum differs from where it starts: from Griffin-Lim's, or from
    a pulse per frame with the mel power spread over its filters. An untrained one leaves the former as it is.
    """

    config: ISTFTConfig

    def __init__(self, config: ISTFTConfig, signal: SignalSpec) -> None:
        super().__init__(config, signal)
        budget = f"{config.training.steps} steps of {config.training.batch_size}"
        start = f", from {config.start_iterations} iterations of Griffin-Lim" if config.start_iterations else ""
        self.protocol = f"inverse-STFT vocoder trained on the training split ({budget}, seed {config.seed}{start})"
        self.log_mel = LogMel(self.mel)
        filters_FM = self.log_mel.mel.mel_scale.fb
        shares_FM = filters_FM / filters_FM.sum(1, keepdim=True).clamp_min(1e-6)
        self.register_buffer("spread", shares_FM / filters_FM.sum(0).clamp_min(1e-6), persistent=False)
        self.stem = nn.Conv1d(config.inputs(signal), config.width, config.kernel, padding=config.kernel // 2)
        self.stem_norm = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(_Block(config.width, config.kernel) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, self.mel.n_fft + 2)
        nn.init.zeros_(self.head.bias)
        if config.start_iterations:
            nn.init.zeros_(self.head.weight)
        else:
            nn.init.trunc_normal_(self.head.weight, std=0.02)

    def render(self, mel: Tensor) -> Tensor:
        return self._corrected(mel, self.start(mel))

    @torch.no_grad()
    def start(self, mel: Tensor) -> Tensor | None:
        if not self.config.start_iterations:
            return None
        with torch.autocast(mel.device.type, enabled=False):
            return self.log_mel.invert(mel.float().clamp(-1, 1), iterations=self.config.start_iterations)

    def _corrected(self, mel: Tensor, start: Tensor | None) -> Tensor:
        """The waveform `[B, C, T * hop]` of log-mel `[B, C, M, T]` and of what `start` gives of it."""
        mel = mel.float().clamp(-1, 1)
        # The frame that `LogMel` leaves out at the end: the last one again.
        frames_SMT = torch.cat([mel, mel[..., -1:]], dim=-1).flatten(0, 1)
        magnitude, phase, inputs_SET = self._spectrum(frames_SMT, start)
        x_SWT = self.stem_norm(self.stem(inputs_SET).mT).mT
        for block in self.blocks:
            x_SWT = block(x_SWT)
        factor, angle = self.head(self.norm(x_SWT.mT)).float().mT.chunk(2, dim=1)
        magnitude = (magnitude * factor.clamp(max=10.0).exp()).clamp(max=_LOUDEST)
        with torch.autocast(mel.device.type, enabled=False):
            spectrum = torch.polar(magnitude, phase + angle)
            options: dict[str, Any] = {"window": self._window, "length": mel.shape[-1] * self.mel.hop}
            return torch.istft(spectrum, self.mel.n_fft, self.mel.hop, **options).view(*mel.shape[:2], -1)

    def losses(self, batch: Any, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        """ "loss", "stft" and "mel" (in nepers) of parts that are rendered from their own log-mel: of waveforms
        `[B, C, N]`, or of these and what `start` gives of their log-mel."""
        waves, starts = batch if isinstance(batch, tuple) else (batch, self.start(self._mel(batch)))
        wave, *start = self._parts(waves) if starts is None else self._parts(waves, starts)
        rendered = self._corrected(self._mel(wave), start[0] if start else None)
        stft = multi_resolution_stft(rendered, wave).mean()
        distance = log_mel_distance(rendered, wave, mel=self.mel).mean()
        return {"loss": stft + self.config.mel_weight * distance, "stft": stft, "mel": distance}

    def _mel(self, wave: Tensor) -> Tensor:
        with torch.autocast(wave.device.type, enabled=False):
            mel: Tensor = self.log_mel(wave)
            return mel

    @property
    def _window(self) -> Tensor:
        window: Tensor = self.log_mel.mel.spectrogram.window
        return window

    @torch.no_grad()
    def _spectrum(self, frames_SMT: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Magnitudes and phases `[S, F, T + 1]` to be corrected, and what the first layer reads of them."""
        with torch.autocast(frames_SMT.device.type, enabled=False):
            if start is None:
                even = torch.matmul(self.get_buffer("spread"), self.log_mel.power(frames_SMT)).clamp_min(1e-12).sqrt()
                # A pulse in the middle of each window, which at its ends lets nothing through.
                middle = torch.pi * torch.arange(even.shape[1], device=even.device)[:, None]
                return even, middle.expand_as(even), frames_SMT
            options: dict[str, Any] = {"window": self._window, "pad_mode": "reflect", "return_complex": True}
            spectrum = torch.stft(start.flatten(0, 1), self.mel.n_fft, self.mel.hop, **options)
            magnitude, phase = spectrum.abs().clamp_min(_FAINTEST), spectrum.angle()
            inputs = [frames_SMT, magnitude.log() * _LOG_SCALE, phase.cos(), phase.sin()]
            return magnitude, phase, torch.cat(inputs, dim=1)

    def _parts(self, *sounds: Tensor) -> tuple[Tensor, ...]:
        """A random part of each sample, of a whole number of frames: the same one of each of `sounds` `[B, C, N]`."""
        size, count = self.config.part(self.signal), len(sounds[0])
        first = torch.randint(self.signal.shape[-1] - size + 1, (count, 1), device=sounds[0].device) * self.mel.hop
        places = first + torch.arange(size * self.mel.hop, device=first.device)
        return tuple(sound.gather(-1, places[:, None].expand(-1, sound.shape[1], -1)) for sound in sounds)


class _Block(nn.Module):
    """ConvNeXt (Liu et al. 2022, arXiv 2201.03545) over time: `[S, W, T]` to the same shape."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 3 * width)
        self.narrow = nn.Linear(3 * width, width)
        self.scale = nn.Parameter(torch.full((width,), _LAYER_SCALE))

    def forward(self, x_SWT: Tensor) -> Tensor:
        y_STW = self.norm(self.depthwise(x_SWT).mT)
        y_STW = self.narrow(F.gelu(self.widen(y_STW)))
        return x_SWT + (self.scale * y_STW).mT
