"""Hold the demo, the sample endpoint, and a Redis server that comes inside a wheel.

The demo kills real processes and counts every CDR; its last line says how many were lost. Tests use the server and the
endpoint too. May import everything below cli; it may use redis-py, as a client of its own.
"""
