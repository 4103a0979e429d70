"""Sequence codings: codes to sequences of varying length, and back."""
