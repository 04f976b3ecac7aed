"""Sides for the harness's own tests: small work with known cost, in processes of their own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time

from benchmarks.harness import Work, measured, measured_between

BURN = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"

ENDLESS = "import signal; signal.pause()  # side of a benchmark that never ends"


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


def sum_by_formula(n: int) -> Work:
    return Work(_digest(n * (n - 1) // 2), {"n": n})


def sum_by_loop(n: int) -> Work:
    total = 0
    for i in range(n):
        total += i
    return Work(_digest(total), {"n": n})


def sum_off_by_one(n: int) -> Work:
    return Work(_digest(n * (n + 1) // 2))


def slow_start_quick_work(n: int) -> Work:
    time.sleep(0.5)
    with measured():
        total = sum(range(n))
    time.sleep(0.5)
    return Work(_digest(total))


def burn_one_second_then_half(n: int) -> Work:
    subprocess.run([sys.executable, "-c", BURN.format(seconds=1.0)], check=True)
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", BURN.format(seconds=0.5)], check=True)
    end = time.monotonic()
    measured_between(begin, end)
    return Work(_digest(n), {"second_part_s": end - begin})


def burn_in_grandchild(n: int) -> Work:
    """0.6 CPU seconds in a child's child that nobody waits for before it has used them."""
    code = BURN.format(seconds=0.6)
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
    subprocess.run([sys.executable, "-c", outer], check=True)
    return Work(_digest(n))


def hold_64_mib(n: int) -> Work:
    held = bytearray(64 * 2**20)
    held[:: 2**12] = b"x" * len(held[:: 2**12])
    time.sleep(0.5)
    return Work(_digest((n, len(held))))


def fail(n: int) -> Work:
    raise ValueError(f"cannot do {n}")


def never_end(n: int) -> Work:
    subprocess.run([sys.executable, "-c", ENDLESS], check=True)
    return Work(_digest(n))


def leave_a_note(place: str) -> Work:
    with open(place, "a") as note:
        note.write("prepared ")
    return Work("")


def read_the_note(place: str) -> Work:
    with open(place) as note:
        return Work(note.read())
