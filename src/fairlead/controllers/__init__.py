"""Controllers: informer -> queue of keys -> reconcile(snapshot) -> writes."""
