"""Names of metrics as patterns: what they match whole, and what they may have been meant to be."""

from __future__ import annotations

import pytest

from latentbench.tasks.metric_names import compiled, examples, points, with_point


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("psnr", "psnr"),
        ("micro_fd_20_500_scattering", "micro_fd_<n>_<n>_<net>"),
        ("rfd_fidelity:vgg16", "rfd_<net>"),
        ("normal_fd_encoder_selfsup", "normal_fd_<net>"),
        ("loss_mel", "loss_<loss>"),
        ("psnr_steps_4", "psnr_<point>"),
    ],
)
def test_a_pattern_matches_whole_names(name: str, pattern: str) -> None:
    assert compiled([pattern]).fullmatch(name)
    assert not compiled([pattern]).fullmatch(f"{name}x")
    assert not compiled([pattern]).fullmatch(f"x{name}")


@pytest.mark.parametrize("name", ["psnr_depth", "psnr_dept_1", "psnr_depth_1_2", "rfd_depth_1", "rfd_scaterin_depth_1"])
def test_others_do_not_match(name: str) -> None:
    assert not compiled(with_point(["psnr", "rfd_<net>"])).fullmatch(name)


def test_the_parts_that_have_operating_points_declare_them() -> None:
    assert points() == ["depth_<n>", "prefix_<n>", "steps_<n>"]


def test_examples_have_the_numbers_of_the_name() -> None:
    assert {"a_7_8_i3d", "a_7_8_yamnet"} <= set(examples(["a_<n>_<n>_<net>"], like="b_7_x_8"))
    assert list(examples(["a_<n>_<n>"], like="b")) == ["a_1_1"]
    assert "psnr_depth_3" in set(examples(["psnr_<point>"], like="psnr_dept_3"))
