"""Answers on standard output, and nothing else there."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, sys
from latentbench.tokenizers.answers import keep_for_answers

print("before")
answers = keep_for_answers()
print("loud")
os.system("echo louder")
os.write(1, b"loudest\\n")
print("answer", file=answers, flush=True)
"""


def test_only_answers_reach_standard_output() -> None:
    done = subprocess.run([sys.executable, "-P", "-u", "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "before\nanswer\n"
    assert done.stderr == "loud\nlouder\nloudest\n"
