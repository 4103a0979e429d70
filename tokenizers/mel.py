"""The log-mel spectrogram: waveform to spectrogram in [-1, 1], and back by Griffin-Lim.

Shape legend: B batch, C channels, N samples, M mel bins, F frequencies of the transform, T = N // hop frames.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .spec import MelSpec

# Steps of the non-negative inversion of the mel filters: more change the result by less than 0.03 dB.
_INVERSION_STEPS = 30
_MOMENTUM = 0.99  # of fast Griffin-Lim


class LogMel(nn.Module):
    """`[B, C, N]` waveforms to `[B, C, M, T]` log-mel spectrograms.

    Hann window of `n_fft` samples, power spectrum, HTK mel filters of unit height; decibels (0 dB is power 1) from
    `floor_db` to `ceiling_db` become -1 to 1, and what lies outside is clamped. Frames are centred at multiples of
    `hop` with reflected edges; the frame at N itself is left out, so that T = N // hop.
    """

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        from torchaudio.transforms import MelSpectrogram

        self.spec = spec
        self.mel = MelSpectrogram(
            sample_rate=spec.sample_rate,
            n_fft=spec.n_fft,
            hop_length=spec.hop,
            f_min=spec.f_min,
            f_max=spec.f_max,
            n_mels=spec.n_mels,
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """`[B, C, N]` in [-1, 1], N above n_fft / 2, to `[B, C, M, N // hop]` in [-1, 1]."""
        power = self.mel(waveform)[..., : waveform.shape[-1] // self.spec.hop]
        db = 10.0 * torch.log10(power.clamp_min(10.0 ** (self.spec.floor_db / 10)))
        scale = 2.0 / (self.spec.ceiling_db - self.spec.floor_db)
        return ((db - self.spec.floor_db) * scale - 1.0).clamp(-1.0, 1.0)

    def power(self, mel: Tensor) -> Tensor:
        """The mel power that the log-mel values in [-1, 1] stand for, same shape; the floor stands for its level."""
        unit = (mel.float().clamp(-1.0, 1.0) + 1.0) / 2.0
        return 10.0 ** ((self.spec.floor_db + unit * (self.spec.ceiling_db - self.spec.floor_db)) / 10.0)

    @torch.no_grad()
    def invert(self, mel: Tensor, *, iterations: int = 32, seed: int = 0) -> Tensor:
        """A waveform `[B, C, T * hop]` whose log-mel spectrogram is near `mel` `[B, C, M, T]`; equal seeds, equal
        waveforms, whatever else is in the batch.

        The power spectrum is fitted through the mel filters (pseudo-inverse, then the multiplicative updates for the
        Kullback-Leibler divergence of Lee & Seung 2001, which weigh quiet bins as loud ones); its phase is found by
        fast Griffin-Lim (Perraudin et al. 2013) from random phases.
        """
        spectrum = self.spectrum(self.power(mel))
        # The frame left out by `forward`: the last one again.
        spectrum = torch.cat([spectrum, spectrum[..., -1:]], dim=-1)
        phases = torch.rand(*spectrum.shape[1:], generator=torch.Generator().manual_seed(seed)) * (2 * math.pi)
        wave = self._griffin_lim(
            spectrum.sqrt().flatten(0, 1),
            torch.polar(torch.ones_like(phases), phases).to(mel.device).repeat(len(mel), 1, 1),
            iterations,
        )
        return wave.view(*mel.shape[:2], -1)

    def _griffin_lim(self, magnitude: Tensor, angles: Tensor, iterations: int) -> Tensor:
        """`[S, F, T + 1]` magnitudes and first phases (complex, of length 1) to waveforms `[S, T * hop]`."""
        n_fft, hop, window = self.spec.n_fft, self.spec.hop, self.mel.spectrogram.window
        length = (magnitude.shape[-1] - 1) * hop
        before = torch.zeros_like(angles)
        for _ in range(iterations):
            wave = torch.istft(magnitude * angles, n_fft, hop, window=window, length=length)
            rebuilt = torch.stft(wave, n_fft, hop, window=window, pad_mode="reflect", return_complex=True)
            angles = rebuilt - before * (_MOMENTUM / (1 + _MOMENTUM))
            angles = angles / (angles.abs() + 1e-16)
            before = rebuilt
        return torch.istft(magnitude * angles, n_fft, hop, window=window, length=length)

    def spectrum(self, power: Tensor) -> Tensor:
        """Mel power `[B, C, M, T]` to power spectra `[B, C, F, T]` that are fitted to it, non-negative."""
        filters = self.mel.mel_scale.fb  # [F, M]
        # Below the floor of any bin; zero could never grow again.
        least = 10.0 ** (self.spec.floor_db / 10) * 1e-3
        spectrum = (torch.linalg.pinv(filters.T) @ power).clamp_min(least)
        total = filters.sum(dim=1, keepdim=True).clamp_min(1e-6)
        for _ in range(_INVERSION_STEPS):
            spectrum = spectrum * (filters @ (power / (filters.T @ spectrum).clamp_min(least))) / total
        return spectrum
