#!/usr/bin/env python3
"""A faithful small shim in Python (docs/protocol.md, "The shim of a process pod"): `fake_shim.py shim DIR`.

It makes no namespace but `net` (through util-linux `unshare`, which starts it again) and honours neither mounts nor
capabilities. Tests use it where the engine's binary is not built.
"""

import asyncio
import base64
import contextlib
import json
import os
import resource
import signal
import struct
import sys
import time
from pathlib import Path


async def exited(pid: int) -> None:
    over = asyncio.Event()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    asyncio.get_running_loop().add_reader(descriptor, over.set)
    await over.wait()
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)


class Shim:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clients: set[asyncio.StreamWriter] = set()
        self.containers: dict[str, dict] = {}
        self.probes: dict[str, asyncio.Task] = {}
        self.over = asyncio.Event()
        self.background: set[asyncio.Task] = set()

    async def serve(self) -> None:
        os.chdir(self.folder)
        server = await asyncio.start_unix_server(self.client, path="shim.sock")
        os.chmod("shim.sock", 0o600)
        await self.over.wait()
        server.close()

    async def client(self, reader, writer) -> None:
        self.clients.add(writer)
        try:
            while True:
                (length,) = struct.unpack(">I", await reader.readexactly(4))
                message = json.loads(await reader.readexactly(length))
                self.spawn(self.answer(message, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.clients.discard(writer)
            writer.close()

    def spawn(self, coroutine) -> asyncio.Task:
        task = asyncio.ensure_future(coroutine)
        self.background.add(task)
        task.add_done_callback(self.background.discard)
        return task

    def send(self, writer, message) -> None:
        body = json.dumps(message).encode()
        writer.write(struct.pack(">I", len(body)) + body)

    def tell_all(self, message) -> None:
        for writer in self.clients:
            self.send(writer, message)

    async def answer(self, message, writer) -> None:
        try:
            fields = await getattr(self, f"on_{message['type']}")(message)
        except FileNotFoundError as error:
            bad = error.filename == message.get("cwd")
            fields = {"type": "error", "reason": "BadDirectory" if bad else "NotFound", "message": str(error)}
        except PermissionError as error:
            fields = {"type": "error", "reason": "PermissionDenied", "message": str(error)}
        except (KeyError, ValueError) as error:
            fields = {"type": "error", "reason": "Invalid", "message": repr(error)}
        self.send(writer, {"id": message["id"], **fields})
        if message["type"] == "stop":
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            self.over.set()

    async def on_state(self, message) -> dict:
        return {"type": "state", "shim_pid": os.getpid(), "netns_pid": os.getpid(), "containers": self.containers}

    def prepare(self, message):
        limits = message.get("rlimits", {})
        limits = {getattr(resource, f"RLIMIT_{name.upper()}"): pair for name, pair in limits.items()}

        def before_exec() -> None:
            for number, pair in limits.items():
                resource.setrlimit(number, tuple(pair))
            if message.get("uid") is not None:
                os.setgroups(message.get("groups") or [])
                os.setgid(message["gid"])
                os.setuid(message["uid"])

        return before_exec

    async def make(self, message):
        return await asyncio.create_subprocess_exec(
            *message["argv"],
            env=message["env"],
            cwd=message.get("cwd") or "/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=self.prepare(message),
        )

    async def on_start(self, message) -> dict:
        name = message["container"]
        known = self.containers.get(name)
        if known is not None and "finished_at" not in known:
            raise ValueError(f"{name} runs")
        process = await self.make(message)
        at = time.time()
        self.containers[name] = {"pid": process.pid, "started_at": at}
        Path(message["log"]).parent.mkdir(parents=True, exist_ok=True)
        log = open(message["log"], "ab", buffering=0)  # noqa: SIM115
        self.spawn(self.supervise(name, process, log, at))
        return {"type": "started", "pid": process.pid, "at": at}

    async def supervise(self, name, process, log, at) -> None:
        async def copy(reader, stream) -> None:
            while line := await reader.readline():
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09d}Z"
                log.write(f"{stamp} {stream} F ".encode() + line.rstrip(b"\n") + b"\n")

        copies = [self.spawn(copy(process.stdout, "stdout")), self.spawn(copy(process.stderr, "stderr"))]
        await exited(process.pid)  # asyncio's own wait would wait for the pipes as well, which children may hold
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = await process.wait()
        await asyncio.gather(*copies)
        log.close()
        number = -code if code < 0 else 0
        end = {
            "container": name, "pid": process.pid, "exit_code": 128 + number if number else code, "signal": number,
            "started_at": at, "finished_at": time.time(), "oom": False,
        }  # fmt: skip
        self.containers[name] = {key: value for key, value in end.items() if key != "container"}
        Path(f"{name}.exit.json.new").write_text(json.dumps(end))
        os.replace(f"{name}.exit.json.new", f"{name}.exit.json")
        self.tell_all({"type": "exited", **end})

    async def on_signal(self, message) -> dict:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.containers[message["container"]]["pid"], message["signal"])
        return {"type": "ok"}

    async def on_exec(self, message) -> dict:
        process = await self.make(message)
        timed_out = False
        waiting = asyncio.ensure_future(process.communicate())
        done, _ = await asyncio.wait([waiting], timeout=message.get("timeout_seconds") or None)
        if not done:
            timed_out = True
            process.kill()
        out, err = await waiting
        return {
            "type": "exec", "exit_code": process.returncode, "timed_out": timed_out,
            "stdout": base64.b64encode(out).decode(), "stderr": base64.b64encode(err).decode(),
        }  # fmt: skip

    async def on_exec_probe(self, message) -> dict:
        await self.on_probe_stop(message)
        self.probes[message["id"]] = self.spawn(self.probe(message))
        return {"type": "ok"}

    async def probe(self, message) -> None:
        await asyncio.sleep(message["initial_delay_seconds"])
        told, run, last, fast = None, 0, None, 0.01
        while True:
            answer = await self.on_exec(message)
            ok = answer["exit_code"] == 0 and not answer["timed_out"]
            counts = not (message["fast_start"] and told is None and not ok and fast < message["period_seconds"])
            run = run + 1 if ok == last and counts else 1
            last = ok
            enough = run >= message["success_threshold" if ok else "failure_threshold"]
            if counts and enough and ok != told:
                told = ok
                said = base64.b64decode(answer["stdout"]).decode(errors="replace").strip()
                self.tell_all({"type": "probe", "id": message["id"], "ok": ok, "message": said, "at": time.time()})
            await asyncio.sleep(message["period_seconds"] if counts else fast)
            fast *= 2

    async def on_probe_stop(self, message) -> dict:
        task = self.probes.pop(message["id"], None)
        if task is not None:
            task.cancel()
        return {"type": "ok"}

    async def on_stop(self, message) -> dict:
        for container in self.containers.values():
            if "finished_at" not in container:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(container["pid"], signal.SIGKILL)
        return {"type": "ok"}


