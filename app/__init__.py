"""Forwards every CDR of Enigma's Redis lists to HTTP endpoints, at least once.

Imports between its folders go downwards only: cli; ops and demo; lane; dead_letters and delivery; store; telemetry;
config. `service` puts the parts together. `cdr` and `errors` may be imported by all. ARCHITECTURE.md is the map.
"""
