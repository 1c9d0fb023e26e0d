"""What a receiver, a network or a proxy can do to one request, and what both transports make of it."""
