"""A claim's metric that nothing reports is refused when the suite is read, with what was meant."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import suites
from latentbench.bench.claim_metrics import check_metrics, reported
from latentbench.bench.suite import load_suite, suite_names
from latentbench.results.claims import Claim, ClaimComparison
from latentbench.results.errors import UserError
from latentbench.tasks.metric_names import compiled
from latentbench.tasks.probes import probes
from latentbench.tasks.probes.config import ProbeConfig
from latentbench.tokenizers.spec import Modality


def check(metric: str, modality: str = "image", **more: Any) -> None:
    comparison = ClaimComparison(metric=metric, left="a", relation="above", right="b", **more)
    claim = Claim(id="X1", name="n", claim="c", comparisons=(comparison,))
    check_metrics([claim], modalities=[Modality(modality)], axes=["steps"], where="suite")


@pytest.mark.slow
def test_the_claims_of_shipped_suites_pass() -> None:
    folder = Path(suites.__path__[0])
    claiming = [name for name in suite_names() if "[[claims]]" in (folder / f"{name}.toml").read_text()]
    claims = [claim for name in claiming for claim in load_suite(name).claims]
    assert sum(len(claim.comparisons) for claim in claims) > 100


def test_whatever_was_measured_is_known() -> None:
    """The numbers of the golden runs are of jobs of every task: a job's name that is not declared would be refused."""
    golden = json.loads((Path(__file__).parent / "golden.json").read_text())
    names = compiled(list(chain.from_iterable(reported(modality) or () for modality in Modality)))
    costs = {"flops", "parameters", "loss"}  # of trainings, no metrics
    measured = set(chain.from_iterable(job["numbers"] for job in golden.values())) - costs
    assert len(measured) > 50
    assert [name for name in sorted(measured) if not names.fullmatch(name)] == []


@pytest.mark.parametrize(
    ("metric", "modality"),
    [
        ("rfd_scattering_steps_4", "image"),
        ("rfid_depth_2", "image"),
        ("grid1_codebook_use", "image"),
        ("mel_distance_vocoder", "spectrogram"),
        ("given_2_gfd_i3d", "video"),
        ("si_sdr_depth_1", "waveform"),
        ("perplexity_share", "image"),  # derived from a metric
        ("flops", "image"),  # a column
        ("steps", "image"),  # an axis
    ],
)
def test_names_with_parameters_and_columns_pass(metric: str, modality: str) -> None:
    check(metric, modality)


@pytest.mark.parametrize(
    ("metric", "modality", "says"),
    [
        ("psnr_dept_3", "image", "unknown metric 'psnr_dept_3'; did you mean 'psnr_depth_3'?"),
        ("gfd_scatering", "image", "unknown metric 'gfd_scatering'; did you mean 'gfd_scattering'?"),
        ("mel_distance_depth_1", "waveform", "unknown metric 'mel_distance_depth_1'; did you mean '"),
        ("psnr_depth_1_vocoder", "spectrogram", "unknown metric 'psnr_depth_1_vocoder'; did you mean '"),
        ("qqqq", "image", "unknown metric 'qqqq'; no kind of job reports it of image signals"),
        ("si_sdr", "image", "'si_sdr' is a metric of waveform signals, and these are image"),
    ],
)
def test_a_typo_is_refused_with_its_place(metric: str, modality: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        check(metric, modality)
    assert str(refused.value).startswith(f"suite: claims[0].comparisons[0].metric: {says}")


def test_the_right_sides_and_the_comparisons_own_modalities_are_checked() -> None:
    with pytest.raises(UserError, match=r"\.right_metric: unknown metric 'psrn'; did you mean 'psnr'\?"):
        check("psnr", right_metric="psrn")
    check("si_sdr", modalities=("waveform",))
    with pytest.raises(UserError, match=r"\.modalities: unknown modality 'wave'; did you mean 'waveform'\?"):
        check("si_sdr", modalities=("wave",))


def test_a_suite_with_one_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(
        """
        name = "s"
        seeds = [0]
        data = [{ source = "procedural", modality = "image", size = 16, samples = 8, val = 4 }]
        tokenizers = [{ recipe = "kl-vae", downsample = 4, tsr = 12 }]
        [[claims]]
        id = "X1"
        name = "n"
        claim = "c"
        comparisons = [{ metric = "psrn", left = "kl-vae", relation = "above", right = 20.0 }]
        """
    )
    with pytest.raises(UserError, match=r"s\.toml: claims\[0\]\.comparisons\[0\]\.metric: unknown metric 'psrn'"):
        load_suite(path)


def test_a_part_that_does_not_say_may_report_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_entries", {**probes._entries, "mine": type("Mine", (ProbeConfig,), {"kind": "mine"})})
    check("whatever_it_reports")
