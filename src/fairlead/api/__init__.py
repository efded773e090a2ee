"""Kubernetes vocabulary: kinds, selectors, quantities, patches, validation. Pure: no I/O, no clock, no randomness."""
