"""The operator server, its views and the status page."""
