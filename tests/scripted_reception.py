"""A reception that says what the test wants and writes down what the door asked: for tests of the door alone."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mtaframe.address import Address
from mtaframe.envelope import Mail, Recipient, Session
from mtaframe.reply import Reply
from mtaframe.settings import ListenerSettings

HANG = "HANG"
FAIL = "FAIL"
NOTHING = "NOTHING"

Answer = Reply | str


class ScriptedReception:
    """``record`` is what was asked, one line each. Passwords: ``secret`` is right."""

    def __init__(self) -> None:
        self.record: list[str] = []
        self.sessions: list[Session] = []
        self.mails: list[Mail] = []
        self.messages: list[bytes] = []
        self.transactions: list[ScriptedTransaction] = []
        self.connect_answer: Answer | None = None
        self.auth_answer: Answer | None = None
        self.mail_answer: Answer | None = None
        self.rcpt_answers: dict[str, Answer] = {}
        self.dot_answers: list[Answer] = []
        """Used up one by one; afterwards 250."""
        self.room = 1 << 30
        self.go_on = asyncio.Event()
        """Each HANG ends here, with 250."""
        self.completing = asyncio.Event()

    async def connect(self, session: Session) -> Session | Reply:
        self.sessions.append(session)
        answer = await self.said(self.connect_answer, session)
        return answer if isinstance(answer, Reply) else session.with_note("seen", True)

    async def authenticate(self, session: Session, user: str, password: str) -> Session | Reply:
        self.record.append(f"AUTH {user} {'right' if password == 'secret' else 'wrong'}")
        answer = await self.said(self.auth_answer, session)
        if isinstance(answer, Reply):
            return answer
        return replace(session, account=user) if password == "secret" else Reply(535, "5.7.8", "wrong")

    async def account_of(self, user: str) -> str | None:
        return "shop" if user == "shop" else None

    async def begin(self, session: Session, listener: ListenerSettings, mail: Mail) -> "ScriptedTransaction | Reply":
        self.sessions.append(session)
        self.mails.append(mail)
        words = [f"MAIL {_shown(mail.reverse_path)} {mail.body}"]
        words += [f"SIZE={mail.size}"] * (mail.size > 0) + ["SMTPUTF8"] * mail.smtputf8
        words += [f"RET={mail.ret}"] * (mail.ret is not None) + [f"ENVID={mail.envid}"] * (mail.envid is not None)
        self.record.append(" ".join(words))
        answer = await self.said(self.mail_answer, session)
        if isinstance(answer, Reply):
            return answer
        self.transactions.append(ScriptedTransaction(self, listener.kind == "lmtp", mail.prdr))
        return self.transactions[-1]

    async def said(self, answer: Answer | None, otherwise: Any) -> Any:
        if answer == FAIL:
            raise RuntimeError("private text that nobody may see")
        if answer == HANG:
            await self.go_on.wait()
            return otherwise
        return answer if isinstance(answer, Reply) else otherwise


class ScriptedTransaction:
    def __init__(self, reception: ScriptedReception, is_lmtp: bool, is_prdr: bool) -> None:
        self.reception = reception
        self.is_lmtp = is_lmtp
        self.is_prdr = is_prdr
        self.accepted = 0
        self.refusal: Reply | None = None
        self.settled: list[str] = []
        self.was_cancelled = False

    async def add(self, recipient: Recipient) -> Reply:
        name = recipient.address.mailbox
        words = [f"RCPT <{name}>"]
        words += [f"NOTIFY={','.join(sorted(recipient.notify))}"] * bool(recipient.notify)
        words += [f"ORCPT={recipient.original}"] * (recipient.original is not None)
        self.reception.record.append(" ".join(words))
        reply: Reply = await self.reception.said(self.reception.rcpt_answers.get(name), Reply(250, "2.1.5", "ok"))
        self.accepted += reply.is_positive
        return reply

    def has_room_for(self, octets: int) -> bool:
        return octets <= self.reception.room

    async def complete(self, octets: bytes | bytearray, say: Callable[[Reply], None]) -> None:
        reception = self.reception
        octets = bytes(octets)
        reception.messages.append(octets)
        shown = octets.decode("latin-1").encode("unicode_escape").decode()
        reception.record.append(f"DATA {shown if len(shown) < 200 else len(octets)}")
        reception.completing.set()
        try:
            for _ in range(self.accepted * (self.is_lmtp or self.is_prdr) + (not self.is_lmtp)):
                answer = reception.dot_answers.pop(0) if reception.dot_answers else None
                if answer == NOTHING:
                    return
                say(await reception.said(answer, Reply(250, "2.0.0", "delivered")))
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise

    def proven(self) -> None:
        self.settled.append("proven")
        self.reception.record.append("PROVEN")

    def unproven(self) -> None:
        self.settled.append("unproven")
        self.reception.record.append("UNPROVEN")


def _shown(address: Address | None) -> str:
    return f"<{address.mailbox}>" if address else "<>"


def connected(address: str) -> socket.socket:
    """A blocking client socket, for clients that are not asyncio."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=10)
