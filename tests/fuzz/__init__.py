"""A hostile receiver that writes any bytes at any time, and whether a transport ever takes them for what they are not."""
