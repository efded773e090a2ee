"""Whatever text or object comes, decoding, selectors, quantities and patches answer or refuse; they never break."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fairlead.api import patch as patches
from fairlead.api import quantity, selectors
from fairlead.api.managed import fields_v1, managers, walk
from fairlead.api.patch import json_patch, merge, strategic
from fairlead.api.schema import pack
from fairlead.api.structural import defaulting, pruning, validation
from fairlead.apiserver import codec
from fairlead.client import errors

TEXT = st.text(max_size=40)
SELECTORS = st.text(alphabet="ab=!<>,() inot.-/", max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=10,
)
OBJECT = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)
DEPLOYMENT = pack.definitions()[pack.definition_of("apps", "v1", "Deployment")]


@given(SELECTORS | TEXT)
def test_selectors(text: str) -> None:
    with contextlib.suppress(selectors.SelectorError):
        selector = selectors.parse(text)
        assert selectors.parse(str(selector)).matches({"a": "b"}) == selector.matches({"a": "b"})
    with contextlib.suppress(selectors.SelectorError):
        selectors.field_test(text)({"a": "b"})


@given(st.text(alphabet="0123456789.eE+-KMGTPimun", max_size=12) | TEXT)
def test_quantities(text: str) -> None:
    with contextlib.suppress(quantity.QuantityError):
        quantity.milli(text)


@given(st.binary(max_size=120), st.sampled_from(["application/json", "application/yaml", codec.PROTOBUF]))
def test_bodies(body: bytes, kind: str) -> None:
    try:
        codec.parse(body, kind)
    except errors.ApiError as error:
        assert 400 <= error.code < 500


@given(st.text(alphabet="a: -&*[]{}\n|>'\"!#%", max_size=60))
def test_yaml(text: str) -> None:
    try:
        codec.parse(text.encode(), "application/yaml")
    except errors.ApiError as error:
        assert error.code == 400


@given(OBJECT, JSON)
def test_merge_patch_is_idempotent(target: dict[str, Any], patch: Any) -> None:
    once = merge.apply(target, patch)
    assert merge.apply(once, patch) == once


@given(
    OBJECT,
    st.lists(
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
                "path": st.sampled_from(["", "/a", "/a/b", "/a/0", "/b/-", "/c/d/0", "/~0"]),
            },
            optional={"value": JSON, "from": st.sampled_from(["/a", "/b/0", ""])},
        ),
        max_size=4,
    ),
)
def test_json_patch_leaves_its_target_alone(target: dict[str, Any], operations: list[dict[str, Any]]) -> None:
    before = codec.encode(target)
    with contextlib.suppress(patches.PatchError):
        json_patch.apply(target, operations)
    assert codec.encode(target) == before


@given(OBJECT, OBJECT)
def test_strategic_patch(target: dict[str, Any], patch: dict[str, Any]) -> None:
    before = codec.encode(target)
    with contextlib.suppress(patches.PatchError):
        strategic.apply({"spec": target}, {"spec": patch}, DEPLOYMENT)
    assert codec.encode(target) == before


@given(OBJECT, OBJECT)
def test_applying_merges_what_was_applied(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    merged = walk.merge(live, wanted, {})
    values = walk.leaves(merged, {})
    for path, value in walk.leaves(wanted, {}).items():
        if value != {}:
            assert values[path] == value
    fields = frozenset(walk.leaves(wanted, {}))
    assert fields_v1.decode(fields_v1.encode(fields)) == fields
    me = managers.Manager("me", "Apply", "v1", "now", frozenset())
    again = managers.apply(merged, wanted, managers.apply(live, wanted, [], me, {}).managers, me, {})
    assert not again.conflicts


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "object", "properties": {"b": {"type": "string", "default": "x"}}},
        "b": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}},
        "c": {"x-kubernetes-int-or-string": True},
        "d": {"type": "object", "additionalProperties": {"type": "string", "pattern": "^a"}},
    },
}


@given(OBJECT)
def test_structural_schemas(obj: dict[str, Any]) -> None:
    pruned = pruning.prune(obj, SCHEMA, [])
    assert pruning.prune(pruned, SCHEMA, []) == pruned
    defaulting.fill(pruned, SCHEMA)
    once = codec.encode(pruned)
    defaulting.fill(pruned, SCHEMA)
    assert codec.encode(pruned) == once
    validation.validate(pruned, SCHEMA)
