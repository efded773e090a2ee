"""`GET /fairlead/backup`: the store as of now, as a file, while writes go on. RBAC's nonResourceURLs say who may.

The copy is made beside the store, so that the disk and nobody's memory holds it, and is gone when the answer ends.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from fairlead.apiserver import status
from fairlead.client import exchange
from fairlead.store import protocol

PATH = "/fairlead/backup"
PIECE_BYTES = 256 << 10


async def answer(store: protocol.Store, folder: Path | None) -> exchange.Response:
    """The file's bytes. Raises ApiError."""
    if folder is None:
        raise status.not_implemented("this API server has no folder to make a backup in")
    path = folder / f".backup-{secrets.token_hex(8)}"
    try:
        await store.backup(path)
        descriptor = os.open(path, os.O_RDONLY)
    except (protocol.StoreError, OSError) as error:
        raise status.internal(f"the store could not be copied: {error}") from error
    finally:
        path.unlink(missing_ok=True)
    headers = {"content-type": "application/vnd.sqlite3"}
    return exchange.Response(200, headers, stream=_pieces(descriptor))


async def _pieces(descriptor: int) -> AsyncIterator[bytes]:
    with os.fdopen(descriptor, "rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece
