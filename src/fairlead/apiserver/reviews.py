"""Resources that are only asked, never stored: access reviews, token reviews, who am I.

`authorization.k8s.io/v1` and `authentication.k8s.io/v1`; what `kubectl auth can-i` and `kubectl auth whoami` use.
"""

from __future__ import annotations

from typing import Any

from fairlead.api.kinds import Kind
from fairlead.apiserver import authentication, codec, rbac, requests, status
from fairlead.client import errors, exchange

Object = dict[str, Any]
_AUTHORIZATION, _AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"
SELF_ACCESS = Kind(_AUTHORIZATION, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False)
SELF_RULES = Kind(_AUTHORIZATION, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", False)
ACCESS = Kind(_AUTHORIZATION, "v1", "SubjectAccessReview", "subjectaccessreviews", False)
LOCAL_ACCESS = Kind(_AUTHORIZATION, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", True)
TOKEN = Kind(_AUTHENTICATION, "v1", "TokenReview", "tokenreviews", False)
SELF = Kind(_AUTHENTICATION, "v1", "SelfSubjectReview", "selfsubjectreviews", False)
KINDS = (SELF_ACCESS, SELF_RULES, ACCESS, LOCAL_ACCESS, TOKEN, SELF)
_BY_PATH = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}


def find(info: requests.Info) -> Kind | None:
    """The review that a request asks for."""
    return _BY_PATH.get((info.group, info.version, info.resource))


def answer(
    kind: Kind, info: requests.Info, authorizer: rbac.Authorizer, authenticator: authentication.Authenticator
) -> exchange.Response:
    """The review with its status."""
    if info.verb != "create":
        raise status.method_not_allowed()
    body = codec.shaped_as(codec.parse(info.body, info.headers.get("content-type", "")) if info.body else {}, kind)
    spec = body.get("spec") or {}
    body |= {"kind": kind.kind, "apiVersion": kind.api_version}
    body["metadata"] = {**(body.get("metadata") or {}), "creationTimestamp": None}
    if kind is SELF:
        body["status"] = {"userInfo": user_info(info.identity)}
    elif kind is TOKEN:
        body["status"] = _token(spec, authenticator)
    elif kind is SELF_RULES:
        body["status"] = _rules(info.identity, spec.get("namespace", ""), authorizer)
    else:
        identity = info.identity if kind is SELF_ACCESS else _subject(spec)
        body["status"] = _access(identity, spec, authorizer)
    return exchange.Response(201, {"content-type": "application/json"}, codec.encode(body))


def user_info(identity: exchange.Identity) -> Object:
    """`authentication/v1` UserInfo."""
    found: Object = {"username": identity.username, "groups": list(identity.groups)}
    if identity.uid:
        found["uid"] = identity.uid
    if identity.extra:
        found["extra"] = {key: list(values) for key, values in identity.extra.items()}
    return found


def _token(spec: Object, authenticator: authentication.Authenticator) -> Object:
    wanted = tuple(spec.get("audiences") or ())
    try:
        identity = authenticator.of_token(str(spec.get("token", "")), audiences=wanted)
    except errors.ApiError:
        return {"authenticated": False, "error": "invalid bearer token", "user": {}}
    good = [one for one in wanted if authenticator.good_for(str(spec["token"]), one)]
    return {"authenticated": True, "user": user_info(identity), "audiences": good or [authentication.AUDIENCE]}


def _subject(spec: Object) -> exchange.Identity:
    groups = spec.get("groups") or ()
    if not spec.get("user") and not groups:
        raise status.failure(
            422, "Invalid", 'spec.user: Invalid value: "": at least one of user or group must be specified'
        )
    return exchange.Identity(str(spec.get("user", "")), tuple(map(str, groups)))


def _access(identity: exchange.Identity, spec: Object, authorizer: rbac.Authorizer) -> Object:
    asked, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (asked is None) == (path is None):
        raise status.failure(
            422, "Invalid", "spec: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        )
    if path is not None or asked is None:
        path = path or {}
        attributes = rbac.Attributes(path.get("verb", ""), path=path.get("path", ""))
    else:
        attributes = rbac.Attributes(
            asked.get("verb", ""),
            asked.get("group", ""),
            asked.get("resource", ""),
            asked.get("subresource", ""),
            asked.get("namespace", ""),
            asked.get("name", ""),
        )
    return {"allowed": True} if authorizer.allowed(identity, attributes) else {"allowed": False}


def _rules(identity: exchange.Identity, namespace: str, authorizer: rbac.Authorizer) -> Object:
    resource_rules, path_rules = [], []
    for rule in authorizer.rules(identity, namespace):
        if rule.get("nonResourceURLs"):
            path_rules.append({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]})
        else:
            resource_rules.append(
                {key: rule[key] for key in ("verbs", "apiGroups", "resources", "resourceNames") if key in rule}
            )
    return {"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": False}
