"""Checks that a unit's SystemCallFilter allows every system call in a trace of strace -f.

Usage: syscalls.py UNIT TRACE.
"""

import re
import subprocess
import sys


def members(name):
    """The system calls of a set such as @system-service, sets within it included."""
    if not name.startswith("@"):
        return {name}
    text = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    # The first line is the name of the set; others are comments, sets and calls.
    names = [line.strip() for line in text.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*(members(each) for each in names))


def allowed(unit):
    """What all lines of the filter together allow."""
    calls = set()
    with open(unit, encoding="utf-8") as file:
        for line in file:
            if line.startswith("SystemCallFilter="):
                names = line.strip().partition("=")[2]
                listed = set().union(*(members(name) for name in names.removeprefix("~").split()))
                calls = calls - listed if names.startswith("~") else calls | listed
    return calls


def main():
    unit, trace = sys.argv[1:]
    with open(trace, encoding="utf-8", errors="replace") as file:
        made = {found[1] for found in (re.match(r"\d+ +(\w+)\(", line) for line in file) if found}
    # exec itself is done by systemd before the filter is complete.
    forbidden = made - allowed(unit) - {"execve"}
    if forbidden or len(made) < 20:
        raise SystemExit(f"FAIL: {len(made)} system calls were seen; forbidden by {unit}: {sorted(forbidden)}")
    print(f"ok: {len(made)} different system calls, each allowed by {unit.rpartition('/')[2]}")


main()
