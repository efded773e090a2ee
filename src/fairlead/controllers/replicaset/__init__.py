"""ReplicaSets (apps/v1): as many pods of one template as asked for."""
