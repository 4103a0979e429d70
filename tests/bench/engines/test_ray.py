"""The Ray engine: two nodes of which one is killed, a cluster of this machine that is interrupted, and what it says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.bench.engines import engines
from latentbench.bench.engines import ray as ray_module
from latentbench.bench.engines.board import Board, Work
from latentbench.bench.engines.interface import EngineSettings
from latentbench.bench.hardware import cores
from latentbench.bench.jobs import Job
from latentbench.bench.plan_file import job_to_json
from latentbench.bench.runner import run_suite
from latentbench.results.errors import UserError
from latentbench.results.store import Store

from ..processes import await_end, family

with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (pip install 'latentbench[ray]')")

# The machine that the tests run on may be short of memory for reasons of its own.
QUIET = {"RAY_memory_monitor_refresh_ms": "0"}
# Two trainings at once, a node's each.
SUITE: dict[str, Any] = {
    "name": "cluster",
    "data": {"name": "shapes", "modality": "image", "size": 16, "samples": 64, "val": 32},
    "tokenizers": [{"recipe": "kl-vae", "downsample": 4, "width": 8, "grid": {"tsr": [6, 12]}}],
    "tasks": ["reconstruction"],
    "features": [],
    "training": {"steps": 400, "batch_size": 8},
}
# What Ray has reserved, by a process beside the run: "groups" gives them with their state, nodes and bundles. "kill"
# kills the node where the one of a tokenizer is.
GANGS = """
import json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # where Ray says things too
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group_table

node = {"num_cpus": 2, "object_store_memory": 80_000_000, "include_dashboard": False}
quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 3, "health_check_initial_delay_ms": 500}
cluster = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 0, "_system_config": quick})
nodes = [cluster.add_node(**node), cluster.add_node(**node)]
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
print(cluster.address, file=answers, flush=True)
for line in sys.stdin:
    table = [group for group in placement_group_table().values() if group["state"] != "REMOVED"]
    if line.strip() == "kill":
        [training] = [group for group in table if " tokenizer/" in group["name"]]
        [there] = set(training["bundles_to_node_id"].values())
        cluster.remove_node(next(n for n in nodes if n.node_id == there), allow_graceful=False)
    else:
        facts = [(g["name"], g["state"], g["bundles_to_node_id"], g["bundles"]) for g in table]
        print(json.dumps(facts), file=answers, flush=True)
ray.shutdown()
cluster.shutdown()
"""
# Groups of a node by themselves, with GPUs that Ray is made to believe in.
GROUPS = """
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
from ray.util.placement_group import placement_group_table
from latentbench.bench.engines.ray_groups import PlacementGroups, free_groups

ray.init(address="local", num_cpus=2, num_gpus=3, include_dashboard=False, object_store_memory=80_000_000,
         log_to_driver=False, logging_level="ERROR")
