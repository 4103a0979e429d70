"""The fork server: a process with torch imported that forks one child per job, and has touched no GPU.

Started as `python -P -m latentbench.bench.engines.server`. Reads one order per line on standard input (JSON: see
`worker.Order`), writes one event per line on standard output: {"job", "attempt", "status"} when a child ended, where
`status` is its exit code or minus the signal that killed it. An order {"stop": true} asks all children to checkpoint and end;
the end of input kills them, so nothing outlives the engine, however it died.
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
    die_with_parent()
    # Started anew for every job by fork: what is imported here costs a job nothing.
    from .. import worker

    worker.preload()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides what an interrupt means
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
                order = json.loads(line)
                if order.get("stop"):
                    _kill(children, signal.SIGTERM)
                else:
                    _start(order, children)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere the end of input does it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _start(order: dict[str, Any], children: dict[int, dict[str, Any]]) -> None:
    server = os.getpid()
    pid = os.fork()
    if pid:
        children[pid] = order
        return
    status = 1
    try:
        die_with_parent()
        if os.getppid() != server:  # the server died between fork and prctl
            os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _to_log(order["log"])
        from .. import worker

        status = worker.work(order)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _to_log(path: str) -> None:
    """Send the child's output to its own log, and detach it from the server's pipes."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
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
        order = children.pop(pid, None)
        if order is not None:
            _emit({"job": order["job"], "attempt": order["attempt"], "status": os.waitstatus_to_exitcode(status)})


def _kill(children: dict[int, dict[str, Any]], number: signal.Signals) -> None:
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _emit(event: dict[str, Any]) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    main()
