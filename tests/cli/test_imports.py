"""Start-up time is a promise: what `up` imports before it starts a cluster is a list, and growing it is a decision."""

from __future__ import annotations

import json
import subprocess
import sys

ALLOWED = {
    "aiohappyeyeballs",
    "aiohttp",
    "aiosignal",
    "attr",
    "attrs",
    "click",
    "cython_runtime",
    "fairlead",
    "frozenlist",
    "idna",
    "msgspec",
    "multidict",
    "propcache",
    "typing_extensions",
    "uvloop",
    "yaml",
    "yarl",
}

LIST = """
import json, sys
before = set(sys.modules)  # a machine's sitecustomize, as Debian has one, and what that imports
import fairlead.cli.up, fairlead.cli.serve
known = set(sys.stdlib_module_names)
names = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(name for name in names - known if not name.startswith("_"))))
"""


def test_up_imports_nothing_that_is_not_listed() -> None:
    done = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) <= ALLOWED
