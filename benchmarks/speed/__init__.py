"""Speed beside every peer, in one interleaved run: `make bench`, or `python -m speed` in `benchmarks`.

`workloads` says what is computed, `systems` who computes it, `worker` is one system in a process of
its own, `rounds` lets them take turns, `summary` makes medians and paired ratios, `peak` measures
the machine's limit, `report` writes docs/performance.md. Method and results stand there.
"""
