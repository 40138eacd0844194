"""Where mtaframe stands beside another mail server, and where the one that is spoken to listens."""

from pydantic import ValidationError

from mtaframe.notation import Endpoint
from mtaframe.settings import ListenerSettings

CHAINS = ("behind", "front")
"""``behind``: the other one hands its mail to mtaframe. ``front``: mtaframe hands its mail to the other one."""


def endpoint_of(text: str | None) -> Endpoint | None:
    """What ``--endpoint`` says, if anything. ValueError if it can't be."""
    if text is None:
        return None
    try:
        return Endpoint(ListenerSettings(name="endpoint", kind="mta", addresses=(text,)).addresses[0])
    except ValidationError as fault:
        raise ValueError(str(fault.errors(include_input=False)[0]["msg"])) from None
