"""Scrambles: controls that change what a prior sees of a tokenizer and nothing of what the tokenizer does."""
