"""Where manifests come from: a file, a folder (its *.yaml, *.yml and *.json, by name) or standard input.

What is meant for another tool (kustomize, helm, Compose) is refused with the command that makes manifests of it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.api import manifest
from fairlead.cli import failure

IMAGE_MAP = "fairlead.yaml"
_ENDINGS = (".yaml", ".yml", ".json")
_KUSTOMIZE = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_CHART = "Chart.yaml"


@dataclass(frozen=True, slots=True)
class Sources:
    """What the user gave: the objects, the image maps found beside them, and the folder that says as whom pods run."""

    manifests: list[manifest.Manifest] = field(default_factory=list)
    image_maps: list[Path] = field(default_factory=list)
    folder: Path = field(default_factory=Path.cwd)


def read(paths: tuple[str, ...]) -> Sources:
    """Reads everything before anything is applied. Raises Failure with every broken file named."""
    found = Sources(folder=_folder(paths))
    errors: list[str] = []
    for path in paths:
        try:
            _read_one(path, found)
        except manifest.ManifestError as error:
            errors.append(str(error))
        except OSError as error:
            errors.append(f"{error.filename or path}: {error.strerror}")
    errors += _twice(found.manifests)
    if errors:
        raise failure.Failure(*errors)
    return found


def _folder(paths: tuple[str, ...]) -> Path:
    first = Path(paths[0]) if paths and paths[0] != "-" else Path.cwd()
    return (first if first.is_dir() else first.parent).resolve()


def _read_one(path: str, found: Sources) -> None:
    if path == "-":
        found.manifests.extend(manifest.load_manifests(sys.stdin.buffer.read(), source="-"))
        return
    place = Path(path)
    _refuse_others(place)
    if not place.is_dir():
        found.manifests.extend(_manifests(place, path))
        _image_map(place.parent / IMAGE_MAP, found)
        return
    wanted = _files(place)
    _image_map(place / IMAGE_MAP, found)
    if not wanted:
        below = sorted(str(one) for one in place.iterdir() if one.is_dir() and _files(one))
        hint = f"; folders below are not read, name them: {' '.join(below)}" if below else ""
        raise manifest.ManifestError(path, 0, f"no *.yaml, *.yml or *.json in this folder{hint}")
    for file in wanted:
        found.manifests.extend(_manifests(file, str(file)))


def _files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.suffix in _ENDINGS and one.is_file() and one.name != IMAGE_MAP)


def _refuse_others(place: Path) -> None:
    """Raises ManifestError for what kustomize or helm has to render first."""
    folder = place if place.is_dir() else place.parent
    names = {one.name for one in place.iterdir()} if place.is_dir() else {place.name}
    if mine := sorted(names.intersection(_KUSTOMIZE)):
        words = f"is for kustomize; use: kubectl kustomize {folder} | fairlead up -d -"
        raise manifest.ManifestError(str(folder / mine[0]), 0, words)
    if _CHART in names:
        words = f"is a helm chart; use: helm template NAME {folder} | fairlead up -d -"
        raise manifest.ManifestError(str(folder / _CHART), 0, words)


def _manifests(file: Path, source: str) -> list[manifest.Manifest]:
    text = file.read_bytes()
    try:
        return manifest.load_manifests(text, source=source)
    except manifest.ManifestError as error:
        hint = ""
        if b"{{" in text:
            hint = " (a template? `helm template` makes a manifest of it)"
        elif error.message.startswith("apiVersion:") and b"\nservices:" in b"\n" + text:
            hint = " (a Compose file? Kubernetes manifests are expected)"
        raise manifest.ManifestError(source, error.line, error.message + hint) from None


def _image_map(place: Path, found: Sources) -> None:
    if place.is_file() and place.resolve() not in found.image_maps:
        found.image_maps.append(place.resolve())


def _twice(manifests: list[manifest.Manifest]) -> list[str]:
    """Objects and node ports that the given files claim twice."""
    errors: list[str] = []
    seen: dict[tuple[object, ...], manifest.Manifest] = {}
    for item in manifests:
        for claim, path in _claims(item):
            other = seen.setdefault(claim, item)
            if other is not item:
                where = f"{item.source}:{item.line}: {item.title}: {path}"
                errors.append(f"{where}: already in {other.source}:{other.line} ({other.title})")
    return errors


def _claims(item: manifest.Manifest) -> list[tuple[tuple[object, ...], str]]:
    claims: list[tuple[tuple[object, ...], str]] = []
    metadata, group = item.object["metadata"], item.object["apiVersion"].rpartition("/")[0]
    if name := metadata.get("name"):
        claim = (group, item.object["kind"], metadata.get("namespace") or "default", name)
        claims.append((claim, f"metadata.name: Duplicate value: {name!r}"))
    spec = item.object.get("spec")
    ports = spec.get("ports") if item.object["kind"] == "Service" and isinstance(spec, dict) else None
    for index, port in enumerate(ports if isinstance(ports, list) else []):
        if isinstance(port, dict) and port.get("nodePort"):
            held = ("nodePort", port.get("protocol", "TCP"), str(port["nodePort"]))
            claims.append((held, f"spec.ports[{index}].nodePort: Duplicate value: {port['nodePort']}"))
    return claims
