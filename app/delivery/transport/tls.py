"""Decide which certificates an endpoint is trusted by, and which one we show."""

import ssl
from collections.abc import Callable

from app.config.endpoint import EndpointSettings
from app.delivery.failures import reason
from app.errors import ConfigurationError


def tls_context(endpoint: EndpointSettings) -> ssl.SSLContext:
    """Make what an endpoint is trusted by; ConfigurationError if its certificates cannot be used."""
    try:
        return _tls_context(endpoint)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(
            f"endpoint {endpoint.name}: CA_FILE, CERT_FILE or KEY_FILE cannot be used: {reason(error)}"
        ) from error


def _tls_context(endpoint: EndpointSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=endpoint.ca_file)
    context.set_alpn_protocols(["http/1.1"])
    if endpoint.ca_file:
        # What the operator names is trusted as it is, on every version of Python alike: an intermediate
        # without its root, or the self-signed certificate of an appliance, which strict checks refuse.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not endpoint.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if endpoint.cert_file:
        context.load_cert_chain(endpoint.cert_file, endpoint.key_file)
    return context


def tell_ends(context: ssl.SSLContext, told: Callable[[float], None]) -> None:
    """Have `told` called at each handshake with the end (Unix seconds) of the certificate that was verified."""

    class Handshake(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()  # raises until it is complete
            # Empty where TLS_VERIFY is false: Python does not read what it does not verify.
            if certificate := self.getpeercert():
                told(ssl.cert_time_to_seconds(str(certificate["notAfter"])))

    context.sslobject_class = Handshake
