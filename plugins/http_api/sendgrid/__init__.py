"""SendGrid's API: its call for sending."""
