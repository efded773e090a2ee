"""One append-only log of revisions, durable before it is acknowledged."""
