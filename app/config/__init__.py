"""Hold every setting, once: its name, its default, what it accepts, and the message for what it does not accept.

The environment is read when somebody asks for settings, never by an import. Secrets are masked wherever a value is
shown. `timings` holds the durations and sizes that are not settings. Imports nothing of ours but `errors`; nobody else
imports pydantic.
"""
