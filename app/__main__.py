"""Make `python -m app` the same as `cdr-forwarder`."""

from app.cli.main import main

main()
