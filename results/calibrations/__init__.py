"""Calibrations that were run: a CSV file each, a line per tokenizer and seed (see docs/calibration.md)."""
