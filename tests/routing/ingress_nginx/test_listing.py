"""docs/ingress-nginx.md says what the catalogue says. `FAIRLEAD_GOLDEN=write` writes it."""

import os
import pathlib

from fairlead.routing.ingress_nginx import listing

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "ingress-nginx.md"


def test_the_page_is_the_catalogue() -> None:
    if os.environ.get("FAIRLEAD_GOLDEN") == "write":
        PAGE.write_text(listing.render())
    assert PAGE.read_text() == listing.render()
