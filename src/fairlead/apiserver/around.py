"""What admission may look at while one request is decided: other objects, addresses, the clock, who asks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from fairlead.apiserver import addresses, codec, rbac, requests
from fairlead.base import clock as clocks
from fairlead.client import exchange
from fairlead.store import protocol

Object = dict[str, Any]
LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class Around:
    """`behaviours.base.Surroundings` for one request."""

    def __init__(
        self,
        store: protocol.Store,
        allocator: addresses.Allocator,
        clock: clocks.Clock,
        source: random.Random,
        *,
        info: requests.Info,
        node_name: str,
        authorizer: rbac.Authorizer,
    ) -> None:
        self._authorizer = authorizer
        self._store = store
        self._allocator = allocator
        self._clock = clock
        self._random = source
        self._info = info
        self.node_name = node_name

    def get(self, bucket: str, namespace: str, name: str) -> Object | None:
        """The object, which is shared: not to be changed."""
        entry = self._store.head(f"{bucket}/{namespace}/{name}")
        return codec.shared(entry.value) if entry else None

    def list(self, bucket: str, namespace: str = "") -> Sequence[Object]:
        prefix = f"{bucket}/{namespace}/" if namespace else f"{bucket}/"
        return [codec.decode(entry.value) for entry in self._store.page(prefix).entries]

    def exists(self, key: str) -> bool:
        """Whether a key is taken, by a durable write or one on its way."""
        return self._store.head(key) is not None

    def may(self, asked: rbac.Attributes) -> bool:
        return self._authorizer.allowed(self._info.identity, asked)

    def own_rules(self, namespace: str) -> Sequence[Object]:
        return list(self._authorizer.rules(self._info.identity, namespace))

    def now(self) -> float:
        return self._clock.now()

    def random_name(self, length: int) -> str:
        number, found = self._random.getrandbits(8 * length + 32), ""  # one question to the system, not one a letter
        for _ in range(length):
            number, letter = divmod(number, len(LETTERS))
            found += LETTERS[letter]
        return found

    def uid(self) -> str:
        """A random UUID (version 4)."""
        text = f"{self._random.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | (0x4 << 76) | (0x2 << 62):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def warn(self, text: str) -> None:
        self._info.warnings.append(text)

    @property
    def addresses(self) -> addresses.Allocator:
        return self._allocator

    @property
    def identity(self) -> exchange.Identity:
        return self._info.identity

    @property
    def dry_run(self) -> bool:
        return self._info.dry_run
