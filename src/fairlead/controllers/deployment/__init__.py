"""Deployments (apps/v1): ReplicaSets of successive templates, and the roll from one to the next."""
