"""Takes away what Windows lacks, in every process whose PYTHONPATH names this folder, before anything is imported."""

import os
import signal
import sys

for name in ("fcntl", "resource", "termios", "pty", "tty"):
    sys.modules[name] = None  # importing it fails
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"):
    delattr(signal, name)
for name in ("fork", "forkpty", "O_NOFOLLOW", "O_CLOEXEC", "sched_getaffinity", "getloadavg", "setsid"):
    delattr(os, name)
