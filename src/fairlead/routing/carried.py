"""What this version's engine carries of things that have more forms than it knows: for translators and pages."""

from __future__ import annotations

import base64
import binascii
import re

#: how the password hashes begin that the engine computes
PASSWORDS = ("$2y$", "$2a$", "$2b$", "$6$", "$5$", "$apr1$", "$1$", "{SHA}", "{SSHA}", "{PLAIN}")
#: one of these takes a second or more: nobody's login shall keep a core for longer
MAX_COST = 14
MAX_ROUNDS = 1_000_000
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_MD5 = re.compile(r"\$(apr1|1)\$[^$]{1,8}\$.{22}")
_SHA_CRYPT = re.compile(r"\$(?:5|6)\$(?:rounds=([0-9]{1,9})\$)?[^$]{0,16}\$(?:.{43}|.{86})")


def password(word: str) -> bool:
    """Whether the engine computes a stored password of this form."""
    if word.startswith(("{SHA}", "{SSHA}")):
        digest = _decoded(word.partition("}")[2])
        return len(digest) == 20 if word.startswith("{SHA}") else len(digest) > 20
    if found := _BCRYPT.fullmatch(word):
        return 4 <= int(found[1]) <= MAX_COST
    if found := _SHA_CRYPT.fullmatch(word):
        length = len(word.rpartition("$")[2])
        return int(found[1] or 0) <= MAX_ROUNDS and length == (43 if word.startswith("$5$") else 86)
    return word.startswith("{PLAIN}") or _MD5.fullmatch(word) is not None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
