"""The metrics of the contract."""

from typing import Final

METRIC_NAMES: Final = {
    *("claimed_total", "delivered_total", "attempts_total", "attempt_duration_seconds"),
    *("delivery_duration_seconds", "deferred_total", "dead_lettered_total", "recovered_total", "acks_lost_total"),
    *("dead_letters_replayed_total", "dead_letters_dropped_total", "injected_total"),
    *("in_flight", "prefetched", "pending_length", "processing_length", "retry_length"),
    *("dead_length", "pending_head_age_seconds", "oldest_in_flight_seconds", "breaker_open"),
    *("ready", "redis_up", "redis_memory_used_ratio", "foreign_consumers"),
    *("last_delivery_timestamp_seconds", "log_lines_dropped_total", "build_info"),
}
"""Without their prefix. Dashboards and alerts of others rely on them."""