def spawner(parent: Path) -> None:
    """Starts shims as it is told on standard input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    channel = os.fdopen(0, "rb", buffering=0)
    while head := channel.read(4):
        request = json.loads(channel.read(struct.unpack(">I", head)[0]))
        folder = parent / request["name"]
        folder.mkdir(mode=0o700, exist_ok=True)
        for stale in (folder / "shim.sock", *folder.glob("*.exit.json")):
            stale.unlink(missing_ok=True)
        for name, text in request.get("files", {}).items():
            (folder / name).write_text(text)
        (folder / "shim.json").write_text(json.dumps(request["config"]))
        with (folder / "shim.log").open("ab") as log:
            words = [sys.executable, sys.argv[0], "shim", str(folder)]
            pid = os.posix_spawn(
                words[0], words, os.environ,
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
                + [(os.POSIX_SPAWN_DUP2, log.fileno(), number) for number in (1, 2)],
                setsid=True, setsigdef=[signal.SIGCHLD],
            )  # fmt: skip
        while not (folder / "shim.sock").is_socket():
            time.sleep(0.005)
        answer = json.dumps({"type": "started", "id": request["id"], "pid": pid}).encode()
        os.write(0, struct.pack(">I", len(answer)) + answer)


def main() -> None:
    if sys.argv[3:] == ["--spawner"]:
        spawner(Path(sys.argv[2]))
        return
    folder = Path(sys.argv[2])
    config = json.loads((folder / "shim.json").read_text())
    if "net" in config.get("namespaces", []) and os.environ.get("FAKE_SHIM") != "inside":
        os.environ["FAKE_SHIM"] = "inside"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    asyncio.run(Shim(folder).serve())


if __name__ == "__main__":
    main()
