"""The columns of `kubectl get`, kind by kind."""
