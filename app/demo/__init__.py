"""The demo and the sample endpoint."""
