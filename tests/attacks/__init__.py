"""Attacks on the operator server, by whoever reaches its port and has no token.

`python -m tests.attacks` runs all of them against a real process, and prints what they cost.
"""
