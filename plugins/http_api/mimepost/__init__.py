"""MimePost's API: both generations of it, under ``/v1``."""
