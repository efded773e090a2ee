#!/usr/bin/env python3
"""Makes src/fairlead/api/schema/protobuf.bin: the protobuf field numbers of Kubernetes' kinds, read from a kubectl
binary.

Kubernetes' Go structs carry their wire format in field tags (`protobuf:"bytes,1,opt,name=metadata"`), and a Go
binary carries its types' tags for reflection. This walks an ELF kubectl's type links (runtime._type as of Go 1.18
and later, x86-64 or arm64, not position-independent) and keeps what the packed schemas know. Field numbers never
change between versions.

    scripts/build_protobuf.py /path/to/kubectl [TARGET]
"""

from __future__ import annotations

import json
import re
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "src/fairlead/api/schema"
_POINTER, _STRUCT, _SLICE, _MAP, _STRING, _BOOL, _UINT8 = 22, 25, 23, 21, 24, 1, 8
_INTEGERS, _FLOATS = range(2, 13), (13, 14)
_OPAQUE = {
    "k8s.io/apimachinery/pkg/api/resource.Quantity": "quantity",
    "k8s.io/apimachinery/pkg/util/intstr.IntOrString": "intorstring",
    "k8s.io/apimachinery/pkg/apis/meta/v1.Time": "time",
    "k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime": "microtime",
    "k8s.io/apimachinery/pkg/apis/meta/v1.Duration": "duration",
    "k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1": "raw",
    "k8s.io/apimachinery/pkg/runtime.RawExtension": "raw",
}


class Binary:
    """An ELF file with Go's type information."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        header = struct.unpack_from("<Q", self.data, 0x28)[0]
        size, count, names = struct.unpack_from("<HHH", self.data, 0x3A)
        rows = [struct.unpack_from("<IIQQQQ", self.data, header + index * size) for index in range(count)]
        texts = rows[names][4]
        self.sections = {}
        for name, _, _, address, offset, length in rows:
            end = self.data.index(b"\0", texts + name)
            self.sections[self.data[texts + name : end].decode()] = (address, offset, length)
        self.base = self.sections[".rodata"][0]

    def offset(self, address: int) -> int:
        for start, offset, length in self.sections.values():
            if start and start <= address < start + length:
                return offset + address - start
        raise KeyError(hex(address))

    def links(self) -> list[int]:
        _, offset, length = self.sections[".typelink"]
        return [self.base + link for link in struct.unpack_from(f"<{length // 4}i", self.data, offset)]

    def name(self, address: int) -> tuple[str, str]:
        """(name, tag)."""
        at = self.offset(address)
        flags = self.data[at]
        text, at = self._text(at + 1)
        return text, self._text(at)[0] if flags & 2 else ""

    def _text(self, at: int) -> tuple[str, int]:
        length = shift = 0
        while True:
            byte = self.data[at]
            length, shift, at = length | (byte & 0x7F) << shift, shift + 7, at + 1
            if byte < 0x80:
                return self.data[at : at + length].decode("utf-8", "replace"), at + length

    def type(self, address: int) -> Type:
        return Type(self, address)


class Type:
    """One runtime type."""

    def __init__(self, binary: Binary, address: int) -> None:
        self.binary, self.address = binary, address
        self.at = binary.offset(address)
        self.flags, self.kind = binary.data[self.at + 20], binary.data[self.at + 23] & 31
        text = binary.name(binary.base + struct.unpack_from("<i", binary.data, self.at + 40)[0])[0]
        self.text = text[1:] if self.flags & 2 else text

    def pointer(self, offset: int) -> int:
        return int(struct.unpack_from("<Q", self.binary.data, self.at + offset)[0])

    @property
    def element(self) -> Type:
        return self.binary.type(self.pointer(48))

    @property
    def value(self) -> Type:
        """A map's value type."""
        return self.binary.type(self.pointer(56))

    @property
    def path(self) -> str:
        """Import path and name of a named type."""
        if not self.flags & 1:
            return self.text
        extra = {_STRUCT: 80, _POINTER: 56, _SLICE: 56, _MAP: 88}.get(self.kind, 48)
        link = struct.unpack_from("<i", self.binary.data, self.at + extra)[0]
        package = self.binary.name(self.binary.base + link)[0] if link else ""
        return f"{package}.{self.text.rsplit('.', 1)[-1]}"

    def fields(self) -> list[tuple[str, str, Type]]:
        """(name, tag, type) of a struct."""
        start, count = self.pointer(56), self.pointer(64)
        at = self.binary.offset(start)
        rows = [struct.unpack_from("<QQQ", self.binary.data, at + 24 * index) for index in range(count)]
        return [(*self.binary.name(name), self.binary.type(kind)) for name, kind, _ in rows]


def definition(path: str) -> str:
    """`k8s.io/api/core/v1.Pod` -> `io.k8s.api.core.v1.Pod`."""
    package, _, name = path.rpartition(".")
    host, _, rest = package.partition("/")
    return ".".join([*reversed(host.split(".")), *rest.split("/"), name])


class Table:
    """Message -> number -> [JSON name, form, word, keeps zero].

    The form is 0 single, 1 list, 2 list that is its message's only field, 3 map; the word a scalar's, a special one's
    with a # or a message's name. Zeros are kept where Go's JSON writes them: pointers, no omitempty.
    """

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, list[Any]]] = {}

    def add(self, kind: Type) -> str:
        """The word for a type, its messages added."""
        path = kind.path
        if path in _OPAQUE:
            return f"#{_OPAQUE[path]}"
        if kind.kind == _POINTER:
            return self.add(kind.element)
        if kind.kind == _STRUCT:
            return self._struct(kind, definition(path))
        if kind.kind == _SLICE and kind.flags & 4 and kind.element.kind != _UINT8:
            word = self.add(kind.element)  # a named slice is a message of its own: ExtraValue, Verbs
            self.messages[definition(path)] = {"1": ["items", 2, word, 1]}
            return definition(path)
        for kinds, word in (((_STRING,), "string"), ((_BOOL,), "bool"), (_INTEGERS, "int"), (_FLOATS, "double")):
            if kind.kind in kinds:
                return word
        return "bytes"

    def _struct(self, kind: Type, name: str) -> str:
        if name in self.messages:
            return name
        fields: dict[str, list[Any]] = {}
        self.messages[name] = fields
        for _, tag, field in kind.fields():
            wire = re.search(r'protobuf:"\w+,(\d+),', tag)
            json_tag = re.search(r'json:"([^"]*)"', tag)
            if wire is None or json_tag is None:
                continue
            json_name, _, options = json_tag[1].partition(",")
            inline, keeps = "inline" in options.split(","), field.kind == _POINTER or "omitempty" not in options
            fields[wire[1]] = ["" if inline else json_name, *self._form(field), int(keeps)]
        return name

    def _form(self, field: Type) -> list[Any]:
        """[form, word]."""
        if field.kind == _POINTER:
            field = field.element
        if field.kind == _MAP:
            return [3, self.add(field.value)]
        if field.kind == _SLICE and field.element.kind != _UINT8 and not (field.flags & 4 and _is_message(field)):
            return [1, self.add(field.element)]
        return [0, self.add(field)]


def _is_message(kind: Type) -> bool:
    return kind.path.rsplit(".", 1)[-1] in ("ExtraValue", "Verbs")


def build(kubectl: Path, target: Path) -> None:
    """Writes the table."""
    binary, table = Binary(kubectl), Table()
    for link in binary.links():
        kind = binary.type(link)
        if kind.kind != _POINTER or kind.element.kind != _STRUCT or not kind.element.flags & 4:
            continue
        path = kind.element.path
        if path.startswith(("k8s.io/api/", "k8s.io/apimachinery/pkg/apis/meta/v1.")):
            table.add(kind.element)
    known = json.loads(zlib.decompress((target / "schemas.bin").read_bytes()))
    kept: dict[str, Any] = {}
    waiting = [name for name in table.messages if name in known]
    while waiting:
        name = waiting.pop()
        if name not in kept and name in table.messages:
            kept[name] = table.messages[name]
            waiting += [word for _, _, word, _ in kept[name].values()]
    text = json.dumps(kept, separators=(",", ":"), sort_keys=True).encode()
    (target / "protobuf.bin").write_bytes(zlib.compress(text, 9))


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else TARGET)
