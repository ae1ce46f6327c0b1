"""The command ``footseg``, and ``python -m footseg``."""

import signal
import sys


def main() -> int:
    """Run the command line; Ctrl-C while it is still being imported just ends the process.

    In the middle of an import it would show a traceback, or be swallowed there.
    """
    heeded = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN  # a job in a shell's background ignores it
    if heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from footseg import cli

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
