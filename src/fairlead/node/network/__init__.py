"""The network modes of a local cluster (DESIGN §5): kernel, rootless, loopback, and who chooses among them."""
