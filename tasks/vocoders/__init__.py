"""Vocoders: what turns a log-mel spectrogram into sound, by name. Importing this package loads no torch."""

from __future__ import annotations

from .config import GRIFFIN_LIM, VocoderConfig, vocoders

__all__ = ["GRIFFIN_LIM", "VocoderConfig", "vocoders"]
