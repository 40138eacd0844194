"""Odd mails of the real world and some made to be odd, as a server would be handed them: every line ends in CR LF."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "data" / "mails"

_BEGIN = b"From: Alice <alice@example.com>\r\nTo: bob@example.net\r\nSubject: odd\r\n"

WRITTEN: dict[str, bytes] = {
    "no-body": _BEGIN + b"\r\n",
    "no-empty-line": _BEGIN,
    "no-empty-line-before-body": _BEGIN + b"This is the body already\r\n\r\nand so is this\r\n",
    "no-header": b"\r\nOnly a body\r\n",
    "nothing-but-a-line": b"Only a body, and no field\r\n",
    "empty-lines-only": _BEGIN + b"\r\n" + b"\r\n" * 40,
    "blanks-only": _BEGIN + b"\r\n" + b" \t \r\n" * 7,
    "blanks-at-line-ends": _BEGIN + b"\r\none \r\ntwo\t\r\n three \t \r\n\r\n \r\n\t\r\n",
    "runs-of-blanks": _BEGIN + b"\r\na" + b" " * 900 + b"b" + b"\t \t" * 300 + b"\r\n\tc\r\n",
    "no-final-line-end": _BEGIN + b"\r\nlast line",
    "no-final-line-end-but-a-blank": _BEGIN + b"\r\nlast line ",
    "only-a-blank": _BEGIN + b"\r\n ",
    "dots": _BEGIN + b"\r\n.\r\n..\r\n.a\r\n...b\r\n",
    "form-feed-and-vertical-tab": _BEGIN + b"\r\n\x0cpage\x0b\r\n\x0c \r\n",
    "long-lines": _BEGIN + b"\r\n" + (b"x" * 998 + b"\r\n") * 3,
    "latin-1": _BEGIN + b"X-Name: J\xf6rg\r\n\r\nGr\xfc\xdfe\xa0\r\n",
    "utf-8-everywhere": "From: Jörg <jörg@example.com>\r\nSubject: Grüße 🙂\r\n\r\nGrüße\u00a0\u3000\r\n".encode(),
    "all-octets": _BEGIN + b"\r\n" + bytes(o for o in range(1, 256) if o not in (10, 13)) + b"\r\n",
    "folded-oddly": b"From:\r\n A\r\n\t<alice@example.com>\r\nSubject:\r\n \t \r\n \t odd \t\r\n\t\r\n z\r\n\r\nx\r\n",
    "folded-at-once": b"Subject:\r\n\tat once\r\nFrom: alice@example.com\r\nTo:\r\n\r\nx\r\n",
    "ends-in-a-fold": _BEGIN + b"X-Last: a\r\n \r\n\r\nx\r\n",
    "blank-before-colon": b"From: alice@example.com\r\nSubject : odd\r\nTo  : bob@example.net\r\n\r\nx\r\n",
    "tab-before-colon": b"From: alice@example.com\r\nSubject\t: odd\r\n\r\nx\r\n",
    "no-blank-behind-colon": b"From:alice@example.com\r\nSubject:odd\r\nTo:bob@example.net\r\n\r\nx\r\n",
    "odd-names": _BEGIN + b"X_!#$%&'*+/=?^`{|}~: 1\r\n0: 2\r\n\r\nx\r\n",
    "case": b"FROM: alice@example.com\r\nsubJECT: Odd\r\nmessage-id: <A@Example.com>\r\n\r\nx\r\n",
    "empty-values": b"From: alice@example.com\r\nSubject:\r\nTo: \r\nCc:\t\r\nDate:\r\n\r\nx\r\n",
    "two-from": b"From: alice@example.com\r\nFrom: mallory@example.org\r\nSubject: odd\r\n\r\nx\r\n",
    "two-of-all": _BEGIN + b"X-Between: 1\r\n" + _BEGIN.replace(b"odd", b"even") + b"\r\nx\r\n",
    "several-in-from": b"From: Alice <alice@example.com>, Bob <bob@example.com>\r\nSender: a@example.com\r\n\r\nx\r\n",
    "group-in-from": b"From: All of us: a@example.com, B <b@example.com>;\r\n\r\nx\r\n",
    "no-from": b"To: bob@example.net\r\nSubject: odd\r\n\r\nx\r\n",
    "empty-from": b"From:\r\nTo: bob@example.net\r\n\r\nx\r\n",
    "comments-in-from": b"From: (a (nested) \\) one) Alice (<not@this.example>) <alice@example.com>\r\n\r\nx\r\n",
    "unclosed-quote": b'From: "Alice <alice@example.com>\r\nSubject: "odd\r\n\r\nx\r\n',
    "mbox-line": b"From alice@example.com Sun Mar  1 12:00:00 2026\r\n"
    + _BEGIN
    + b"\r\nFrom here on\r\n>From there\r\n",
    "quoted-mbox-line": b">From alice@example.com Sun Mar  1 12:00:00 2026\r\n" + _BEGIN + b"\r\nx\r\n",
    "mbox-line-in-the-middle": _BEGIN + b"From alice@example.com Sun Mar  1 12:00:00 2026\r\nX-Last: a\r\n\r\nx\r\n",
    "received-in-the-middle": _BEGIN + b"Received: from a by b; Sun, 1 Mar 2026 12:00:00 +0000\r\nDate: x\r\n\r\nx\r\n",
    "signed-before": b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=x; h=from; bh=; b=\r\n"
    + _BEGIN
    + b"\r\nx\r\n",
    "many-fields": _BEGIN + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(300)) + b"\r\nx\r\n",
    "long-field": _BEGIN + b"References:" + b"\r\n <0123456789abcdef@example.com>" * 200 + b"\r\n\r\nx\r\n",
}

_ANY_LINE_END = re.compile(rb"\r\n|\r|\n")


def with_crlf(octets: bytes) -> bytes:
    """The same with CR LF for every line end, as SMTP demands (RFC 5321 §2.3.8)."""
    return _ANY_LINE_END.sub(b"\r\n", octets)


def corpus() -> list[tuple[str, bytes]]:
    """All mails as (name, octets): ``package/file`` or ``written/name``. Not all are valid mail; all could arrive."""
    files = sorted(f for f in FOLDER.glob("*/*") if f.name != "LICENSE")
    found = [(f"{file.parent.name}/{file.name}", with_crlf(file.read_bytes())) for file in files]
    return found + [(f"written/{name}", octets) for name, octets in WRITTEN.items()]
