"""Line ends of a message whose client ends lines as it likes, made CR LF.

The law: where the message ended was decided before, by CR LF . CR LF alone; nothing in here can make it end elsewhere.
"""

import re

_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_BARE_AND_STUFFED = re.compile(rb"(?:\r(?!\n)|(?<!\r)\n)\.?")


def normalized(octets: bytearray, *, is_stuffed: bool) -> bytearray:
    """With CR LF for each bare CR and each bare LF.

    ``is_stuffed``: it came by DATA, where a dot is doubled that begins a line; for lines that CR LF ends that is
    undone already.
    """
    return bytearray((_BARE_AND_STUFFED if is_stuffed else _BARE).sub(b"\r\n", octets))
