"""What is installed, and that our `tokenizers` folder and Hugging Face's package stay out of each other's way."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("bench", "tokenizers", "tasks", "results")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# What every newcomer looks for, and the names that other pages and issues rely on.
NAMED = (
    "LICENSE",
    "README.md",
    ".ci/run",
    ".gitignore",
    "constraints.txt",
    "tox.ini",
    "bench/suites/audio-tsr-grid.toml",
    "bench/suites/image-tsr-grid.toml",
    "bench/suites/quickstart.toml",
    "bench/suites/video-tsr-grid.toml",
    "tests/perf/sweep_vs_scripts.py",
    "tokenizers/bottlenecks/vq.py",
    "tokenizers/interface.py",
)

# Modules whose tests are not in a file of the same name, and why: the file that does test them.
ELSEWHERE = {
    "results/board.py": "results/test_publish.py",  # which writes it
    "results/ended.py": "results/test_index.py",  # a part of the index
    "results/record_file.py": "results/test_store.py",  # a name
    "results/board_page.py": "results/test_publish.py",
    "bench/datasets/shared_samples.py": "bench/datasets/test_streamed.py",  # whose samples they are
    "bench/engines/ray_groups.py": "bench/engines/test_ray.py",  # on the same clusters
    "bench/engines/shortage.py": "bench/engines/test_local.py",  # by what the engine does then
    "tokenizers/micro_batch.py": "bench/test_micro_batch.py",  # through the training loop, with every recipe
    "tokenizers/latent_size.py": "tokenizers/test_recipe.py",  # as recipes ask for it
    "tokenizers/ranks.py": "bench/test_ranks.py",  # the same
    "tokenizers/recompute.py": "bench/test_micro_batch.py",
    "tokenizers/backbones/carry.py": "tokenizers/test_pieces.py",  # what layers carry, through what comes out
    "bench/step_batches.py": "bench/test_training.py",
    "bench/training_state.py": "bench/test_training.py",  # what its checkpoints hold, through trainings that go on
    "results/calibration/ranking.py": "results/calibration/test_score_command.py",  # what `score` prints
    "results/calibration/score_file.py": "results/calibration/test_score_command.py",
    "bench/engines/claims.py": "bench/engines/test_leases.py",  # what leases are made of
    "bench/folder_lock.py": "bench/test_cli.py",  # by what a second run is told
    "bench/planned_cell.py": "bench/test_plan.py",  # as a plan gives it
    "bench/plan_file.py": "bench/test_join.py",  # written by a run, read by who joins it
    "tasks/partial_files.py": "tasks/test_latents.py",  # through the passes that go on
    "tasks/rate_sample.py": "tasks/test_rate_bits.py",
    "bench/datasets/augment.py": "bench/datasets/test_streamed.py",  # through the samples that training sees
    "bench/datasets/decode_ahead.py": "bench/datasets/test_streamed.py",
    "bench/datasets/file_source.py": "bench/datasets/test_folder.py",  # what sources of files share, through one
    "bench/datasets/file_table.py": "bench/datasets/test_files.py",
    "bench/datasets/image_header.py": "bench/datasets/test_image_file.py",  # which reads it, through the pixels
    "bench/datasets/media.py": "bench/datasets/test_shards.py",  # through the samples of members of archives
    "bench/datasets/ogg_links.py": "bench/datasets/test_sound_files.py",  # parts of one decoder, through its samples
    "bench/datasets/parquet.py": "bench/datasets/test_shards.py",  # the sources compared with each other
    "bench/datasets/places.py": "bench/datasets/test_images.py",  # which crops, through the files cropped
    "bench/datasets/shapes.py": "bench/datasets/test_procedural.py",  # a part of one source
    "bench/datasets/sound_length.py": "bench/datasets/test_sound_files.py",
    "bench/datasets/sound_mix.py": "bench/datasets/test_sound_files.py",
    "bench/datasets/sounds.py": "bench/datasets/test_procedural.py",
    "bench/datasets/source.py": "bench/datasets/test_files.py",  # the interface, tested through a source
    "bench/datasets/video_frames.py": "bench/datasets/test_video_files.py",  # one decoder, through its frames' numbers
    "bench/datasets/video_timeline.py": "bench/datasets/test_video_files.py",
    "bench/datasets/webdataset.py": "bench/datasets/test_shards.py",
    "bench/engines/client.py": "bench/engines/test_local.py",  # both ends of one pipe, tested as one
    "bench/console.py": "bench/test_cli.py",  # closed and full streams
    "bench/engines/inline.py": "bench/test_evaluation.py",  # every test there runs in it
    "bench/further_systems.py": "bench/test_systems.py",  # rows of the table of systems
    "results/plots/columns.py": "results/test_plot.py",  # axes' texts, and what is refused
    "results/plots/layout.py": "results/plots/test_lines.py",  # that all is inside the figure
    "results/plots/matrix.py": "results/plots/test_heatmap.py",
    "results/plots/panels.py": "results/test_plot.py",
    "results/plots/style.py": "results/plots/test_lines.py",
    "results/activity.py": "results/test_rows.py",  # what a row's status is read from
    "tasks/collected.py": "tasks/test_reconstruction.py",  # a part of one pass
    "tasks/probing.py": "tasks/probes/test_interface.py",  # the task, beside the probes that it makes
    "results/brief.py": "results/test_terminal.py",
    "results/canonical.py": "results/test_record.py",
    "results/errors.py": "bench/test_suite.py",  # its messages, where users meet them
    "results/formats.py": "results/test_leaderboard.py",
    "results/layout.py": "results/test_terminal.py",
    "results/metric.py": "results/test_record.py",
    "results/page.py": "results/test_leaderboard.py",
    "results/tables.py": "results/test_leaderboard.py",
    "results/report/artifacts.py": "results/report/test_detail.py",  # what is read, through the page that shows it
    "results/report/output.py": "results/report/test_build.py",  # folder and file, through the report
    "tasks/encoding.py": "tasks/test_latents.py",  # what is written is read back
    "tokenizers/lazy_net.py": "tokenizers/test_targets.py",  # a few lines, through what loads nets so
    "tasks/closed_forms/interface.py": "tasks/closed_forms/test_independent.py",  # a few lines, through a prior
    "tasks/interface.py": "tasks/test_features.py",  # protocols and data without behaviour
    "tasks/metrics/lpips.py": "tokenizers/losses/test_lpips.py",  # one net, as a loss and as a metric
    "tasks/metrics/balls.py": "tasks/metrics/test_manifold.py",  # what the four scores are counted on
    "tasks/metrics/config.py": "tasks/metrics/test_interface.py",  # descriptions, through what they build
    "tasks/metrics/pair_config.py": "tasks/metrics/test_interface.py",
    "tasks/metrics/score_config.py": "tasks/test_scores.py",
    "tasks/probes/config.py": "tasks/probes/test_interface.py",
    "tasks/proxies/config.py": "tasks/proxies/test_interface.py",
    "tasks/nets/frozen.py": "tasks/nets/test_inception.py",  # layers, through the nets made of them
    "tokenizers/frozen_convs.py": "tasks/nets/test_yamnet.py",  # the nets made of them, layer by layer
    "tokenizers/scattering.py": "tasks/nets/test_scattering.py",  # through the feature net
    "tokenizers/yamnet.py": "tasks/nets/test_yamnet.py",
    "tasks/nets/resize.py": "tasks/nets/test_inception.py",
    "tasks/priors/code_prior.py": "tasks/priors/test_pixelcnn.py",  # and test_wavenet.py, the two that share it
    "tasks/priors/build.py": "tasks/priors/test_config.py",  # one line
    "tokenizers/adapters/audio_codecs_config.py": "tokenizers/adapters/test_audio_codecs.py",  # packages, one page
    "tokenizers/adapters/chunked.py": "tokenizers/adapters/test_audio_codecs.py",  # and test_transformers.py
    "tokenizers/adapters/dac.py": "tokenizers/adapters/test_audio_codecs.py",
    "tokenizers/adapters/encodec.py": "tokenizers/adapters/test_audio_codecs.py",
    "tokenizers/adapters/snac.py": "tokenizers/adapters/test_audio_codecs.py",
    "tokenizers/adapters/network.py": "tasks/test_contract.py",  # where it is cut
    "tokenizers/adapters/files.py": "tokenizers/adapters/test_diffusers.py",  # which folders it takes
    "tokenizers/adapters/diffusers_video.py": "tokenizers/adapters/test_diffusers.py",  # the same door, for clips
    "tokenizers/adapters/normalisers.py": "tokenizers/adapters/test_diffusers.py",  # against what pipelines do
    "tokenizers/adapters/onnx.py": "tokenizers/adapters/test_pairs.py",
    "tokenizers/adapters/pair_config.py": "tokenizers/adapters/test_pairs.py",
    "tokenizers/adapters/torchscript.py": "tokenizers/adapters/test_pairs.py",
    "tokenizers/adapters/describe.py": "tokenizers/adapters/test_python.py",  # what is seen of a model
    "tokenizers/adapters/probe.py": "tokenizers/adapters/test_python.py",
    "tokenizers/adapters/tokenizer.py": "tokenizers/adapters/test_python.py",  # ranges and codes, through a model
    "tokenizers/adapters/live.py": "tasks/test_contract.py",  # every test there registers an object
    "tokenizers/backbones/layers.py": "tokenizers/auxiliary/test_adversary.py",  # where the adaptive weight is measured
    "tokenizers/backbones/stages.py": "tokenizers/test_geometry.py",
    "tokenizers/bottlenecks/identity.py": "tokenizers/test_composed.py",  # x -> x, through the recipe
    "tokenizers/regularisers/features.py": "tokenizers/regularisers/test_alignment.py",  # the features' normalisation
    "tokenizers/codecs/clips.py": "tokenizers/codecs/test_stream.py",  # what all byte streams must do, in one place
    "tokenizers/codecs/h264.py": "tokenizers/codecs/test_stream.py",
    "tokenizers/codecs/identity.py": "tokenizers/codecs/test_dct.py",  # x -> x
    "tokenizers/codecs/jpeg.py": "tokenizers/codecs/test_stream.py",
    "tokenizers/codecs/modern_video.py": "tokenizers/codecs/test_stream.py",
    "tokenizers/codecs/mp3_aac.py": "tokenizers/codecs/test_stream.py",
    "tokenizers/codecs/opus.py": "tokenizers/codecs/test_stream.py",
    "tokenizers/codecs/packets.py": "tokenizers/codecs/test_stream.py",
    "tokenizers/codecs/tokenizer.py": "tokenizers/codecs/test_stream.py",
    "tokenizers/cost.py": "tokenizers/test_composed.py",  # against the built module's own count
    "tokenizers/diffusion_decoders/unet.py": "tokenizers/diffusion_decoders/test_diffusion.py",  # a network
    "tokenizers/interface.py": "tokenizers/test_composed.py",
    "tokenizers/mobilenet_v2.py": "tokenizers/backbones/test_frozen.py",  # one net, as an encoder and as a feature net
    "tokenizers/target_sizes.py": "tokenizers/test_targets.py",
    "tokenizers/part.py": "tokenizers/test_recipe.py",
    "tokenizers/sequence_coding/tokenizer.py": "tokenizers/sequence_coding/test_bpe.py",
    "tokenizers/training.py": "bench/test_training.py",  # data: the loop's options
    "bench/commands/": "bench/test_cli.py",
    "bench/kinds/": "bench/test_runner.py",  # every kind of job, through a run of all of them
    "bench/checkpoint.py": "bench/test_training.py",  # what training writes and reads, through trainings
    "results/digest.py": "results/test_store.py",  # of artifacts, through the store
    "bench/job_context.py": "bench/test_worker.py",  # what a job may reach, through jobs
    "tasks/priors/diffwave.py": "tasks/priors/test_continuous.py",  # a network, through the prior that trains it
    "tasks/priors/diffusion.py": "tasks/priors/test_continuous.py",  # every prior of continuous latents
    "tasks/priors/unet.py": "tasks/priors/test_continuous.py",  # a network, through the prior that trains it
    "tasks/priors/dilated.py": "tasks/priors/test_continuous.py",  # a network, through the priors that train it
    "tasks/priors/fields.py": "tasks/priors/test_likelihood.py",  # what a sampler and a likelihood integrate
    "tasks/priors/heldout.py": "tasks/priors/test_continuous.py",  # scores, through the priors that have them
    "tasks/priors/patches.py": "tasks/priors/test_givt.py",  # patches of tokens, padded ones included
    "tasks/priors/tokens.py": "tasks/priors/test_mar.py",  # what the two priors of tokens share
}


def packages() -> set[str]:
    subpackages = {path.parent.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("__init__.py")}
    return {".".join(("latentbench", *path.parts)) for path in subpackages}


def run(code: str, *flags: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that reads no environment: only the flags decide what is on its path."""
    return subprocess.run(
        [sys.executable, "-E", *flags, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_every_package_is_listed() -> None:
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages()


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert [str(f.relative_to(ROOT)) for f in sorted(folders) if not (f / "__init__.py").exists()] == []


def test_data_files_are_in_a_package_and_match_its_patterns() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    ignored = {".py", ".pyc"}
    for folder in FOLDERS:
        assert (ROOT / folder / "py.typed").exists(), f"{folder} says nothing about its types"
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix not in ignored:
                assert (path.parent / "__init__.py").exists(), f"{path} lies in no package"
                assert any(fnmatch(path.name, pattern) for pattern in patterns), f"{path} would not be installed"


def test_installed_suites_and_recipes_are_the_repositorys() -> None:
    for package, folder in (("latentbench.bench.suites", "bench/suites"), ("latentbench.tokenizers.recipes", None)):
        installed = {p.name: p.read_text() for p in files(package).iterdir() if p.name.endswith(".toml")}
        source = ROOT / (folder or "tokenizers/recipes")
        assert installed == {p.name: p.read_text() for p in source.glob("*.toml")}


def test_tests_are_no_package() -> None:
    """torch-fidelity installs a top-level `tests`: ours is never imported by that name."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []
    required = re.compile(r"^\s*(import tests\b|from tests\b)", re.MULTILINE)
    assert [str(p) for p in (ROOT / "tests").rglob("*.py") if required.search(p.read_text())] == []


def modules() -> list[str]:
    return [
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "__init__.py"
    ]


def parent(module: str) -> str:
    return f"{Path(module).parent}/"


def mirror(module: str) -> Path:
    path = Path(module)
    return ROOT / "tests" / path.parent / f"test_{path.name}"


def is_tested(module: str) -> bool:
    """By the file of its name; `x_config.py` also where `x.py` is, a folder's `base.py` and `config.py` by any test."""
    if mirror(module).exists() or {module, parent(module)} & ELSEWHERE.keys():
        return True
    if Path(module).name in ("base.py", "config.py"):
        return any(mirror(module).parent.glob("test_*.py"))
    described = module.replace("_config.py", ".py")
    return described != module and is_tested(described)


def test_every_module_has_a_test_file() -> None:
    missing = [name for name in modules() if not is_tested(name)]
    assert missing == [], "write tests/<folder>/test_<module>.py, or say in ELSEWHERE which file tests it and why"


def test_the_table_of_exceptions_is_true() -> None:
    known = {*modules(), *map(parent, modules())}
    for module, file in ELSEWHERE.items():
        assert module in known, f"{module} does not exist"
        assert not mirror(module).exists(), f"{module} has a test file of its own name: take it out of ELSEWHERE"
        assert (ROOT / "tests" / file).is_file(), f"{file}, which should test {module}, does not exist"


@pytest.mark.parametrize("name", NAMED)
def test_named_files_exist(name: str) -> None:
    assert (ROOT / name).is_file()


def test_ci_can_be_executed() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_constraints_pin_every_dependency_within_its_bounds() -> None:
    from packaging.requirements import Requirement

    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    required = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    required += [Requirement(text) for group in PROJECT["project"]["optional-dependencies"].values() for text in group]
    for requirement in required:
        assert requirement.name in pins, f"constraints.txt pins no {requirement.name}"
        assert requirement.specifier.contains(pins[requirement.name]), f"{requirement} excludes the pinned version"
    assert set(pins) == {requirement.name for requirement in required}, "constraints.txt pins what nothing asks for"


def test_the_guard_names_the_cure() -> None:
    """With the repository's root on sys.path a bare `import tokenizers` finds our folder."""
    done = run("import tokenizers", cwd=ROOT)
    assert done.returncode == 1
    assert "ImportError" in done.stderr
    assert "python -P" in done.stderr
    assert "import latentbench.tokenizers" in done.stderr


def test_the_safe_path_leaves_our_folder_out() -> None:
    done = run("import tokenizers; print(tokenizers.__file__)", "-P", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).is_relative_to(ROOT / "tokenizers")


@pytest.mark.slow
@pytest.mark.parametrize("order", ["theirs first", "ours first"])
def test_hugging_faces_tokenizers_in_the_same_environment(order: str, tmp_path: Path) -> None:
    try:
        required = version("tokenizers")
    except PackageNotFoundError:
        pytest.skip("Hugging Face's tokenizers is not installed here")
    lines = ["import tokenizers", "import latentbench.tokenizers.interface as ours"]
    if order == "ours first":
        lines.reverse()
    lines += [
        "assert ours.Tokenizer is not tokenizers.Tokenizer",
        "assert tokenizers.Tokenizer(tokenizers.models.WordLevel({'a': 0}, unk_token='a')).encode('a').ids == [0]",
        "print(tokenizers.__version__)",
    ]
    done = run("\n".join(lines), "-P", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [required]


def test_nothing_of_ours_is_installed_at_the_top_level() -> None:
    """An installed top-level `tokenizers` would overwrite Hugging Face's, which the sequence coding bpe needs."""
    assert all(name.startswith("latentbench.") for name in PROJECT["tool"]["setuptools"]["packages"])
    assert any(re.match(r"tokenizers\b", text) for text in requires("latentbench") or [] if "extra ==" not in text)


def test_the_command_line_starts_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "latentbench.bench.cli", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"latentbench {version('latentbench')}"
