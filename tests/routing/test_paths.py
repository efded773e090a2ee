"""One form of a path for the interpreter and the engine; engine/src/http/path.rs has the same table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.routing import outcome, paths, table


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("/admin", "/admin"), ("/%61dmin", "/admin"), ("//admin///x", "/admin/x"), ("/a%2Fb", "/a/b"),
        ("/a/%2Fb", "/a/b"), ("/%2561", "/%61"), ("/.well-known/x", "/.well-known/x"), ("/a..b/...", "/a..b/..."),
        ("*", "*"),
    ],
)  # fmt: skip
def test_spellings_of_one_path_are_one(raw: str, wanted: str) -> None:
    assert paths.normal(raw) == wanted


@pytest.mark.parametrize(
    "raw",
    ["/..", "/a/../b", "/a/./b", "/%2e%2E/b", "/a%2f..%2fb", "/a/..%2fb", "/a/..;/b", "/a/.;x=1/b", "/a\\..\\b",
     "/a%5c..", "/%00", "/%zz", "/a%", "/a%4"],
)  # fmt: skip
def test_what_could_climb_or_lie_is_refused(raw: str) -> None:
    assert paths.normal(raw) is None
    route = table.Route(id="r", listeners=("edge",), respond=table.Respond(status=200))
    structure = table.Structure(routes={"r": route})
    assert outcome.of(structure, "edge", outcome.Request(host="a", uri=raw)).status == 400


def test_the_rest_stays_as_it_came() -> None:
    assert paths.rest("/%66oo/a%2Fb", "/foo") == "/a%2Fb"
    assert paths.rest("//foo//b", "/foo") == "//b"
    assert paths.rest("/caf%C3%A9/x", "/café") == "/x"
    assert (paths.rest("/foo", "/foo"), paths.rest("/foo", "/foo/bar")) == ("", "")
    assert paths.encode("/a b/é?%") == "/a%20b/%C3%A9%3F%25"
    assert paths.of_route("/caf%C3%A9//x%") == "/café/x%"


@pytest.mark.parametrize(
    ("rewrite", "uri", "wanted"),
    [
        (table.Rewrite(path_prefix="/bar"), "/%66oo/a%2Fb", "/bar/a%2Fb"),
        (table.Rewrite(path_prefix="/bar"), "//foo//a?q", "/bar//a?q"),
        (table.Rewrite(path_prefix="/"), "/foo", "/"),
        (table.Rewrite(path_prefix="/"), "/foo/a", "/a"),
        (table.Rewrite(regex="^/foo/(.*)$", substitution="/$1"), "/foo/a%20b%3Fc", "/a%20b%3Fc"),
        (table.Rewrite(regex="^/foo/(.*)$", substitution="/$1"), "/foo/a%2Fb?q", "/a/b?q"),
    ],
)
def test_rewrites_of_odd_spellings(rewrite: table.Rewrite, uri: str, wanted: str) -> None:
    match = table.Match(path=table.PathMatch(value="/foo"))
    route = table.Route(id="r", listeners=("edge",), match=match, rewrite=rewrite)
    structure = table.Structure(routes={"r": route})
    assert outcome.of(structure, "edge", outcome.Request(host="a", uri=uri)).uri == wanted


@given(st.text(alphabet="/.;%\\ab2eEfF05é", max_size=24).map("/".__add__))
def test_a_form_is_its_own_form_and_never_climbs(raw: str) -> None:
    path = paths.normal(raw)
    if path is None:
        return
    assert "//" not in path
    assert not {".", ".."} & set(path.split("/"))
    assert paths.normal(paths.encode(path)) == path
