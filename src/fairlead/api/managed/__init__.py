"""Who owns which field: server-side apply's field sets, merging and conflicts. Pure.

Follows sigs.k8s.io/structured-merge-diff and KEP-555. A field set is a set of paths; a path is a tuple of elements in
FieldsV1's own spelling: `f:spec`, `k:{"name":"main"}`, `v:"value"`.
"""

Path = tuple[str, ...]
FieldSet = frozenset[Path]
