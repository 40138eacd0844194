"""Postmark's API: its calls for sending."""
