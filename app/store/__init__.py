"""Hold all that knows Redis: connections, keys, leases, and the scripts that move CDRs.

Every script is a whole: a CDR is at each moment in one place at least, and a script that is sent again is applied once.
Errors of redis-py become ours here (`client.meaning`): transient, or for a person. Nobody above imports redis-py.
May import telemetry and config.
"""
