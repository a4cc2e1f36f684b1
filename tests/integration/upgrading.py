"""An upgrade in a process of its own, to be killed: ROOT KEY FILE [VERSION…], the versions with
which the service becomes ready.
"""

from __future__ import annotations

import sys
from pathlib import Path

from appliance.errors import BettongError
from appliance.layout import Layout
from appliance.upgrade.service import Patience
from appliance.upgrade.upgrade import Changing, upgrade
from integration.releases import Acting


def main(root: str, key: str, file: str, *ready: str) -> int:
    layout = Layout(Path(root))
    patience = Patience(ready_s=0.05, settled_s=0, look_s=0.001)
    changing = Changing(layout, Acting(layout, *ready), print, patience)
    try:
        upgrade(changing, Path(file), bytes.fromhex(key))
    except BettongError as error:
        print(error)
        return 1
    return 0


sys.exit(main(*sys.argv[1:]))
