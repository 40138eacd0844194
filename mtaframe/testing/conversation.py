"""One connection to a scripted server, command by command (RFC 5321, RFC 2033, RFC 4954, RFC 3207)."""

import asyncio
import base64
import binascii
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from mtaframe.message import has_bare_line_end
from mtaframe.testing.script import HANG, RESET, MxSession, Received, Trouble
from mtaframe.testing.wire import Wire, WireLost

if TYPE_CHECKING:
    from mtaframe.testing.mx import ScriptedMx

_PATH = re.compile(r'\s*<((?:"(?:[^"\\]|\\.)*")?[^>]*)>(.*)')
_LAST_IN_GROUP = frozenset({"EHLO", "HELO", "LHLO", "STARTTLS", "AUTH", "DATA", "NOOP", "VRFY", "QUIT"})


class Conversation:
    """One connection, command by command."""

    def __init__(self, mx: "ScriptedMx", wire: Wire, session: MxSession) -> None:
        self.mx, self.wire, self.session = mx, wire, session
        self.refused = False
        self.reset()

    def reset(self) -> None:
        self.reverse_path: str | None = None
        self.mail_parameters = ""
        self.recipients: list[str] = []
        self.rcpt_parameters: list[str] = []

    async def run(self) -> None:
        try:
            code = await self.answer("connect", f"220 {self.mx.name} {'LMTP' if self.mx.lmtp else 'ESMTP'}")
            self.refused = code >= 400
            if self.wire.buffer:
                self.fault("the client spoke before the greeting")
            while True:
                await self.command(await self.wire.line())
        except (WireLost, OSError):
            pass
        finally:
            self.session.is_open = False
            self.wire.close()

    async def command(self, octets: bytes) -> None:
        line = octets.decode("utf-8", "surrogateescape")
        self.mx.commands.append(line)
        self.session.commands.append(line)
        verb, _, rest = line.partition(" ")
        verb = verb.upper()
        if b"\r" in octets or b"\n" in octets:
            self.fault("a bare CR or LF in a command")
        if self.wire.buffer and ("PIPELINING" not in self.mx.extensions or verb in _LAST_IN_GROUP):
            self.fault(f"something followed {verb} before its answer")
        known = getattr(self, f"on_{verb.lower()}", None) if verb.isalpha() else None
        if self.refused and verb != "QUIT":
            self.say("503 5.5.1 this session was refused")
        elif known is None:
            self.wrong("500 5.5.2 unknown command", f"unknown command {verb}")
        else:
            await known(rest)

    def fault(self, what: str) -> None:
        self.mx.faults.append(what)

    def wrong(self, reply: str, what: str) -> None:
        self.fault(what)
        self.say(reply)

    def say(self, text: str) -> int:
        """Write a reply, which may have several lines, and return its code."""
        lines = text.splitlines()
        code = int(lines[0][:3])
        marked = [f"{line[:3]}-{line[4:]}" for line in lines[:-1]] + [lines[-1]]
        self.wire.write("".join(f"{line}\r\n" for line in marked).encode("utf-8", "surrogateescape"))
        if code == 421:
            self.wire.close()
            raise WireLost
        return code

    async def answer(self, stage: str, usual: str, recipient: str = "") -> int:
        """Say what the script wants, else what is usual; the code that was said, 0 if it was none."""
        script = self.mx.next_script(stage, recipient)
        if script is not None and script.delay:
            await asyncio.sleep(script.delay)
        answer = usual if script is None or script.answer is None else script.answer
        if isinstance(answer, Trouble):
            await self.trouble(answer, stage)
        if isinstance(answer, bytes):
            self.wire.write(answer)
            return int(answer[:3]) if answer[:3].isdigit() else 0
        return self.say(answer) if answer else 0

    async def trouble(self, trouble: Trouble, stage: str) -> NoReturn:
        if trouble is HANG:
            await (self.wire.stall() if stage == "content" else self.wire.ignore())
        elif trouble is RESET:
            self.wire.reset()
        raise WireLost

    async def on_ehlo(self, name: str) -> None:
        if self.mx.lmtp:
            return self.wrong("500 5.5.1 this is LMTP", "EHLO to LMTP")
        await self.greet("ehlo", name)

    async def on_lhlo(self, name: str) -> None:
        if not self.mx.lmtp:
            return self.wrong("500 5.5.1 this is SMTP", "LHLO to SMTP")
        await self.greet("ehlo", name)

    async def on_helo(self, name: str) -> None:
        if self.mx.lmtp:
            return self.wrong("500 5.5.1 this is LMTP", "HELO to LMTP")
        await self.greet("helo", name)

    async def greet(self, stage: str, name: str) -> None:
        offers = [self.mx.name, *(self.offers() if stage == "ehlo" else ())]
        if await self.answer(stage, "\n".join(f"250 {offer}" for offer in offers)) < 300:
            self.session.ehlo = name
            self.reset()

    def offers(self) -> list[str]:
        secure = self.wire.tls or self.mx.tls is None
        offers = list(self.mx.extensions)
        if not secure:
            offers.append("STARTTLS")
        if secure and self.mx.credentials is not None:
            offers.append("AUTH PLAIN LOGIN")
        return offers

    async def on_starttls(self, _: str) -> None:
        if "STARTTLS" not in self.offers() or self.mx.tls is None:
            return self.wrong("502 5.5.1 not offered", "STARTTLS was not offered")
        if await self.answer("starttls", "220 2.0.0 go ahead") == 220:
            await self.wire.start_tls(self.mx.tls)
            self.session.tls, self.session.ehlo, self.session.user = True, "", None
            self.reset()

    async def on_auth(self, rest: str) -> None:
        if "AUTH PLAIN LOGIN" not in self.offers() or self.session.user is not None:
            return self.wrong("503 5.5.1 not now", "AUTH was not offered")
        mechanism, _, initial = rest.partition(" ")
        user, password = "", ""
        with suppress(ValueError):
            if mechanism.upper() == "PLAIN":
                _, user, password = (await self.response(initial, "")).split("\0")
            elif mechanism.upper() == "LOGIN":
                user = await self.response(initial, "Username:")
                password = await self.response("", "Password:")
            else:
                return self.wrong("504 5.5.4 unknown mechanism", "AUTH with a mechanism that was not offered")
        right = (self.mx.credentials or {}).get(user) == password
        if await self.answer("auth", "235 2.7.0 welcome" if right else "535 5.7.8 wrong credentials") == 235:
            self.session.user = user

    async def response(self, initial: str, challenge: str) -> str:
        """What the client gave with AUTH, or gives to a challenge (RFC 4954 §4). ValueError if it is no base64."""
        if not initial:
            self.say(f"334 {base64.b64encode(challenge.encode()).decode()}")
            initial = (await self.wire.line()).decode("ascii", "replace")
        try:
            return base64.b64decode("" if initial == "=" else initial, validate=True).decode()
        except binascii.Error:
            raise ValueError from None

    async def on_mail(self, rest: str) -> None:
        path = _PATH.fullmatch(rest[5:]) if rest[:5].upper() == "FROM:" else None
        if not self.session.ehlo or self.reverse_path is not None:
            return self.wrong("503 5.5.1 not now", "MAIL out of order")
        if path is None:
            return self.wrong("501 5.5.4 MAIL FROM:<path>", "MAIL without a path")
        refusal = self.refusal_of(path[1], path[2])
        code = await self.answer("mail", refusal or "250 2.1.0 ok")
        if 200 <= code < 300:
            self.reverse_path, self.mail_parameters = path[1], path[2].strip()

    def refusal_of(self, path: str, parameters: str) -> str | None:
        """What a strict server has against a path or its parameters, or None."""
        offered = {extension.partition(" ")[0].upper(): extension for extension in self.mx.extensions}
        given = {key.upper(): value for key, _, value in (p.partition("=") for p in parameters.split())}
        needs = {"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN"}
        needs |= {"NOTIFY": "DSN", "ORCPT": "DSN", "REQUIRETLS": "REQUIRETLS"}
        for key in given:
            if key in needs and needs[key] not in offered:
                self.fault(f"{key} was not offered")
                return "555 5.5.4 parameter not offered"
        if not path.isascii() and "SMTPUTF8" not in f"{parameters} {self.mail_parameters}".upper().split():
            self.fault("an address that needs SMTPUTF8, without it")
            return "553 5.6.7 SMTPUTF8 is needed"
        limit = offered.get("SIZE", "").partition(" ")[2]
        if limit.isdigit() and given.get("SIZE", "").isdigit() and int(given["SIZE"]) > int(limit) > 0:
            return "552 5.3.4 too large"
        return None

    async def on_rcpt(self, rest: str) -> None:
        path = _PATH.fullmatch(rest[3:]) if rest[:3].upper() == "TO:" else None
        if path is None:
            return self.wrong("501 5.5.4 RCPT TO:<path>", "RCPT without a path")
        if self.reverse_path is None:
            # Pipelined behind a MAIL that was refused: no fault of the client.
            self.say("503 5.5.1 MAIL first")
            return
        refusal = self.refusal_of(path[1], path[2])
        if 200 <= await self.answer("rcpt", refusal or "250 2.1.5 ok", path[1]) < 300:
            self.recipients.append(path[1])
            self.rcpt_parameters.append(path[2].strip())

    async def on_data(self, _: str) -> None:
        if not self.recipients:
            self.say(f"{503 if self.mx.lmtp else 554} 5.5.1 no valid recipients")
            return
        code = await self.answer("data", "354 go ahead")
        if 300 <= code < 400:
            await self.take()

    async def take(self) -> None:
        """Read the content and answer its dot."""
        while not self.wire.buffer:
            await self.wire.more()
        await self.answer("content", "")
        stuffed = await self.wire.content()
        raw = (b"\r\n" + stuffed).replace(b"\r\n.", b"\r\n")[2:]
        received = self.transaction(raw, has_bare_line_end(stuffed))
        self.mx.arrived.append(received)
        self.session.transactions += 1
        self.reset()
        usual = "552 5.3.4 too large" if self.too_large(raw) else "250 2.0.0 taken"
        if not self.mx.lmtp:
            if 200 <= await self.answer("dot", usual) < 300:
                self.mx.received.append(received)
            return
        taken = Received(**{name: getattr(received, name) for name in Received.__slots__})
        taken.recipients, taken.rcpt_parameters = [], []
        for recipient, parameters in zip(received.recipients, received.rcpt_parameters, strict=True):
            if 200 <= await self.answer("dot", usual, recipient) < 300:
                taken.recipients.append(recipient)
                taken.rcpt_parameters.append(parameters)
                if len(taken.recipients) == 1:
                    self.mx.received.append(taken)

    def transaction(self, raw: bytes, bare: bool) -> Received:
        declared = self.mail_parameters.upper().split()
        if not raw.isascii() and "BODY=8BITMIME" not in declared:
            self.fault("8-bit content without BODY=8BITMIME")
        if bare:
            self.fault("a bare CR or LF in message content")
        return Received(
            reverse_path=self.reverse_path or "",
            recipients=self.recipients,
            raw=raw,
            ehlo=self.session.ehlo,
            client=self.session.client,
            tls=self.session.tls,
            user=self.session.user,
            mail_parameters=self.mail_parameters,
            rcpt_parameters=self.rcpt_parameters,
            bare_line_ends=bare,
            session=self.session.number,
        )

    def too_large(self, raw: bytes) -> bool:
        limit = next((e.partition(" ")[2] for e in self.mx.extensions if e.upper().startswith("SIZE ")), "")
        return limit.isdigit() and len(raw) > int(limit) > 0

    async def on_rset(self, _: str) -> None:
        if 200 <= await self.answer("rset", "250 2.0.0 ok") < 300:
            self.reset()

    async def on_noop(self, _: str) -> None:
        await self.answer("noop", "250 2.0.0 ok")

    async def on_vrfy(self, _: str) -> None:
        self.say("252 2.1.5 try and see")

    async def on_quit(self, _: str) -> None:
        await self.answer("quit", "221 2.0.0 bye")
        raise WireLost
