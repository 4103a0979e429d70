"""Which columns are proxies, baselines and outcomes; and the rows of one predictor."""

from dataclasses import replace

import pytest

from latentbench.results.calibration.observations import (
    FAMILY_MEAN,
    Observation,
    Observations,
    Predictor,
    choose,
    directed,
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
    assert is_outcome("gFID")
    assert not is_outcome("rfid")


# Of all that records hold (docs/metrics.md, proxies.md, systems.md), what a pattern might misplace.
@pytest.mark.parametrize(
    "name",
    [
        *("psnr_noise_10", "psnr_noise_50", "psnr_equivariant", "psnr_corrupted", "psnr_inpainted", "inpainting_gain"),
        *("kl_bits", "active_units", "code_bits_per_position", "modelability_code_bits_per_position"),
        *("code_zlib_bits", "code_back_off_bits", "code_mixing_bits", "code_entropy_order_1", "codebook_perplexity"),
        *("density_variation", "density_gini", "micro_psnr_5_250", "micro_nll_5", "micro_loss_5", "micro_gfd_5_yamnet"),
        *("cfd_best_scattering", "normal_fd_scattering", "latent_noise_fd_scattering", "near_codes_fd_scattering"),
        *("viv", "psd_kl", "label_accuracy", "label_information", "equivariance_error", "code_stability"),
    ],
)
def test_what_takes_thought_is_a_proxy(name: str) -> None:
    assert choose([name], None, None, where="t") == ([name], [])


@pytest.mark.parametrize(
    "name",
    [
        *("temporal_error", "temporal_error_border", "flicker", "psnr_worst_frame", "psnr_depth_2", "native_psnr"),
        *("mel_distance_vocoder", "stft_distance_vocoder", "rfd_yamnet_vocoder", "mel_distance", "si_sdr_depth_1"),
        *("pesq", "stoi", "estoi", "loudness_difference", "f0_error", "loss_l1", "high_frequency_ratio"),
        *("rkd_scattering", "rkid", "rfvd_i3d", "lpips_vgg", "PSNR", "rFID", "fd_floor_scattering", "label_chance"),
        *(
            "code_bits_per_sample",
            "stream_bits",
            "rate_bits",
            "real_bits_per_pixel",
            "real_kbits_per_second",
            "tsr_input",
        ),
        *("prior_parameters", "prior_flops", "train_seconds", "contract", "contract_repeatable"),
    ],
)
def test_what_takes_none_is_dull(name: str) -> None:
    assert choose([name], None, None, where="t") == ([], [name])


@pytest.mark.parametrize(
    "name",
    [
        *("gfd_scattering", "log_gfd_scattering", "gkd_yamnet", "mean_rank", "bits_at_equal_psnr", "undecodable"),
        *("precision_inception", "recall_inception", "density_inception", "coverage_inception", "inception_score"),
        *("nearest_train_ratio_x", "memorised_share_x", "nearest_sample_ratio_x", "fd_infinity_x", "fid_infinity"),
        *("nll_bits_per_element", "nll_ode_bits", "flow_loss", "base_flow_loss", "diffusion_loss"),
    ],
)
def test_what_is_measured_of_a_prior_predicts_nothing(name: str) -> None:
    assert is_outcome(name)
    assert choose([name], None, None, where="t") == ([], [])


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


def test_directions_as_told() -> None:
    known = replace(table(), predictors=(Predictor(name="viv", direction="lower"), Predictor(name="x")))
    (told,) = directed([known], ["v*"], [])
    assert [p.direction for p in told.predictors] == ["higher", "none"]
    with pytest.raises(UserError, match=r"^--lower: unknown column 'vv'; did you mean 'viv'"):
        directed([known], [], ["vv"])
    with pytest.raises(UserError, match=r"^--higher and --lower: viv is in both"):
        directed([known], ["viv"], ["*"])
