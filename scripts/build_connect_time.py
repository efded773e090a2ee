#!/usr/bin/env python3
"""Makes src/fairlead/dataplane/connect_time/programs.json from programs.c with clang: per program its instructions, one
text of 16 hexadecimal digits each, and which of them name a map.

Needs clang and the kernel's headers (linux-libc-dev). The output depends on both versions, so it says clang's; a test
builds it again where that clang is and compares. Reads as much of ELF as an object of relocatable BPF has (elf(5)).
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "src/fairlead/dataplane/connect_time"
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQ")
_CODE, _SYMBOLS, _RELOCATIONS, _EXECUTABLE = 1, 2, 9, 4
_MAP_ADDRESS = 1  # R_BPF_64_64: the operand of a load of 64 bits


def version(clang: str = "clang") -> str:
    """Clang's version, as the output names it."""
    said = subprocess.run([clang, "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"clang version (\S+)", said)
    return found.group(1) if found else said.splitlines()[0]


def build(clang: str = "clang") -> str:
    """The text of programs.json. Raises CalledProcessError for what clang refuses."""
    triplet = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "programs.o"
        subprocess.run(
            [
                clang, "-target", "bpfel", "-mcpu=v3", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding",
                f"-I/usr/include/{triplet}", "-c", str(FOLDER / "programs.c"), "-o", str(made),
            ],
            check=True,
        )  # fmt: skip
        programs = read(made.read_bytes())
    return json.dumps({"clang": version(clang), "programs": programs}, indent=1) + "\n"


def read(data: bytes) -> dict[str, Any]:
    """Program -> its instructions, and the map that each loads where it loads one."""
    sections = list(_sections(data))
    symbols = next(one for one in sections if one["kind"] == _SYMBOLS)
    names = sections[symbols["link"]]["body"]
    found: dict[str, Any] = {}
    for index, section in enumerate(sections):
        if section["kind"] != _CODE or not section["flags"] & _EXECUTABLE or not section["body"]:
            continue
        code = section["body"]
        found[section["name"].removeprefix("cgroup/")] = {
            "code": [code[at : at + 8].hex() for at in range(0, len(code), 8)],
            "maps": {
                str(offset // 8): name
                for one in sections
                if one["kind"] == _RELOCATIONS and one["info"] == index
                for offset, name in _maps(one["body"], symbols["body"], names)
            },
        }
    return dict(sorted(found.items()))


def _sections(data: bytes) -> list[dict[str, Any]]:
    (start,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names = struct.unpack_from("<HHH", data, 0x3A)
    raw = [_SECTION.unpack_from(data, start + at * size) for at in range(count)]
    texts = data[raw[names][4] : raw[names][4] + raw[names][5]]
    return [
        {"name": _text(texts, one[0]), "kind": one[1], "flags": one[2], "body": data[one[4] : one[4] + one[5]],
         "link": one[6], "info": one[7]}
        for one in raw
    ]  # fmt: skip


def _maps(relocations: bytes, symbols: bytes, names: bytes) -> list[tuple[int, str]]:
    found = []
    for offset, info in _RELOCATION.iter_unpack(relocations):
        if info & 0xFFFFFFFF != _MAP_ADDRESS:
            raise ValueError(f"a relocation that is no map's: {info & 0xFFFFFFFF}")
        found.append((offset, _text(names, _SYMBOL.unpack_from(symbols, (info >> 32) * _SYMBOL.size)[0])))
    return found


def _text(table: bytes, at: int) -> str:
    return table[at : table.index(b"\0", at)].decode()


if __name__ == "__main__":
    (FOLDER / "programs.json").write_text(build())
