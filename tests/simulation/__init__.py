"""Millions of bad days: whole services, a Redis, endpoints and a network in one thread, with a virtual clock.

    python -m tests.simulation --minutes 60 --jobs 2     explore; prints schedules, faults that mattered, findings
    python -m tests.simulation --seed N                  replay one exactly; a failing one is made smaller first
    python -m tests.simulation --plan FILE               replay what --seed has printed behind `plan:`
    python -m tests.simulation --without list            the safeguards that can be taken away
    python -m tests.simulation --without NAME            take one away: a law must then be broken
    python -m tests.simulation --without each            try all of them: the table; fails if one is not missed
    python -m tests.simulation --without turn            try a few, others every day, as CI does

| File | Holds |
|---|---|
| `loop.py`, `process.py`, `virtual.py` | the event loop; who runs; clocks and chance |
| `network.py`, `weather.py` | connections, and what they suffer |
| `redis/` | a Redis server of our own, with real Lua; `test_differential.py` compares it with real ones |
| `endpoint.py` | receivers that answer in every way |
| `plan.py`, `faults.py`, `world.py` | what happens in a run, what each fault does, and the run itself |
| `scenarios.py` | runs that lead to where chance alone seldom comes |
| `keys.py`, `ledger.py`, `trace.py` | where CDRs are, the laws, and the story |
| `operator.py` | what an operator types meanwhile |
| `shrink.py`, `explore.py`, `command.py` | making a plan smaller, running many, the command line |
| `ablation.py`, `safeguards.py` | how a safeguard is taken away, and which |

The laws, for each payload, at each atomic step of Redis: what has left Redis was delivered, passed on or dropped
(`lost`); a move never makes more of it (`multiplied`); only the owner takes out of its processing list (`fenced`),
and nobody else before it is gone for half a lease (`eager`); it is not delivered, or posted at once, more often than it
was pushed while nothing excuses that (`twice`); nothing is posted after the end of a lease (`lease`); a dead letter has
two rejections a minute apart, and another CDR was accepted in between (`dead letter`). In the end everything drains
(`stuck`), nobody asks Redis again and again for nothing (`busy`), and services stop when asked (`stop`).
"""
