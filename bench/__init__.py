"""The benchmarks: `python -m bench NAME [--quick]`.

Each measures fairlead and its peers in turn in one run, in several rounds, and reports medians: a table for people,
and one JSON line last. What a peer needs to be at its best is in `bench/peers/`. Nothing here retries, and every
request that was due counts.

One module per benchmark in `bench/suite/`: `SUMMARY` (one line), `async def run(lab) -> report.Report`, and where it
has options of its own, `def add_options(parser)`. The other modules are what they share: `lab` (processes, cores,
ports), `load` (backend and generators), `cpu`, `memory`, `rounds` (turns and medians), `report`, `candidates`.
"""
