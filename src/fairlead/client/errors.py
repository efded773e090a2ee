"""What an API server answers when it does not do what was asked: a Status, as an exception."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A Kubernetes `Status` of failure. `code` is HTTP's, `reason` Kubernetes' word (NotFound, Conflict, …)."""

    def __init__(self, status: dict[str, Any]) -> None:
        super().__init__(status.get("message", ""))
        self.status = status
        self.code: int = int(status.get("code", 500))
        self.reason: str = status.get("reason", "")

    @property
    def not_found(self) -> bool:
        return self.code == 404

    @property
    def conflict(self) -> bool:
        """Somebody else wrote first; read again and retry."""
        return self.code == 409 and self.reason == "Conflict"

    @property
    def already_exists(self) -> bool:
        return self.code == 409 and self.reason == "AlreadyExists"

    @property
    def gone(self) -> bool:
        """The resource version is too old: list again."""
        return self.code == 410
