"""Structural schemas of custom resources: pruning, defaulting, validation. Pure.

Follows k8s.io/apiextensions-apiserver `pkg/apiserver/schema`. CEL rules (`x-kubernetes-validations`) are not
evaluated; whoever installs a definition that has them is warned.
"""
