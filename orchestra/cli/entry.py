"""The first lines that the `orchestra` command runs.

Until the rest is loaded, Ctrl-C ends the process as it ends any program, without a traceback through whatever
import it met.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> int:
    """Runs the line as `orchestra.cli.main` does; answers with the exit code."""
    from orchestra.cli.main import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    return run()
