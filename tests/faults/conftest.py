"""The real upstreams are those of the end-to-end tests."""

from tests.end_to_end.conftest import postconf, start_exim, start_postfix

__all__ = ["postconf", "start_exim", "start_postfix"]
