"""Corruptions: what changes a signal before it is encoded, in training."""
