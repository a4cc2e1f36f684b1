"""Where the frozen program begins: what the way it was started must not leave behind is put right,
then it is a worker or the command line, as `python -m appliance` is.
"""

from __future__ import annotations

from appliance import frozen
from appliance.__main__ import run

frozen.begin()
run()
