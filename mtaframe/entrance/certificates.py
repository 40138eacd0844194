"""The certificate that a listener shows, read again when its files change.

The law: a pair that does not load is told and the one before stays in use: no client is turned away because
a certificate was being renewed.
"""

import logging
import os
import ssl

from mtaframe.lifecycle import Clock

log = logging.getLogger("mtaframe.entrance")

_LOOK_EVERY = 1.0


class Certificates:
    """OSError (ssl.SSLError is one) if the pair doesn't load at the beginning."""

    def __init__(self, listener: str, certificate: str, key: str, clock: Clock) -> None:
        self._listener = listener
        self._files = (certificate, key)
        self._clock = clock
        self._looked_at = clock.monotonic()
        self._seen = self._look()
        self._context = _load(certificate, key)

    @property
    def context(self) -> ssl.SSLContext:
        """For the next handshake; the files are looked at once a second at most."""
        now = self._clock.monotonic()
        if now - self._looked_at >= _LOOK_EVERY:
            self._looked_at = now
            self._refresh()
        return self._context

    def _refresh(self) -> None:
        try:
            seen = self._look()
            if seen == self._seen:
                return
            self._seen = seen
            self._context = _load(*self._files)
        except OSError as error:
            log.error(
                "listener %s: the new certificate or key can't be used, the old one stays: %s",
                self._listener,
                type(error).__name__,
            )

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        states = [os.stat(path) for path in self._files]
        return tuple((state.st_mtime_ns, state.st_ino, state.st_size) for state in states)


def _load(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context
