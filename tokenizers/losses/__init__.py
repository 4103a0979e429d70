"""Losses: how a reconstruction is compared with its signal in training."""
