"""postStart and preStop: exec in the container, an HTTP GET to it, or a sleep. A failed hook says what went wrong."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

from fairlead.base import clock
from fairlead.node import probing, runtime

Object = dict[str, Any]


class HookFailed(Exception):
    """The hook did not succeed; the message is for the Event."""


async def run(
    hook: Object,
    container: Object,
    *,
    sandbox: runtime.Sandbox,
    where: probing.Where,
    timer: clock.Clock,
    timeout_seconds: float,
) -> None:
    """Runs one hook to its end. Raises HookFailed, and TimeoutError never: a late hook is a failed one."""
    if hook.get("exec"):
        argv = hook["exec"].get("command") or []
        answer = await sandbox.exec(
            container["name"], argv, env=where.env, cwd=where.cwd, timeout_seconds=timeout_seconds
        )
        if answer.exit_code != 0 or answer.timed_out:
            said = (answer.stderr or answer.stdout).decode("utf-8", "replace").strip()
            raise HookFailed(f"Exec lifecycle hook {argv} exited with {answer.exit_code}: {said[:512]!r}")
    elif hook.get("httpGet"):
        await _get(hook["httpGet"], container, where.ip, where.ports, timeout_seconds)
    elif hook.get("sleep"):
        await timer.sleep(min(float(hook["sleep"].get("seconds") or 0), timeout_seconds))
    elif hook.get("tcpSocket"):
        raise HookFailed("tcpSocket is not a lifecycle hook any more (Kubernetes ignores it as well)")


def _any_certificate() -> ssl.SSLContext:
    """As the kubelet: whoever the pod says it is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _get(action: Object, container: Object, ip: str, ports: Mapping[str, int], timeout_seconds: float) -> None:
    try:
        port = probing.real_port(action.get("port") or 80, container, ports, "httpGet.port")
    except probing.ProbeProblem as error:
        raise HookFailed(str(error)) from error
    host, path = action.get("host") or ip, action.get("path") or "/"
    shown = f"[{host}]" if ":" in host else host
    names = {entry["name"].lower() for entry in action.get("httpHeaders") or []}
    lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1", "Connection: close"]
    lines += [] if "host" in names else [f"Host: {shown}:{port}"]
    lines += [f"{entry['name']}: {entry.get('value', '')}" for entry in action.get("httpHeaders") or []]
    if any("\r" in line or "\n" in line for line in lines):
        raise HookFailed("httpGet has a line break in its path or headers")
    try:
        async with asyncio.timeout(timeout_seconds):
            secure = _any_certificate() if (action.get("scheme") or "HTTP").upper() == "HTTPS" else None
            reader, writer = await asyncio.open_connection(host, port, ssl=secure)
            try:
                writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
                status = (await reader.readline()).split()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError) as error:
        raise HookFailed(f"httpGet {shown}:{port}{path}: {error or 'no answer in time'}") from error
    if len(status) < 2 or not b"200" <= status[1] < b"400":
        answer = status[1].decode(errors="replace") if len(status) > 1 else "no status"
        raise HookFailed(f"httpGet {shown}:{port}{path} was answered with {answer}")
