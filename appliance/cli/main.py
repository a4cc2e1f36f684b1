"""`bettong`: the entry point. Exit codes: 0 done, 1 failed or findings, 2 wrong use, 3 the
environment (port, disk, permission), 78 a bad flow file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from appliance.cli import version


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. `arguments`: without the program's name."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in (["version"], ["--version"], ["-V"]):
        return version.show()
    if words[:1] == ["worker"]:  # frozen, a worker is this very program
        from appliance.worker.main import main as worker_main

        worker_main(words[1:])
    return _command(words)


def _command(words: list[str]) -> int:
    import click

    from appliance.cli.commands import commands
    from appliance.errors import BettongError

    try:
        result = commands.main(words, prog_name="bettong", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 1
    except BettongError as error:
        print(error, file=sys.stderr)
        return error.code
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return result if isinstance(result, int) else 0
