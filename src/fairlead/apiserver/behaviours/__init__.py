"""How kinds differ: defaults, validation, what may change, how they are deleted. One file per family of kinds."""