def left(): return sorted(g["name"] for g in placement_group_table().values() if g["state"] != "REMOVED")
def shown(*what): print(*what, flush=True)
here = ray.get_runtime_context().get_node_id()
one, other = PlacementGroups("run a", here), PlacementGroups("run ab", here)
shown(one.reserve("k/1", [{"GPU": 1}] * 2), sorted(one.gpus("k/1")))
shown(other.reserve("k/2", [{"GPU": 1}] * 2), other.gpus("k/2"))
shown(other.reserve("k/3", [{"CPU": 1}]), other.gpus("k/3"))
one.free("k/1"); one.free("k/1")
while not other.reserve("k/2", [{"GPU": 1}] * 2): pass
shown(len(set(other.gpus("k/2"))), one.gpus("k/1"))
shown(one.reserve("k/1", [{"GPU": 1}]), one.gpus("k/1")[0] not in other.gpus("k/2"))
shown(left()); free_groups("run a"); shown(left()); free_groups("run"); free_groups("run"); shown(left())
ray.shutdown()
"""
# Two nodes; the second is killed when a line comes in.
CLUSTER = """
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 3, "health_check_initial_delay_ms": 500}
cluster = Cluster(initialize_head=True, head_node_args={**node, "_system_config": quick})
second = cluster.add_node(**node)
print(cluster.address, second.all_processes["raylet"][0].process.pid, flush=True)
sys.stdin.readline()
cluster.remove_node(second, allow_graceful=False)
print("killed", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


@pytest.fixture
def environment(tmp_path: Path, cache: Path) -> dict[str, str]:
    """A home of its own, where Ray leaves a token; its processes, which it makes the last in the queue for a core, are
    no slower on a busy machine than other tests'."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**plain, "HOME": str(tmp_path), "LATENTBENCH_CACHE": str(cache), "RAY_worker_niceness": "0"}


@pytest.fixture
def gangs(tmp_path: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    script = tmp_path / "gangs.py"
    script.write_text(GANGS)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-P", str(script)]
    with subprocess.Popen(command, env=environment | QUIET, start_new_session=True, **pipes) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def cluster(tmp_path: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    script = tmp_path / "two_nodes.py"
    script.write_text(CLUSTER)
    command = [sys.executable, "-P", str(script)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def run(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `latentbench run` in a process group of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, **variables: str) -> subprocess.Popen[str]:
        line = [sys.executable, "-P", "-m", "latentbench.bench.cli", "run", *map(str, arguments), "--devices", "cpu"]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(line, env=environment | variables, process_group=0, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def trains(pid: int) -> bool:
    """Whether a worker below the process is on its way through a training's steps: its log is its output."""
    for process in family(pid):
        with contextlib.suppress(OSError):
            folder = Path(os.readlink(f"/proc/{process}/fd/1")).parent.parent
            if folder.parent.name == "tokenizer" and (folder / "checkpoint.safetensors").exists():
                return True
    return False


def until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not reached():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def records(out: Path) -> dict[str, dict[str, object]]:
    """Without what two runs of a job may differ in."""
    contents = {str(path.relative_to(out)): json.loads(path.read_bytes()) for path in out.glob("jobs/*/*/record.json")}
    for record in contents.values():
        del record["run"]
    return contents


@with_ray
@pytest.mark.slow
def test_a_job_on_a_killed_node_finishes_on_the_other(
    cluster: subprocess.Popen[str],
    run: Callable[..., subprocess.Popen[str]],
    as_toml: Callable[[Any], str],
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suite, out, alone = tmp_path / "cluster.toml", tmp_path / "out", tmp_path / "alone"
    suite.write_text(as_toml(SUITE))
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    address, raylet = cluster.stdout.readline().split()
    process = run(suite, "--out", out, "--engine", "ray", "--address", address, "--checkpoint-seconds", "0.05")
    until(lambda: trains(int(raylet)), process)
    cluster.stdin.write("\n")
    cluster.stdin.flush()
    assert cluster.stdout.readline() == "killed\n"
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    lost = [line for line in said.splitlines() if "] retried " in line]
    assert len(lost) == 1, said
    assert " was lost" in lost[0]
    assert "Ray" not in said, "it does not chatter"
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    assert run_suite(SUITE, out=alone, engine="inline", devices="cpu").failed == 0
    assert records(out) == records(alone)
    assert len(records(out)) == 5
    for path in alone.glob("jobs/*/*/*.safetensors"):
        assert (out / path.relative_to(alone)).read_bytes() == path.read_bytes()
    assert not list(out.glob(".ray-*"))


@with_ray
@pytest.mark.slow
@pytest.mark.skipif(cores() < 2, reason="two devices of a CPU are two cores")
def test_a_job_of_two_devices_has_a_placement_group_until_it_ends_or_its_node_does(
    gangs: subprocess.Popen[str],
    run: Callable[..., subprocess.Popen[str]],
    as_toml: Callable[[Any], str],
    tmp_path: Path,
) -> None:
    suite, out = tmp_path / "gang.toml", tmp_path / "out"
    tokenizers = [{"recipe": "kl-vae", "downsample": 4, "width": 8}]
    suite.write_text(
        as_toml(SUITE | {"tokenizers": tokenizers, "training": {"steps": 300, "batch_size": 8, "devices": 2}})
    )
    assert gangs.stdin is not None
    assert gangs.stdout is not None
    address = gangs.stdout.readline().strip()

    def say(line: str) -> None:
        gangs.stdin.write(f"{line}\n")  # type: ignore[union-attr]
        gangs.stdin.flush()  # type: ignore[union-attr]

    def groups() -> list[Any]:
        say("groups")
        return list(json.loads(gangs.stdout.readline()))  # type: ignore[union-attr]

    process = run(suite, "--out", out, "--engine", "ray", "--address", address, "--checkpoint-seconds", "0.05", **QUIET)
    until(lambda: bool(list(out.glob("jobs/tokenizer/*/checkpoint.safetensors"))), process)

    def training() -> list[Any]:
        """Other jobs have groups too."""
        return [group for group in groups() if " tokenizer/" in group[0]]

    def settled() -> bool:
        """The other agent may have asked for the job's devices before it knew whose the job is; it does so no more."""
        return all(len(training()) == 1 and not time.sleep(0.05) for _ in range(10))

    until(settled, process)
    [(name, state, nodes, bundles)] = training()
    assert name.startswith("latentbench.ray-")
    assert state == "CREATED"
    assert len(set(nodes.values())) == 1, "on one node"
    assert list(bundles.values()) == [{"CPU": 1.0}, {"CPU": 1.0}]
    say("kill")
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert said.count("] retried ") == 1, said
    assert " was lost" in said
    assert groups() == []
    (record,) = out.glob("jobs/tokenizer/*/record.json")
    assert json.loads(record.read_bytes())["run"]["devices"] == ["cpu", "cpu"]


@with_ray
@pytest.mark.slow
def test_placement_groups_tell_which_gpus_and_are_given_back(tmp_path: Path, environment: dict[str, str]) -> None:
    script = tmp_path / "groups.py"
    script.write_text(GROUPS)
    command = [sys.executable, "-P", str(script)]
    done = subprocess.run(
        command,
        env=environment | QUIET,
        capture_output=True,
        text=True,
        timeout=240,
        start_new_session=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "True ['0', '1']",
        "False ()",
        "True ()",
        "2 ()",
        "True True",
        "['run a 1 k/1', 'run ab 0 k/2', 'run ab 1 k/3']",
        "['run ab 0 k/2', 'run ab 1 k/3']",
        "[]",
    ]


@with_ray
@pytest.mark.slow
def test_a_terminated_group_leaves_checkpoints_and_no_process(
    run: Callable[..., subprocess.Popen[str]], as_toml: Callable[[Any], str], tmp_path: Path
) -> None:
    suite, out = tmp_path / "cluster.toml", tmp_path / "out"
    ranks = min(2, cores())  # processes that share each training
    suite.write_text(as_toml(SUITE | {"training": {"steps": 100_000, "batch_size": 8, "devices": ranks}}))
    process = run(suite, "--out", out, "--engine", "ray", "--checkpoint-seconds", "3600", RAY_ADDRESS="")
    until(lambda: bool(list(out.glob("jobs/tokenizer/*/curve.jsonl"))), process)
    below = family(process.pid)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "latentbench: interrupted; the same command continues where it stopped"
    assert list(out.glob("jobs/tokenizer/*/checkpoint.safetensors"))
    assert len(below) > 5
    await_end(below)
    assert not list(out.glob(".ray-*"))


def test_without_ray_it_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(["run", "quickstart", "--engine", "ray", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said == "latentbench: --engine ray needs Ray: pip install 'latentbench[ray]'\n"
    assert not (tmp_path / "out").exists()


class Cluster:
    """In place of the module: a cluster of such nodes, which is connected to."""

    def __init__(self, *resources: dict[str, float]) -> None:
        self.resources = resources

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        facts = {"NodeManagerHostname": "host", "Alive": True}
        return [facts | {"NodeID": f"n{i}", "Resources": each} for i, each in enumerate(self.resources)]


def engine(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, devices: str) -> ray_module.RayEngine:
    monkeypatch.setitem(sys.modules, "ray", cluster)
    return ray_module.RayEngine(EngineSettings(store=Store("out"), cache=Path("cache"), devices=devices))


def test_the_nodes_with_gpus_do_the_jobs_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    head, cpus, gpus = {"memory": 9.0}, {"CPU": 8.0, "memory": 9.0}, {"CPU": 4.0, "GPU": 2.0}
    cluster = Cluster(head, cpus, gpus)
    assert engine(monkeypatch, cluster, "auto").device == "cuda"
    node = ray_module.Node(id="n2", host="host", cores=4, gpus=2, memory=None)
    assert ray_module.nodes(gpus=True) == [node]
    assert engine(monkeypatch, cluster, "cpu").device == "cpu"
    assert [(node.id, node.cores, node.gpus, node.memory) for node in ray_module.nodes(gpus=False)] == [
        ("n1", 8, 0, 9),
        ("n2", 4, 0, None),
    ]
    assert engine(monkeypatch, Cluster(head, cpus), "auto").device == "cpu"
    with pytest.raises(UserError, match=r"^--devices cuda: no node of the cluster has a GPU for Ray$"):
        engine(monkeypatch, Cluster(head, cpus), "cuda")


def test_an_address_without_a_cluster_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster()
    monkeypatch.setattr(cluster, "is_initialized", lambda: False)
    monkeypatch.setitem(sys.modules, "ray", cluster)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        assert cli.main(["run", "quickstart", "--engine", "ray", "--address", address]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"latentbench: --engine ray: no cluster at {address}: ")
    assert said.endswith("Connection refused\n")


def test_it_is_registered() -> None:
    assert engines.get("ray") is ray_module.RayEngine


def test_a_job_s_devices_are_those_of_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    cpus, gpus = {"CPU": 8.0}, {"CPU": 4.0, "GPU": 2.0}

    def refused(cluster: Cluster, devices: str, count: int) -> str:
        job = Job(kind="fake", config={}, versions={}, title="big", devices=count)
        try:
            engine(monkeypatch, cluster, devices).check([job])
        except UserError as error:
            return str(error)
        return ""

    assert not refused(Cluster(cpus, gpus), "auto", 2)
    assert refused(Cluster(cpus, gpus), "auto", 3) == "big: training.devices = 3, and no node has more than 2 GPUs"
    assert refused(Cluster(gpus), "cuda:1", 2) == "big: training.devices = 2, and no node has more than 1 GPU"
    assert not refused(Cluster(cpus, gpus), "cpu", 8)
    assert refused(Cluster(cpus), "auto", 9) == "big: training.devices = 9, and no node has more than 8 CPU cores"


def test_a_job_whose_devices_are_gone_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(kind="fake", config={}, versions={}, title="big", devices=2)
    run = object.__new__(ray_module._Run)
    run.todo, run.agents = {job.id: job}, {"reference": ("one", None, None), "other": ("two", None, None)}
    run.board = Board(Work(waiting=[job_to_json(job)], finished=[]))
    run.board.join("one", 1, 1)
    run._check_places()  # the other may have them, as soon as it takes part
    run.board.join("two", 1, 2)
    run._check_places()
    run.board.lose("two", "the node was lost")
    del run.agents["other"]
    with pytest.raises(UserError, match=r"devices = 2, and no node that is left can give a job more than 1; the same"):
        run._check_places()
    run.todo.clear()
    run._check_places()


class Actor:
    """An actor whose method returns at once what it is to return."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def remote(self, *_: Any) -> Any:
        return self

    @property
    def run(self) -> Any:
        class Method:
            remote = staticmethod(lambda *_: self.result)

        return Method


def test_a_node_that_comes_late_takes_part_or_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present, results = [{"CPU": 1.0}], iter(["n0 runs", "n1 runs"])
    cluster = Cluster()
    monkeypatch.setattr(cluster, "resources", present)
    monkeypatch.setattr(cluster, "get_runtime_context", lambda: Place, raising=False)
    monkeypatch.setattr(cluster, "exceptions", Errors, raising=False)
    monkeypatch.setattr(cluster, "get", lambda reference: ("no such folder", True), raising=False)
    monkeypatch.setitem(sys.modules, "ray", cluster)
    monkeypatch.setattr(
        ray_module._Run, "_on", lambda *_, num_cpus, **__: Actor(next(results)) if num_cpus else Actor(None)
    )
    settings = EngineSettings(store=Store(tmp_path), cache=tmp_path / "cache", devices="cpu")
    run = ray_module._Run(settings, {}, {}, gpus=False)
    run._enlist()
    run._enlist()
    assert list(run.agents) == ["n0 runs"]
    present.append({"CPU": 1.0})
    run._enlist()
    assert list(run.agents) == ["n0 runs", "n1 runs"]
    run._ended("n1 runs")
    run._enlist()
    assert list(run.agents) == ["n0 runs"], "it came late: it is left out"
    with pytest.raises(UserError, match=r"^host: no such folder$"):
        run._ended("n0 runs")
    present.clear()
    with pytest.raises(UserError, match=r"^--engine ray: the cluster has no node for jobs; the same command goes on"):
        run._enlist()


class Place:
    """Where the driver is."""

    @staticmethod
    def get_node_id() -> str:
        return "n0"


class Errors:
    """Ray's."""

    class RayError(Exception):
        pass

    class RayTaskError(RayError):
        pass
