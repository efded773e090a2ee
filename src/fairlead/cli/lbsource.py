"""Where `fairlead lb` has its document from: flags, or a file that may change.

Every file that was read for it (certificates, keys, the document itself) is watched: a renewed certificate is a change.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec

from fairlead.api import manifest
from fairlead.cli import failure
from fairlead.routing import standalone, table

CHECK_SECONDS = 2.0  # of --check: a dead server is out after three
_Stamp = tuple[float, int, int]


@dataclass(frozen=True, slots=True)
class Log:
    """The access log that the flags ask for; "" is none."""

    place: str = ""
    share: float = 1.0
    query: bool = False

    def added_to(self, found: standalone.Standalone) -> standalone.Standalone:
        """With it at every Listener that does not say itself what it logs."""
        if not self.place:
            return found
        wanted = table.AccessLog(share=self.share, query=self.query)
        listeners = {}
        for name, one in found.structure.listeners.items():
            http = one.http or table.HttpSettings()
            asks = one.protocol not in ("dns", "health") and http.access_log is None
            told = msgspec.structs.replace(http, access_log=wanted) if asks else one.http
            listeners[name] = msgspec.structs.replace(one, http=told)
        return replace(found, structure=msgspec.structs.replace(found.structure, listeners=listeners))


class Source(Protocol):
    """What is balanced, and whether that may be another by now."""

    @property
    def key(self) -> str:
        """What it is known by from one start to the next."""

    def read(self) -> standalone.Standalone:
        """Raises Failure."""

    def changed(self) -> bool: ...


@dataclass(slots=True)
class _Watch:
    """Files as they were when they were read."""

    stamps: dict[Path, _Stamp] = field(default_factory=dict)

    def read(self, path: Path) -> bytes:
        """Its content, which is watched from now on. Raises OSError."""
        self.stamps[path] = (0.0, 0, 0)  # also of one that is not there yet
        self.stamps[path] = _stamp(path)
        return path.read_bytes()

    def changed(self) -> bool:
        for path, before in self.stamps.items():
            with contextlib.suppress(OSError):  # being replaced: the next look finds it
                if _stamp(path) != before:
                    return True
        return False


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_mtime, found.st_size, found.st_ino


class FlagSource:
    """The document that the flags mean; only the files that it names may change."""

    def __init__(self, flags: dict[str, Any], wanted: Log = Log()) -> None:
        self._document, self._log = document(flags), wanted
        self._watch = _Watch()
        self.key = " ".join(flags["listen"])

    def read(self) -> standalone.Standalone:
        self._watch = _Watch()
        return self._log.added_to(_translated(self._document, "flags", Path.cwd(), self._watch))

    def changed(self) -> bool:
        return self._watch.changed()


class FileSource:
    """A file that may change, and the files that it names."""

    def __init__(self, path: Path, wanted: Log = Log()) -> None:
        self._path, self._log = path, wanted
        self._watch = _Watch()
        self.key = str(path.absolute())

    def read(self) -> standalone.Standalone:
        self._watch = _Watch()
        try:
            documents = list(manifest.load_documents(self._watch.read(self._path), source=str(self._path)))
        except OSError as error:
            raise failure.Failure(f"{self._path}: {error.strerror}") from None
        except manifest.ManifestError as error:
            raise failure.Failure(str(error)) from None
        content = documents[0][1] if documents else None
        return self._log.added_to(_translated(content, str(self._path), self._path.parent, self._watch))

    def changed(self) -> bool:
        return self._watch.changed()


def document(flags: dict[str, Any]) -> dict[str, Any]:
    """The file that says the same as the flags. Raises Failure."""
    if not flags["listen"] or not flags["to"]:
        raise failure.Failure("--listen and --to are both needed, at least once each")
    if bool(flags["cert"]) != bool(flags["key"]):
        raise failure.Failure("--cert FILE and --key FILE belong together")
    listeners = {f"listener-{index}": _listener(one, flags) for index, one in enumerate(flags["listen"])}
    if flags["cert"] and not any("certificates" in one for one in listeners.values()):
        raise failure.Failure("--cert: there is no --listen https://… or tls://… that would show it")
    backend: dict[str, Any] = {"endpoints": [_to(text) for text in flags["to"]]}
    if flags["algorithm"]:
        backend["algorithm"] = flags["algorithm"]
    if flags["check"]:
        backend["health"] = _check(flags["check"])
    return {"listeners": listeners, "backends": {"servers": backend}}


def _listener(address: str, flags: dict[str, Any]) -> dict[str, Any]:
    if "://" not in address:
        rest = f":{address}" if address.isdigit() else address
        raise failure.Failure(f"--listen {address}: a scheme is needed, such as http://{rest}")
    found: dict[str, Any] = {"address": address}
    if address.startswith(("https:", "tls:")) and flags["cert"]:
        found["certificates"] = [{"certificate": flags["cert"], "key": flags["key"]}]
    elif address.startswith("https:"):
        raise failure.Failure(f"--listen {address}: --cert FILE and --key FILE are needed")
    return found


def _check(text: str) -> dict[str, Any]:
    kind, _, rest = text.partition(":")
    if (kind == "tcp" and rest) or (kind == "http" and rest and not rest.startswith("/")):
        raise failure.Failure(f"--check {text}: http:/PATH, tcp or grpc[:SERVICE] is expected")
    word = "service" if kind == "grpc" else "path"
    return {"kind": kind, "interval_seconds": CHECK_SECONDS} | ({word: rest} if rest else {})


def _to(text: str) -> dict[str, Any]:
    place, *options = text.split(",")
    entry: dict[str, Any] = {"address": place}
    address, _, port = place.rpartition(":")
    if port.isdigit():
        entry = {"address": address, "port": int(port)}
    for option in options:
        key, _, value = option.partition("=")
        entry[key] = int(value) if value.removeprefix("-").isdigit() else value
    return entry


def _translated(content: Any, source: str, folder: Path, watch: _Watch) -> standalone.Standalone:
    def read_file(name: str) -> str:
        return watch.read(folder / name).decode()

    found, problems = standalone.translate(content, source=source, read_file=read_file)
    if found is None:
        raise failure.Failure(*map(str, problems))
    return found
