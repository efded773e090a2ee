"""Every refusal of the API server, as the Status that Kubernetes answers: code, reason, message and details.

Follows k8s.io/apimachinery `pkg/api/errors`. Each function returns an `ApiError` for the caller to raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.api import field_errors
from fairlead.api.kinds import Kind
from fairlead.client import errors, exchange


def failure(code: int, reason: str, message: str, *, details: dict[str, Any] | None = None) -> errors.ApiError:
    """Any refusal."""
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    status |= {"message": message, "reason": reason}
    if details:
        status["details"] = details
    status["code"] = code
    return errors.ApiError(status)


def _details(kind: Kind, name: str) -> dict[str, Any]:
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    return {key: value for key, value in details.items() if value}


def not_found(kind: Kind, name: str) -> errors.ApiError:
    return failure(404, "NotFound", f'{kind} "{name}" not found', details=_details(kind, name))


def no_such_path() -> errors.ApiError:
    return failure(404, "NotFound", "the server could not find the requested resource", details={})


def already_exists(kind: Kind, name: str) -> errors.ApiError:
    return failure(409, "AlreadyExists", f'{kind} "{name}" already exists', details=_details(kind, name))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(kind: Kind, name: str, detail: str = MODIFIED) -> errors.ApiError:
    message = f'Operation cannot be fulfilled on {kind} "{name}": {detail}'
    return failure(409, "Conflict", message, details=_details(kind, name))


def bad_request(message: str) -> errors.ApiError:
    return failure(400, "BadRequest", message)


def invalid(kind: Kind, name: str, found: Sequence[field_errors.FieldError]) -> errors.ApiError:
    """422 with one cause for every wrong field."""
    texts = [str(error) for error in found]
    text = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    where = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    details = {"name": name, "group": kind.group, "kind": kind.kind}
    details = {key: value for key, value in details.items() if value}
    causes = [{"reason": error.reason, "message": error.body, "field": error.path} for error in found]
    message = f'{where} "{name}" is invalid: {text}'
    return failure(422, "Invalid", message, details={**details, "causes": causes})


def forbidden(kind: Kind | None, name: str, message: str) -> errors.ApiError:
    if kind is None:
        return failure(403, "Forbidden", f"forbidden: {message}", details={})
    text = f'{kind} "{name}" is forbidden: {message}' if name else f"{kind} is forbidden: {message}"
    return failure(403, "Forbidden", text, details=_details(kind, name))


def unauthorized() -> errors.ApiError:
    return failure(401, "Unauthorized", "Unauthorized")


def method_not_allowed(
    message: str = "the server does not allow this method on the requested resource",
) -> errors.ApiError:
    return failure(405, "MethodNotAllowed", message, details={})


def not_acceptable(types: Sequence[str]) -> errors.ApiError:
    return failure(406, "NotAcceptable", f"only the following media types are accepted: {', '.join(types)}")


def unsupported_media_type(types: Sequence[str]) -> errors.ApiError:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(types)}"
    return failure(415, "UnsupportedMediaType", message)


def expired(message: str, *, continue_token: str = "") -> errors.ApiError:
    error = failure(410, "Expired", message)
    if continue_token:
        error.status["metadata"] = {"continue": continue_token}
    return error


def too_large(limit_bytes: int) -> errors.ApiError:
    return failure(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit_bytes}")


def timeout(message: str, *, retry_seconds: int = 1) -> errors.ApiError:
    return failure(504, "Timeout", f"Timeout: {message}", details={"retryAfterSeconds": retry_seconds})


def too_many(message: str, *, retry_seconds: int = 1) -> errors.ApiError:
    return failure(429, "TooManyRequests", message, details={"retryAfterSeconds": retry_seconds})


def unavailable(message: str) -> errors.ApiError:
    return failure(503, "ServiceUnavailable", message)


def internal(message: str) -> errors.ApiError:
    return failure(
        500, "InternalError", f"Internal error occurred: {message}", details={"causes": [{"message": message}]}
    )


def not_implemented(message: str) -> errors.ApiError:
    return failure(501, "NotImplemented", message)


def success(kind: Kind, name: str, uid: str) -> dict[str, Any]:
    """The Status that answers a deletion that is done."""
    details = _details(kind, name) | ({"uid": uid} if uid else {})
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def response(error: errors.ApiError) -> exchange.Response:
    """The answer that carries the Status."""
    import msgspec

    headers = {"content-type": "application/json"}
    retry = (error.status.get("details") or {}).get("retryAfterSeconds")
    if retry:
        headers["retry-after"] = str(retry)
    return exchange.Response(error.code, headers, msgspec.json.encode(error.status))
