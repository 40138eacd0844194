"""To whom strangers may send."""

import pytest

from mtaframe.testing import ScriptedMx
from tests.core.test_reception import house
from tests.dialogue import Dialogue

DOOR = """
[[listener]]
name = "books"
kind = "mta"
addresses = ["127.0.0.1:0"]
relay_domains = ["xn--bcher-kva.example"]
"""


@pytest.mark.parametrize(
    ("domain", "code"), [("xn--bcher-kva.example", 250), ("b\u00fccher.example", 250), ("a.b\u00fccher.example", 550)]
)
async def test_a_domain_beyond_ascii_may_be_sent_to_however_it_is_written(tmp_path, domain, code):
    """To its own letters relaying was denied, for good."""
    async with ScriptedMx() as mx, house(tmp_path, mx, more=DOOR) as mta, Dialogue(mta.port("books")) as client:
        assert (await client.say("MAIL FROM:<a@example.org> SMTPUTF8")).startswith("250 ")
        assert (await client.say(f"RCPT TO:<bob@{domain}>")).startswith(f"{code} ")
