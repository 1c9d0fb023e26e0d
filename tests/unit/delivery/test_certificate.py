"""The end of a certificate is told in time, and not at each handshake."""

import time

from structlog.testing import capture_logs

from app.delivery.certificate import SOON, Certificate


def test_one_that_ends_soon_is_told_once_a_day() -> None:
    """However many connections are opened meanwhile."""
    certificate = Certificate("billing")
    with capture_logs() as said:
        for _ in range(3):
            certificate.note(time.time() + SOON.total_seconds() - 60)
    [told] = said
    assert (told["event"], told["log_level"], told["endpoint"]) == ("endpoint.certificate_ends", "warning", "billing")


def test_one_that_was_renewed_is_not_told() -> None:
    """Only its end is kept."""
    certificate, ends = Certificate("billing"), time.time() + SOON.total_seconds() + 60
    with capture_logs() as said:
        certificate.note(ends)
    assert not said
    assert certificate.ends is not None
    assert abs(certificate.ends.timestamp() - ends) < 1
