"""Which columns are proxies, baselines and outcomes; and the rows of one predictor."""

import pytest

from latentbench.results.calibration.observations import (
    FAMILY_MEAN,
    Observation,
    Observations,
    choose,
    is_outcome,
    with_family_mean,
)
from latentbench.results.errors import UserError

NAMES = ["viv", "psnr", "rfd_inception", "real_bits", "gfd_inception", "sec", "decoder_parameters"]


def item(name: str, family: str, *outcome: float, **values: float) -> Observation:
    return Observation(name=name, family=family, outcome=outcome, values=values)


def table(*items: Observation) -> Observations:
    return Observations(title="", outcome="gfd", direction="lower", items=items, predictors=())


def test_what_is_dull_and_what_is_an_outcome() -> None:
    proxies, baselines = choose(NAMES, None, None, where="t")
    assert proxies == ["viv", "sec"]
    assert baselines == ["psnr", "rfd_inception", "real_bits", "decoder_parameters"]
    others = ["rkd_scattering", "rkid", "rfvd_i3d", "code_bits_per_sample", "code_zlib_bits"]
    assert choose(others, None, None, where="t") == (["code_zlib_bits"], others[:-1])
    modelled = ["code_back_off_bits", "code_mixing_bits", "code_bpe_bits", "code_range_bits"]
    assert choose(modelled, None, None, where="t") == (modelled, [])
    assert is_outcome("gfid_sit_b_cfg")
    assert not is_outcome("rfid")


def test_what_is_named_is_taken() -> None:
    assert choose(NAMES, ["ps*", "gfd_*"], None, where="t")[0] == ["psnr", "gfd_inception"]
    assert choose(NAMES, None, ["viv"], where="t") == (
        ["psnr", "rfd_inception", "real_bits", "sec", "decoder_parameters"],
        ["viv"],
    )


def test_a_pattern_without_a_column() -> None:
    with pytest.raises(UserError, match=r"t: --baselines: unknown column of numbers 'psnrr'; did you mean 'psnr'"):
        choose(NAMES, None, ["psnrr"], where="t")


def test_rows_without_a_value_are_left_out_and_keep_their_place() -> None:
    rows = table(item("a", "f", 1.0, x=3.0), item("b", "g", 2.0, 4.0), item("c", "f", 5.0, x=1.0)).rows("x")
    assert rows.x.tolist() == [3, 1]
    assert rows.y.tolist() == [1, 5]
    assert rows.place.tolist() == [0, 2]
    assert rows.family.tolist() == [0, 0]


def test_all_rows_have_an_outcome() -> None:
    complete = table(item("a", "f", 1.0), item("b", "g", 2.0, 4.0)).complete()
    assert complete.x.tolist() == complete.y.tolist() == [1, 3]


def test_families_that_say_nothing() -> None:
    alone = (item("a", "a", 1.0), item("b", "b", 2.0))
    one = (item("a", "f", 1.0), item("b", "f", 2.0))
    two = (*one, item("c", "g", 3.0))
    assert [with_family_mean(items) for items in (alone, one, two)] == [False, False, True]
    assert [table(*items).families for items in (alone, one, two)] == [1, 1, 2]
    assert table(*two).rows(FAMILY_MEAN).x.tolist() == [2, 1]
