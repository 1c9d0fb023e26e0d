"""Hold `check`: find what would go wrong with settings, Redis, keys, neighbours and endpoints before it does.

It changes nothing. Each finding says what is wrong and what to do about it.
"""
