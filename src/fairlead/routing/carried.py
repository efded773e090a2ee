"""What the table can say and this version's engine does not carry yet: one list, which a test holds against the engine.

A translator must not leave such a field to be refused: a Route that is refused gives way to a less specific one, and
what guards a path would be gone. So a guard that is not carried closes its path, anything else is left out and told.
"""

from __future__ import annotations

from fairlead.routing import table

GUARDS = {
    "request": "asking another service (auth-url) is not carried by this version's engine",
    "certificate": "client certificates (auth-tls) are not carried by this version's engine",
}
ERROR_PAGES = "replacing errors by a default backend's answers is not carried by this version's engine"
SUBSET = "hashing to a subset is not carried by this version's engine; each key has one endpoint"
#: how the password hashes begin that the engine computes; slow ones would hold up a thread's other connections
PASSWORDS = ("$apr1$", "{SHA}", "{SSHA}", "{PLAIN}")


def check_guards(access: table.Access) -> None:
    """Raises ValueError for a guard that the engine does not carry."""
    for name, reason in GUARDS.items():
        if getattr(access, name) is not None:
            raise ValueError(reason)
