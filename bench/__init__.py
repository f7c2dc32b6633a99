"""How fast the proxy is, beside nginx, a bare Flask route and other gateways.

``python -m bench`` does this, all on loopback:

1. `provider` starts a fast upstream with answers made beforehand (`answers`).
2. `targets` starts what is compared, each in front of that provider: nothing (*direct*), nginx,
   a bare Flask route (`floor`), the proxy (`gateway`), and the `peers` that are installed.
3. `scenarios` says what is asked of them; `load` asks it, in a closed loop, and checks answers.
4. `runner` goes round the targets several times, so that a noisy minute hits all of them, and
   reads the processor time of each from its own processes (`processes`).
5. `growth` and `footprint` measure what is no load test: cost by size, memory, start, disk.
6. `report` writes the tables, `plot` the picture.
"""
