"""Kubernetes' own schemas, compiled: decoding as strictly as Go does, unknown fields, merge keys, OpenAPI."""
