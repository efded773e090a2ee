"""From Kubernetes objects to the routing table: pure functions that answer for every input."""
