"""A service manager in small: holds two sockets of loopback over all lives of a program, which it hands them to by the
protocol of systemd's socket activation (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES).

Usage: activated.py PROGRAM ARGUMENTS... On SIGHUP it ends the program by SIGTERM and begins it anew, and writes a line;
on SIGTERM it ends it for good, with its status. A life that ends in another way than by 0 ends it too.
"""

import fcntl
import os
import signal
import socket
import sys


def held():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(socket.SOMAXCONN)
    return listener


def begin(sockets, arguments):
    """Starts a life; it has the sockets as 3 and 4."""
    pid = os.fork()
    if pid:
        return pid
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
    # Elsewhere first: they may be 3 and 4 already, the other way round.
    away = [fcntl.fcntl(listener, fcntl.F_DUPFD_CLOEXEC, 10) for listener in sockets]
    for place, descriptor in enumerate(away, start=3):
        os.dup2(descriptor, place, inheritable=True)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "grpc:http"}
    os.execv(arguments[0], arguments)


def end(pid):
    os.kill(pid, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


TOLD = {signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)
sockets, arguments, lives = [held(), held()], sys.argv[1:], 1
pid = begin(sockets, arguments)
while True:
    told = signal.sigwait(TOLD)
    if told == signal.SIGCHLD:
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            sys.exit(f"the program ended by itself: {os.waitstatus_to_exitcode(status)}")
        continue
    status = end(pid)
    if told == signal.SIGTERM or status != 0:
        sys.exit(status)
    pid, lives = begin(sockets, arguments), lives + 1
    print(f"life {lives}", flush=True)
