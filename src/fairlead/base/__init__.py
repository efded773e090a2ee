"""The ground under every room: clock, tasks, log. It knows no Kubernetes word."""
