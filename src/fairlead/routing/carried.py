"""What this version's engine carries of things that have more forms than it knows: for translators and pages."""

from __future__ import annotations

#: how the password hashes begin that the engine computes; slow ones would hold up a thread's other connections
PASSWORDS = ("$apr1$", "{SHA}", "{SSHA}", "{PLAIN}")
