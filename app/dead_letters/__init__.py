"""Hold dead letters: written, read, selected, replayed, dropped, and deleted at their age.

A letter holds its exact CDR. A replay or a drop is applied once, even if it is sent again after a lost reply.
May import store, telemetry and config.
"""
