"""Parsers of untrusted input, fed with what nobody would send in good faith; see docs/testing.md."""
