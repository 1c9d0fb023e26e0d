"""A hostile receiver that writes any bytes at any time, and what a transport takes them for."""
