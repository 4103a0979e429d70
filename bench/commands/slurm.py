"""`latentbench slurm`: a suite as an array of a cluster's jobs. Torch-free."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from ..console import complain
from .options import device_options, lease, named_path, positive, seconds, suite_options

REQUEUES = 100
HELP = "plan a suite, and submit an array of SLURM jobs that do it together (extra [slurm])"


def add_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    suite_options(command)
    command.add_argument(
        "--out", metavar="DIR", type=named_path, help="where records go, seen by all nodes (default: runs/<suite>)"
    )
    command.add_argument("--machines", type=positive, default=1, metavar="N", help="elements of the array (default: 1)")
    command.add_argument("--minutes", type=positive, default=1440, metavar="M", help="each one's time (default: a day)")
    command.add_argument("--gpus", type=positive, metavar="N", help="of each")
    command.add_argument("--cpus", type=positive, metavar="N", help="of each")
    command.add_argument("--memory", type=positive, metavar="GB", help="of each")
    command.add_argument("--partition", metavar="NAME", help="the cluster's partition")
    command.add_argument(
        "--requeues",
        type=positive,
        default=REQUEUES,
        metavar="N",
        help=f"how often an element that has used up its minutes goes on in a new job (default: {REQUEUES})",
    )
    command.add_argument("--account", metavar="NAME", help="the account that pays")
    command.add_argument(
        "--cluster", choices=("slurm", "local"), default="slurm", help="local: processes of this machine"
    )
    command.add_argument("--checkpoint-seconds", type=seconds, default=30.0, metavar="S", help="see `run`")
    command.add_argument("--lease", type=lease, default=60.0, metavar="S", help="see `run`")
    device_options(command)


def run(arguments: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from ..runner import run_suite
    from ..slurm import FOLDER, check, submit, wait
    from ..suite import load_suite

    suite = load_suite(arguments.suite, arguments.sets)
    cluster = {"cluster": arguments.cluster, "requeues": arguments.requeues}
    cluster |= {"parameters": _parameters(arguments, suite.name)}
    check(**cluster)  # before anything is planned
    outcome = run_suite(
        arguments.suite,
        sets=arguments.sets,
        out=arguments.out,
        engine="leases",
        devices="cpu",  # this machine only plans
        checkpoint_seconds=arguments.checkpoint_seconds,
        imports=arguments.imports,
        lease_seconds=arguments.lease,
        plan_only=True,
    )
    more = ["--devices", arguments.devices]
    if arguments.jobs_per_device is not None:
        more += ["--jobs-per-device", str(arguments.jobs_per_device)]
    jobs = submit(
        outcome.root,
        machines=arguments.machines,
        arguments=tuple(more),
        **cluster,
    )
    for job in jobs:
        print(f"submitted {job.job_id}")
    named = shlex.quote(str(outcome.root))
    complain(f"what they print: {outcome.root / FOLDER}; how far they are: latentbench status {named}")
    return 0 if arguments.cluster == "slurm" else wait(jobs)


def _parameters(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """For `submitit.AutoExecutor.update_parameters`."""
    known = {
        "name": f"latentbench-{name}",
        "timeout_min": arguments.minutes,
        "gpus_per_node": arguments.gpus,
        "cpus_per_task": arguments.cpus,
        "mem_gb": arguments.memory,
        "slurm_partition": arguments.partition,
        "slurm_account": arguments.account,
    }
    return {name: value for name, value in known.items() if value is not None}
