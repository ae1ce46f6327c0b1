"""The command ``footseg``, and ``python -m footseg``."""

import signal
import sys


def main() -> int:
    """Run the command line; Ctrl-C before a command has begun, or after its end, just ends the process.

    In the middle of an import it would show a traceback, or be swallowed there.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a job in a shell's background ignores it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from footseg import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
