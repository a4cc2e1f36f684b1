"""What holds for every test: no deadline on shared cores, the same examples in every CI run, and,
under BETTONG_SANITIZE=1, the certainty that it is the sanitised module that is tested."""

from __future__ import annotations

import os

import pytest
from hypothesis import Phase, settings

settings.register_profile("local", deadline=None)
# Without shrinking: a failing example is printed as it was found, in seconds instead of minutes.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "local")


@pytest.fixture(scope="session", autouse=True)
def the_sanitised_module() -> None:
    if os.environ.get("BETTONG_SANITIZE") == "1":
        from appliance import _native

        assert "build/sanitize" in str(_native.__file__), (
            "the sanitised module is not the one loaded"
        )
