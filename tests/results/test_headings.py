"""Headings in words with units."""

from __future__ import annotations

import pytest

from latentbench.results.headings import heading, name_of


@pytest.mark.parametrize(
    ("column", "unit", "counts", "text"),
    [
        ("psnr", "dB", "", "PSNR (dB)"),
        ("psnr_depth_2", "dB", "", "PSNR depth 2 (dB)"),
        ("gfd_scattering", "", "@256", "gFD scattering@256"),
        ("real_bits_per_pixel", "bit", "", "rate (bpp)"),
        ("real_kbits_per_second", "kbit/s", "", "rate (kbit/s)"),
        ("prior_seconds", "", "", "prior time (s)"),
        ("somebodys_score", "m", "", "somebodys score (m)"),
    ],
)
def test_words_counts_and_unit(column: str, unit: str, counts: str, text: str) -> None:
    assert heading(column, unit=unit, counts=counts) == text


@pytest.mark.parametrize("column", ["_", "___", "x"])
def test_a_heading_is_never_empty(column: str) -> None:
    assert name_of(column) == column
