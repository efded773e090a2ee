"""The kept corpus: inputs that break decoders, patches, selectors and quantities elsewhere or once broke ours. What
Hypothesis finds is added here. Each is answered or refused, and never takes long."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest

from fairlead.api import patch as patches
from fairlead.api import quantity, selectors
from fairlead.api.patch import json_patch, merge, strategic
from fairlead.api.schema import pack
from fairlead.apiserver import codec
from fairlead.client import errors

CORPUS: dict[str, list[Any]] = json.loads(Path(__file__).with_name("corpus.json").read_text())
SECONDS = 0.2
POD = pack.definitions()[pack.definition_of("", "v1", "Pod")]


@pytest.fixture(autouse=True)
def _quick() -> Any:
    begin = time.process_time()
    yield
    assert time.process_time() - begin < SECONDS


@pytest.mark.parametrize("text", CORPUS["json"] + CORPUS["yaml"])
@pytest.mark.parametrize("kind", ["application/json", "application/yaml", "application/apply-patch+yaml"])
def test_bodies(text: str, kind: str) -> None:
    try:
        value = codec.parse(text.encode(), kind)
    except errors.ApiError as error:
        assert error.code == 400 and error.status["message"]
    else:
        codec.encode(value)


@pytest.mark.parametrize("text", CORPUS["selectors"])
def test_selectors(text: str) -> None:
    for parse in (selectors.parse, selectors.field_test):
        try:
            found = parse(text)
        except selectors.SelectorError as error:
            assert str(error)
        else:
            (found.matches if isinstance(found, selectors.Selector) else found)({})  # type: ignore[operator]


@pytest.mark.parametrize("text", CORPUS["quantities"])
def test_quantities(text: str) -> None:
    try:
        quantity.milli(text)
    except quantity.QuantityError as error:
        assert str(error)


@pytest.mark.parametrize("patch", CORPUS["patches"], ids=json.dumps)
def test_patches(patch: Any) -> None:
    target = {"a": {"x": 1}, "b": [1, 2], "spec": {"containers": [{"name": "a", "image": "b"}]}}
    for apply in (
        lambda obj: json_patch.apply(obj, patch),
        lambda obj: strategic.apply(obj, patch, POD),
        lambda obj: strategic.apply(obj, {"spec": patch}, POD),
        lambda obj: merge.apply(obj, patch),
    ):
        given = copy.deepcopy(target)
        try:
            codec.encode(apply(given))
        except patches.PatchError as error:
            assert str(error)
        assert given == target
