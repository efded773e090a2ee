"""How every room speaks to a Kubernetes API: ours in-process, any over HTTPS. Callers cannot tell which."""
