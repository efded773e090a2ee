"""PodDisruptionBudgets (policy/v1): how many pods may be evicted now."""
