"""Hold what a person types: one module for each command, and `check` in a folder of its own.

A command says what it did in one sentence, and fails with one. It never shows a secret, and a CDR only where somebody
asks for it by id. What only people need (rich) is imported when a command runs, so that the service stays small.
May import everything but what is inside the service.
"""
