"""Hold the operator server: health, metrics, status, the page, and what may be done with dead letters over HTTP.

It answers from what is known anyway: a scrape asks Redis nothing. It never holds up a delivery, and tells no CDR and no
secret to whoever has no token. May import lane and what is below it.
"""
