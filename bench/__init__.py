"""Measures the proxy, and for comparison nginx, a bare Flask route and other gateways.

``python -m bench`` runs these steps, all on loopback:

1. `provider` starts a fast upstream with prepared answers (`answers`).
2. `targets` starts the targets, each in front of that provider: none (*direct*), nginx,
   a bare Flask route (`floor`), the proxy (`gateway`), and the `peers` that are installed, with
   their configurations (`envoy`, `tensorzero_gateway`).
3. `scenarios` defines the requests; `load` sends them, in a closed loop, and checks answers.
4. `runner` measures the targets in turn, several times, so that other load affects all of them, and
   reads the processor time of each from its own processes (`processes`).
5. `connections` measures many that open at once; `growth` and `footprint` cost by size, memory,
   start and disk.
6. `report` writes the tables, `plot` the picture.
"""
