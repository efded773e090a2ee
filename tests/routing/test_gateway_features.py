"""Gateway API's features in the words of the routing table: tests/golden/gateway/features.yaml on the interpreter.

`FAIRLEAD_GOLDEN=write` writes docs/gateway-api.md. The engine has the same file: tests/system/test_gateway_features.py.
"""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from fairlead.routing import outcome
from tests.routing import gateway_features

FEATURES = gateway_features.load()
PAGE = gateway_features.ROOT / "docs" / "gateway-api.md"
EXPRESSED = [one for one in FEATURES if "not" not in one]


@pytest.mark.parametrize("one", EXPRESSED, ids=lambda one: one["feature"])
def test_the_interpreter_does_what_the_feature_says(one: dict[str, Any]) -> None:
    structure = gateway_features.structure(one)
    for line in one.get("asks", ()):
        asked = gateway_features.parse(line)
        found = outcome.of(structure, asked.listener, asked.request)
        if asked.status:
            assert (found.status, found.location) == (asked.status, asked.location), line
        else:
            wanted = (((asked.backend, 1),), asked.uri, asked.host or asked.request.host)
            assert (found.backends, found.uri, found.host) == wanted, line


def test_each_feature_is_said_once_and_is_checked_or_has_a_reason() -> None:
    names = [one["feature"] for one in FEATURES]
    assert len(names) == len(set(names))
    assert all(one.get("asks") or one.get("proof") for one in EXPRESSED)
    assert all(one["not"] for one in FEATURES if one not in EXPRESSED)


def test_the_proofs_are_tests_of_the_engine() -> None:
    tests = gateway_features.ROOT / "engine" / "src" / "tests"
    if not tests.is_dir():
        pytest.skip("installed without the engine's source")
    known = set(re.findall(r"#\[test\]\nfn (\w+)\(", "".join(path.read_text() for path in tests.rglob("*.rs"))))
    assert {one["proof"] for one in FEATURES if "proof" in one} - known == set()


def test_the_page_is_the_list() -> None:
    if os.environ.get("FAIRLEAD_GOLDEN") == "write":
        PAGE.write_text(gateway_features.page(FEATURES))
    assert PAGE.read_text() == gateway_features.page(FEATURES)
