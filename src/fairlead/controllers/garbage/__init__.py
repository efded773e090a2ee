"""Garbage collection: what nobody owns any more goes, in the order that its deletion asked for."""
