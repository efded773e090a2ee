"""CPU and memory are read for all of a candidate: its threads, its children, and the children that have ended."""

import subprocess
import sys

from bench import cpu, memory

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
THREADS = f"""
import subprocess, sys, threading
threads = [threading.Thread(target=lambda: sum(range(3_000_000))) for _ in range(3)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
subprocess.run([sys.executable, "-c", {BURN!r}])
living = subprocess.Popen([sys.executable, "-c", {BURN!r} + "print(1, flush=True)\\nimport sys; sys.stdin.read()"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE)
living.stdout.readline()
print("ready", flush=True)
sys.stdin.read()
"""


def test_threads_ended_children_and_living_children_all_count():
    argv = [sys.executable, "-c", THREADS]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        parent.stdout.readline()
        whole, alone = cpu.family_seconds([parent.pid]), cpu.process_seconds(parent.pid)
        assert len(cpu.family([parent.pid])) == 2
        assert 0.6 <= whole < 5
        assert alone >= 0.3  # its own threads and the child that has ended
        assert whole - alone >= 0.29  # the child that lives
        parent.stdin.close()


def test_the_clock_and_proc_agree():
    argv = [sys.executable, "-c", BURN + "print(1, flush=True)\nimport sys; sys.stdin.read()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as burner:
        burner.stdout.readline()
        assert abs(cpu.process_seconds(burner.pid) - cpu.stat_seconds(burner.pid)) < 0.03
        assert memory.pss_mb([burner.pid]) > 1
        burner.stdin.close()


def test_a_process_that_has_ended_counts_nothing():
    done = subprocess.Popen(["true"])
    done.wait()
    assert cpu.family_seconds([done.pid]) == 0
    assert memory.family_pss_mb([done.pid]) == 0
