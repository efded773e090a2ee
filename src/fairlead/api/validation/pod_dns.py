"""A pod's dnsPolicy and dnsConfig (`validatePodDNSConfig` of `pkg/apis/core/validation`, with its limits)."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from fairlead.api import field_errors
from fairlead.api.validation import common

Object = dict[str, Any]
_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_NAMESERVERS, _SEARCHES, _SEARCH_CHARACTERS = 3, 32, 2048
_NAME = re.compile(r"[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?(\.[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?)*")
_NAME_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character"
)


def validate(spec: Object, path: str) -> common.Problems:
    """Both fields of a PodSpec."""
    policy, config = spec.get("dnsPolicy"), spec.get("dnsConfig")
    found = common.one_of(policy, f"{path}.dnsPolicy", _POLICIES)
    where = f"{path}.dnsConfig"
    if policy == "None" and config is None:
        return [*found, field_errors.required(where, "must provide `dnsConfig` when `dnsPolicy` is None")]
    if config is None:
        return found
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if policy == "None" and not servers:
        detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        return [*found, field_errors.required(f"{where}.nameservers", detail)]
    found += _nameservers(servers, f"{where}.nameservers") + _searches(searches, f"{where}.searches")
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            found.append(field_errors.required(f"{where}.options[{index}]", "must not be empty"))
    return found


def _nameservers(servers: list[str], path: str) -> common.Problems:
    found = []
    if len(servers) > _NAMESERVERS:
        found.append(field_errors.invalid(path, servers, f"must not have more than {_NAMESERVERS} nameservers"))
    for index, one in enumerate(servers):
        try:
            ipaddress.ip_address(one)
        except ValueError:
            detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            found.append(field_errors.invalid(f"{path}[{index}]", one, detail))
    return found


def _searches(searches: list[str], path: str) -> common.Problems:
    found = []
    if len(searches) > _SEARCHES:
        found.append(field_errors.invalid(path, searches, f"must not have more than {_SEARCHES} search paths"))
    if len(" ".join(searches)) > _SEARCH_CHARACTERS:
        detail = f"must not have more than {_SEARCH_CHARACTERS} characters (including spaces) in the search list"
        found.append(field_errors.invalid(path, searches, detail))
    for index, one in enumerate(searches):
        plain = one.removesuffix(".")
        if one != "." and (len(plain) > 253 or not _NAME.fullmatch(plain)):
            detail = "must be no more than 253 bytes" if len(plain) > 253 else _NAME_TEXT
            found.append(field_errors.invalid(f"{path}[{index}]", one, detail))
    return found
