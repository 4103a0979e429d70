"""Times that an engine tells its jobs in shared memory, and a process that ends with them."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys

import pytest

from latentbench.bench.engines.allowance import Allowance
from latentbench.bench.signals import uptime


def fork(work: str, allowance: Allowance) -> subprocess.Popen[str]:
    code = f"""
import threading, time
from latentbench.bench.engines import allowance as module
from latentbench.bench.engines.allowance import Allowance, end_with
shared = Allowance({allowance.descriptor})
{work}
"""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True, pass_fds=[allowance.descriptor]
    )


def test_what_is_told_is_known_at_once_and_elsewhere() -> None:
    allowance = Allowance.create()
    assert (allowance.until, allowance.last) == (math.inf, math.inf)
    other = Allowance(os.dup(allowance.descriptor))
    allowance.tell(1.5, 2.5)
    assert (other.until, other.last) == (1.5, 2.5)
    process = fork("print(shared.until, shared.last)", allowance)
    assert process.communicate(timeout=60)[0] == "1.5 2.5\n"
    other.close()
    allowance.close()
    allowance.close()
    with pytest.raises(ValueError, match="released"):
        allowance.tell(3.0, 4.0)


def test_without_a_limit_nothing_is_begun() -> None:
    allowance = Allowance.create()
    process = fork("end_with(shared); print(threading.active_count())", allowance)
    assert process.communicate(timeout=60)[0] == "1\n"
    allowance.close()


@pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "own"])
def test_a_process_ends_with_its_allowance(kernel: bool) -> None:
    allowance = Allowance.create()
    allowance.tell(uptime() + 60.0, uptime() + 60.0)
    without = "" if kernel else "module.KernelTimer.__init__ = lambda self: setattr(self, '_library', None)"
    process = fork(f"{without}\nend_with(shared); print(flush=True); time.sleep(60)", allowance)
    assert process.stdout is not None
    process.stdout.readline()
    told = uptime() + 0.2
    allowance.tell(told, told)
    assert process.wait(20) == -signal.SIGKILL
    assert told <= uptime() <= told + 10.0
    process.communicate()
    allowance.close()


def test_one_whose_time_is_over_does_not_begin() -> None:
    allowance = Allowance.create()
    allowance.tell(0.0, 0.0)
    process = fork("end_with(shared); time.sleep(60)", allowance)
    assert process.wait(20) == -signal.SIGKILL
    process.communicate()
    allowance.close()
