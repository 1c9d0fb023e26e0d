"""cdr-forwarder: moves every call-detail record from a Redis list to webhooks."""
