"""Where mtaframe stands beside another mail server, and where the one that is spoken to listens."""

import re

from pydantic import ValidationError

from mtaframe.notation import Endpoint
from mtaframe.settings import ListenerSettings

CHAINS = ("behind", "front")
"""``behind``: the other one hands its mail to mtaframe. ``front``: mtaframe hands its mail to the other one."""


_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._@+,-]+")
"""What Postfix and Exim take as it stands: a "$", a blank or a line end means something else to them."""


def endpoint_of(text: str | None) -> Endpoint | None:
    """What ``--endpoint`` says, if anything. ValueError if it can't be."""
    if text is None:
        return None
    try:
        found = Endpoint(ListenerSettings(name="endpoint", kind="mta", addresses=(text,)).addresses[0])
    except ValidationError as fault:
        raise ValueError(str(fault.errors(include_input=False)[0]["msg"])) from None
    if found.path is not None and not _PLAIN_PATH.fullmatch(found.path):
        raise ValueError('the path of a Unix socket may hold letters, digits and "/._@+,-" here')
    return found
