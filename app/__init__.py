"""Forward every CDR of Enigma's Redis lists to HTTP endpoints, at least once.

Imports between its folders go downwards only: cli; ops and demo; lane; dead_letters and delivery; store; telemetry;
config. `parts` builds a process from them, `service` runs it. `cdr` and `errors` may be imported by all.
ARCHITECTURE.md is the map.
"""
