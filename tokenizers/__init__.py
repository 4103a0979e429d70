"""Tokenizers behind one interface: their vocabulary, their parts, and the recipes that compose them."""

if __name__ == "tokenizers":
    raise ImportError(
        "this is latentbench's `tokenizers` folder, found because the repository's root is on sys.path; "
        "for Hugging Face's package run from another folder or with `python -P` (PYTHONSAFEPATH=1); "
        "for this one `import latentbench.tokenizers`"
    )
