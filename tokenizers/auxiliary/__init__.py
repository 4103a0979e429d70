"""Auxiliary objectives: what else trains with a tokenizer, beside its own losses."""
