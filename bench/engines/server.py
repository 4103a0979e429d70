"""The fork server: a process with torch imported that forks one child per job, and has touched no GPU.

Started as `python -P -m latentbench.bench.engines.server`. Reads one line of JSON per job on standard input: {"job",
"attempt", "order"} (see `bench.worker_protocol`); writes one per child that ended on standard output: {"job",
"attempt", "status"}, where `status` is its exit code or minus the signal that killed it. {"stop": true} asks all
children to checkpoint and end; the end of input kills them, so nothing outlives the engine, however it died.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import sys
import traceback
from typing import Any

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides what an interrupt means
    die_with_parent()
    # Started anew for every job by fork: what is imported here costs a job nothing.
    from .. import worker

    worker.preload()
    gc.freeze()
    wake, poke = os.pipe()
    for end in (wake, poke):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(poke, warn_on_full_buffer=False)
    _emit({"ready": True})
    children: dict[int, dict[str, Any]] = {}
    pending = b""
    while True:
        readable, _, _ = select.select([0, wake], [], [])
        if wake in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            _reap(children)
        if 0 in readable:
            data = os.read(0, 65536)
            if not data:
                _kill(children, signal.SIGKILL)
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if message.get("stop"):
                    _kill(children, signal.SIGTERM)
                else:
                    _start(message, children)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere the end of input does it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _start(message: dict[str, Any], children: dict[int, dict[str, Any]]) -> None:
    server = os.getpid()
    pid = os.fork()
    if pid:
        children[pid] = {"job": message["job"], "attempt": message["attempt"]}
        return
    status = os.EX_SOFTWARE
    try:
        die_with_parent()
        if os.getppid() != server:  # the server died between fork and prctl
            os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        from .. import worker, worker_protocol

        try:
            _to_log(message["order"]["log"])
        except OSError:
            os._exit(worker_protocol.UNWRITABLE)
        status = worker.work(message["order"])
    except BaseException:
        with contextlib.suppress(OSError):
            traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _to_log(path: str) -> None:
    """Send the child's output to its own log, and detach it from the server's pipes."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _reap(children: dict[int, dict[str, Any]]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        child = children.pop(pid, None)
        if child is not None:
            _emit(child | {"status": os.waitstatus_to_exitcode(status)})


def _kill(children: dict[int, dict[str, Any]], number: signal.Signals) -> None:
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _emit(event: dict[str, Any]) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    main()
