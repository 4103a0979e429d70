"""Backbones: encoders and decoders between signals and features."""
