"""Resend's API: its calls for sending."""
