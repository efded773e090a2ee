"""How every room speaks to a Kubernetes API: ours in-process, ours or any other over HTTPS. Callers cannot tell which."""
