"""`python -m appliance`: the command line; and the way a supervisor starts a worker.

A worker must start lean, so nothing of the command line is imported for it.
"""

from __future__ import annotations

import sys


def run() -> None:
    """Whichever it is."""
    if sys.argv[1:2] == ["worker"]:
        from appliance.worker.main import main as worker_main

        worker_main(sys.argv[2:])
    from appliance.cli.main import main

    sys.exit(main())


if __name__ == "__main__":
    run()
