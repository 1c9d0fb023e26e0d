"""Makes `python -m app` the same as `cdr-forwarder`."""

from app.cli import main

main()
