"""The window: a page that shows the cluster."""
