from __future__ import annotations

from latentbench.tokenizers.seeding import derive_seed


def test_streams_differ_and_repeat() -> None:
    seeds = {derive_seed(seed, part, step) for seed in range(3) for part in ("order", "step") for step in range(50)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, "step", 2) == derive_seed(1, "step", 2)
    assert derive_seed(1, 23) != derive_seed(12, 3)


def test_the_numbers_are_the_same_on_every_machine() -> None:
    assert derive_seed(0, "init") == 925402481798332886
