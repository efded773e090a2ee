"""The planes that carry traffic: they see the routing table and nothing of Kubernetes."""
