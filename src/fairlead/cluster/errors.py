"""Why a cluster cannot start; the message is for the user and says what to do."""

from __future__ import annotations


class CannotStart(Exception):
    """Something that the cluster needs is not to be had: a port, a network mode, the state folder."""
