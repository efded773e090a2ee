"""The command line: `python -m bench NAME [--quick]`; without a name, the list."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import pkgutil
import signal
import sys
from types import ModuleType

from bench import lab, suite


def names() -> list[str]:
    """The benchmarks there are."""
    return sorted(module.name for module in pkgutil.iter_modules(suite.__path__))


def parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    """What every benchmark takes, and its own options."""
    made = argparse.ArgumentParser(prog=f"python -m bench {name}", description=module.SUMMARY)
    made.add_argument("--quick", action="store_true", help="under a minute, less exact")
    made.add_argument("--rounds", type=int, default=0, help="how many rounds instead of the usual number")
    made.add_argument("--seconds", type=float, default=0.0, help="how long one measurement takes, where it is timed")
    made.add_argument("--only", default="", help="only these candidates: fairlead,haproxy,nginx,envoy")
    made.add_argument("--keep", action="store_true", help="keep the folder with configurations and logs")
    made.add_argument("--engine-part", choices=("master", "worker"), default="master", help=argparse.SUPPRESS)
    networks = ("auto", "kernel", "loopback")
    made.add_argument("--network", choices=networks, default="auto", help="network mode of clusters")
    if hasattr(module, "add_options"):
        module.add_options(made)
    return made


def main(arguments: list[str]) -> int:
    """Runs one benchmark; exit code 0 when it ran (whether its goals are met or not), 1 when it could not, 2 for a
    wrong name."""
    if not arguments or arguments[0] not in names():
        for name in names():
            print(f"{name:12} {importlib.import_module(f'bench.suite.{name}').SUMMARY}")
        return 2
    name, *rest = arguments
    module = importlib.import_module(f"bench.suite.{name}")
    options = parser(name, module).parse_args(rest)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything is taken down then, too
    with lab.opened(options) as opened:
        try:
            found = asyncio.run(module.run(opened))
        except KeyboardInterrupt:
            return 130
        except RuntimeError as error:
            print(f"{name} could not be measured: {error}", file=sys.stderr)
            return 1
    print(found.table())
    print(found.line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
