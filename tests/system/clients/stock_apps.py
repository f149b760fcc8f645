"""Runs applications that OS-Ken was released with, unchanged: their names are arguments of its manager."""

import sys

import eventlet.wsgi

# Newer versions of eventlet do not have it; only long-lived web connections would use it.
eventlet.wsgi.ALREADY_HANDLED = object()

from os_ken.cmd.manager import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
