"""Ends a program that was started here: asked first, killed when it does not listen."""

from __future__ import annotations

import subprocess

__all__ = ["end_program"]


def end_program(program: subprocess.Popen[bytes], *, patience_s: float = 10.0) -> None:
    """Ask the program to end, wait `patience_s`, then kill it; returns when it is gone."""
    program.terminate()
    try:
        program.wait(patience_s)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()
