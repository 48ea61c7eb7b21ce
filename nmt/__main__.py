"""`python -m nmt` and the `nmt` command."""

import os
import sys


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    from nmt.cli import run
    from nmt.cli_errors import leave

    code = run(sys.argv[1:])
    leave(code)
    sys.exit(code)


def _leave_working_folder() -> None:
    """Takes out the entry that `-m` put first, or a random.py in the working folder would be imported as Python's.

    Where nmt itself is imported from there (a checkout that is not installed), the entry goes to the end, behind
    everything that it could shadow: worker processes need it.
    """
    folder = os.getcwd()
    if sys.path and os.path.realpath(sys.path[0] or ".") == os.path.realpath(folder):
        entry = sys.path.pop(0) or folder
        if os.path.realpath(os.path.dirname(os.path.dirname(__file__))) == os.path.realpath(entry):
            sys.path.append(entry)


if __name__ == "__main__":
    if not sys.flags.safe_path:
        _leave_working_folder()
    main()
