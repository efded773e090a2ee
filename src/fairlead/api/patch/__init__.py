"""Patches as Kubernetes takes them: JSON (RFC 6902), merge (RFC 7386), strategic merge. Pure; inputs are not
changed."""


class PatchError(ValueError):
    """The patch cannot be applied; the message says which part of it and why."""


class PatchTestFailed(PatchError):
    """A `test` operation of a JSON patch did not hold."""
