"""The cases of ingress-nginx' own end-to-end tests, by the interpreter of the table; tests/system asks the engine."""

import os

import pytest

from tests.routing import ingress_nginx_walk as walk

ROWS = walk.rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_requests_are_answered_as_the_table_says(row: walk.Row) -> None:
    made, told = walk.structure(row)
    assert row.case.asks, "a case that is executed asks something"
    assert [one for ask in row.case.asks for one in walk.contradictions(made, ask, row.case.empty)] == []
    assert sorted(told) == sorted(row.case.problems)


def test_each_case_that_is_not_the_same_says_why() -> None:
    assert [one.case for file in walk.files() for one in file.cases if one.verdict != "same" and not one.why] == []


def test_the_page_is_the_table() -> None:
    if os.environ.get("FAIRLEAD_GOLDEN") == "write":
        walk.PAGE.write_text(walk.page())
    assert walk.PAGE.read_text() == walk.page()
