"""DaemonSets (apps/v1): one pod on every node that fits."""
