"""Selectors answer as Kubernetes' do."""

import pytest

from fairlead.api import selectors

LABELS = {"app": "web", "tier": "front", "gen": "4"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app!=web", False),
        ("other!=web", True),
        ("app in (web, api)", True),
        ("app notin (web)", False),
        ("other notin (web)", True),
        ("app", True),
        ("!app", False),
        ("! other", True),
        ("gen>3,gen<5", True),
        ("gen>4", False),
        ("app=", False),
    ],
)
def test_selector_text_matches(text: str, expected: bool) -> None:
    assert selectors.parse(text).matches(LABELS) is expected


@pytest.mark.parametrize("text", ["a,,b", "a in (b", "a in b)", "=x", "gen>x", "a b"])
def test_a_broken_selector_is_refused(text: str) -> None:
    with pytest.raises(selectors.SelectorError):
        selectors.parse(text)


def test_nil_selects_nothing_and_empty_selects_everything() -> None:
    assert not selectors.from_object(None).matches(LABELS)
    assert selectors.from_object({}).matches(LABELS)


def test_match_expressions() -> None:
    selector = selectors.from_object(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["front", "back"]},
                {"key": "x", "operator": "DoesNotExist"},
            ],
        }
    )
    assert selector.matches(LABELS)
    assert str(selector) == "app=web,tier in (back,front),!x"
    assert selectors.parse(str(selector)).matches(LABELS)


def test_an_operator_without_values_is_refused_with_its_path() -> None:
    with pytest.raises(selectors.SelectorError, match=r"matchExpressions\[0\]\.values"):
        selectors.from_object({"matchExpressions": [{"key": "a", "operator": "In"}]})


def test_field_selectors() -> None:
    pod = {"metadata": {"name": "a"}, "spec": {"hostNetwork": True}, "status": {"phase": "Running"}}
    assert selectors.field_test("metadata.name=a,status.phase!=Failed")(pod)
    assert selectors.field_test("spec.hostNetwork=true")(pod)
    assert selectors.field_test("spec.nodeName=")(pod)
    assert not selectors.field_test("metadata.name=b")(pod)
