"""Ingresses as ingress-nginx users wrote them, with the behaviour that they rely on, translated to the routing table.

Follows the controller's own documentation (annotations, ConfigMap, path matching). Nothing of a user's text becomes
configuration text: each value is parsed to a typed one, or refused with a reason. `catalogue` is the one list of what
is honoured and what is not.
"""
