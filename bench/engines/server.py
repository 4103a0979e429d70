"""The fork server: a process with torch imported that forks one child per job, and has touched no GPU.

Started as `python -P -m latentbench.bench.engines.server PARENT IMPORTS ALLOWANCE`: the engine's process id, a JSON
list of `bench.imports.Import` and the file descriptor of an `Allowance`, after which all children are ended: others may
take over what they do. Reads one line of JSON per job on standard input: {"job", "attempt", "request"} (see
`bench.worker_protocol`); writes one per child that ended on standard output: {"job", "attempt", "status"}, where
`status` is its exit code or minus the signal that killed it. {"stop": true} asks all children to checkpoint and end;
the end of input kills them, so nothing outlives the engine, however it died. {"dump": job} has a child write where it
is into its log, {"kill": job} ends it, {"ping": true} is answered by {"pong": true}. {"error": text}: an import failed.

Not `multiprocessing`'s forkserver, although its children start as fast (0.04 to 0.06 s with torch preloaded): it runs
the caller's script again in every child, so that a script without `if __name__ == "__main__"` fails. And it is one per
process, shared with whatever else the caller forks, and its death looks like that of a job (exit code 255).
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import json
import os
import select
import signal
import sys
import traceback
from typing import IO, Any

from ...results.errors import UserError
from ...results.garbage import no_collections
from ...tokenizers.answers import keep_for_answers
from ..imports import Import, repeat_imports
from ..signals import die_with_parent, uptime
from .allowance import Allowance, end_with

_answers: IO[str] = sys.stdout


def main() -> None:
    """Serve until standard input ends."""
    # The engine decides what an interrupt means. A cluster sends SIGTERM to the whole group: it is blocked rather than
    # ignored, so that one that reaches a child in its first moment waits until it can be taken.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent(int(sys.argv[1]))
    allowance = Allowance(int(sys.argv[3]))
    global _answers
    _answers = keep_for_answers()
    # Every job is forked from here: what is imported now costs a job nothing.
    from .. import worker

    try:
        with no_collections():
            worker.preload()
            repeat_imports(Import(**item) for item in json.loads(sys.argv[2]))
    except UserError as error:
        _emit({"error": str(error)})
        return
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
        readable, _, _ = select.select([0, wake], [], [], 1.0)
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
                elif message.get("ping"):
                    _emit({"pong": True})
                elif "dump" in message:
                    _signal(message["dump"], children, signal.SIGUSR1, signal.SIGCONT)
                elif "kill" in message:
                    _signal(message["kill"], children, signal.SIGKILL)
                else:
                    _start(message, children, allowance)
        if uptime() > allowance.until:
            _kill(children, signal.SIGKILL)


def _start(message: dict[str, Any], children: dict[int, dict[str, Any]], allowance: Allowance) -> None:
    with contextlib.suppress(Exception):  # the job meets it again, and records it
        _preload(message["request"]["job"])
    server = os.getpid()
    pid = os.fork()
    if pid:
        children[pid] = {"job": message["job"], "attempt": message["attempt"]}
        return
    status = os.EX_SOFTWARE
    try:
        die_with_parent(server)
        end_with(allowance)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        from .. import worker, worker_protocol

        try:
            _to_log(message["request"]["log"])
        except OSError:
            os._exit(worker_protocol.UNWRITABLE)
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)  # where it hangs, into its log
        status = worker.work(message["request"])
    except BaseException:
        with contextlib.suppress(OSError):
            traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _preload(job: dict[str, Any]) -> None:
    """Import what `job` and others of its kind need. What is new is no garbage: children share its memory."""
    from .. import worker

    before = len(sys.modules)
    with no_collections():
        worker.preload_for(job["kind"], job["config"], job["runtime"])
    if len(sys.modules) > before:
        gc.freeze()


def _to_log(path: str) -> None:
    """Send the child's output to its own log, and detach it from the server's pipes."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    _answers.close()


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


def _signal(job: str, children: dict[int, dict[str, Any]], *numbers: signal.Signals) -> None:
    for pid, child in children.items():
        if child["job"] == job:
            for number in numbers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)


def _emit(event: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the engine has gone: the end of input says so too
        os.write(_answers.fileno(), json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    main()
    # What ends the process here is done; to take torch apart, module by module, would have the command wait for it.
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)
