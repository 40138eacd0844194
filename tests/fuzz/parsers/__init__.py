"""One file per parser, or per family of them; each lists what it has as ``PARSERS``."""
