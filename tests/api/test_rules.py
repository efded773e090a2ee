"""CEL rules of definitions: what they find, what they see of the old object, what is refused of them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.api.structural import rules

Object = dict[str, Any]


def _schema(kind: str = "object", *given: str | Object, **more: Any) -> Object:
    validations = [{"rule": one} if isinstance(one, str) else one for one in given]
    return {"type": kind, rules.KEY: validations, **more}


SIZES = {
    "min": {"type": "integer"},
    "max": {"type": "integer"},
    "name-of": {"type": "string"},
    "in": {"type": "string"},
}


@pytest.mark.parametrize(
    ("rule", "value", "good"),
    [
        ("self.min <= self.max", {"min": 1, "max": 2}, True),
        ("self.min <= self.max", {"min": 3, "max": 2}, False),
        ("!has(self.max) || self.max > 0", {"min": 3}, True),
        ("self.name__dash__of.startsWith('a')", {"name-of": "abc"}, True),
        ("self.__in__ == 'x'", {"in": "y"}, False),
        ("self.names.all(n, n.matches('^[a-z]+$'))", {"names": ["a", "B"]}, False),
        ("self.names.exists_one(n, n == 'a') && size(self.names) < 3", {"names": ["a", "b"]}, True),
        ("self.names.map(n, n.size()).sum() == 3", {"names": ["a", "bc"]}, True),
        ("'k' in self.labels && self.labels['k'].lowerAscii() == 'v'", {"labels": {"k": "V"}}, True),
        ("self.ratio >= 0.5", {"ratio": 1}, True),
        ("self.at < timestamp('2021-01-01T00:00:00Z')", {"at": "2020-06-01T00:00:00Z"}, True),
        ("isCIDR(self.range) && !isIP(self.range)", {"range": "10.0.0.0/8"}, True),
    ],
)
def test_rules(rule: str, value: Object, good: bool) -> None:
    properties = {
        **SIZES,
        "names": {"type": "array", "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "ratio": {"type": "number"},
        "at": {"type": "string", "format": "date-time"},
        "range": {"type": "string"},
    }
    schema = _schema("object", rule, properties=properties)
    assert not rules.check_definition(schema, "s")
    assert bool(rules.validate(value, schema)) is not good


def test_messages_reasons_and_field_paths() -> None:
    schema = _schema(
        "object",
        {"rule": "self.min <= self.max", "message": "min must not be over max", "fieldPath": ".min"},
        {"rule": "self.min > 0", "messageExpression": "'it is ' + string(self.min)"},
        {"rule": "self.max > 0", "reason": "FieldValueForbidden", "message": "no"},
        "self.max   > 1",
        properties=SIZES,
    )
    found = [str(one) for one in rules.validate({"min": 0, "max": -1}, schema, path="spec")]
    assert found == [
        'spec.min: Invalid value: "object": min must not be over max',
        'spec: Invalid value: "object": it is 0',
        "spec: Forbidden: no",
        'spec: Invalid value: "object": failed rule: self.max > 1',
    ]


def test_transition_rules_see_the_old_value_through_objects_maps_and_keyed_lists() -> None:
    fixed = _schema("string", "self == oldSelf")
    item = {"type": "object", "properties": {"id": {"type": "string"}, "v": fixed}}
    keyed = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"], "items": item}
    schema = {
        "type": "object",
        "properties": {
            "plain": fixed,
            "map": {"type": "object", "additionalProperties": fixed},
            "keyed": keyed,
            "atomic": {"type": "array", "items": fixed},
        },
    }
    old = {"plain": "a", "map": {"x": "a"}, "keyed": [{"id": "1", "v": "a"}], "atomic": ["a"]}
    assert not rules.validate(old, schema)
    assert not rules.validate_update(old, old, schema)
    new = {
        "plain": "b",
        "map": {"x": "b", "y": "new"},
        "keyed": [{"id": "2", "v": "new"}, {"id": "1", "v": "b"}],
        "atomic": ["b"],
    }
    assert [one.path for one in rules.validate_update(new, old, schema)] == ["plain", "map.x", "keyed[1].v"]


def test_the_root_sees_its_name_and_nothing_else_of_its_metadata() -> None:
    schema = _schema("object", "self.metadata.name == 'only'", "!has(self.metadata.labels)")
    good = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "only", "labels": {"a": "b"}}}
    assert not rules.validate(good, schema, root=True)
    assert rules.validate({**good, "metadata": {"name": "other"}}, schema, root=True)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("self.a >", "compilation failed"),
        ("isURL(self.a)", "the function isURL is not offered by fairlead"),
        ("self.?a.orValue(1) == 1", "compilation failed"),
        ("other == 1", "undeclared reference to 'other'"),
        ("self.a == '" + "x" * 9000 + "'", "may not be longer"),
        ("(" * 3000 + "self" + ")" * 3000, "compilation failed"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_the_definition(rule: str, words: str) -> None:
    (found,) = rules.check_definition(_schema("object", rule), "schema")
    assert found.path == "schema.x-kubernetes-validations[0].rule" and words in str(found)


def test_a_rule_that_fails_is_a_problem_and_no_crash() -> None:
    schema = _schema("object", "self.l[5] == 1", "1 / self.n == 1", "self.s.matches('[')", "self.missing == 1")
    found = rules.validate({"l": [], "n": 0, "s": "x"}, schema)
    assert len(found) == 4 and all("rule evaluation error" in str(one) for one in found)


def test_costly_rules_are_refused_quickly() -> None:
    rule = "self.l.all(x, self.l.all(y, self.l.all(z, x + y + z >= 0)))"
    begin = time.process_time()
    (found,) = rules.validate({"l": list(range(3000))}, _schema("object", rule))
    assert time.process_time() - begin < 1 and "too many elements" in str(found)
    assert not rules.validate({"l": [1, 2]}, _schema("object", rule))
    literal = "[" + ",".join("0123456789") + "].all(x, "
    (found,) = rules.validate({}, _schema("object", literal * 8 + "true" + ")" * 8))
    assert "too many elements" in str(found)


@given(st.text(alphabet="self.abx()[]{}'\"+-*/%<>=!&|?:,01 \\n", max_size=40) | st.text(max_size=20))
def test_whatever_stands_in_a_rule_it_is_refused_or_answered(text: str) -> None:
    schema = _schema("object", text, properties={"a": {"type": "array", "items": {"type": "integer"}}})
    if not rules.check_definition(schema, "s"):
        rules.validate({"a": [1, 2]}, schema)
        rules.validate_update({"a": [1, 2]}, {"a": [1]}, schema)
