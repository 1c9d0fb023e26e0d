"""Hold all that knows Redis: connections, keys, leases, and the scripts that move CDRs.

At each moment a CDR is in at least one key. A script that is sent again is applied once.
Errors of redis-py become ours here (`meaning.py`): transient, or for a person. Nobody above imports redis-py.
May import telemetry and config.
"""
