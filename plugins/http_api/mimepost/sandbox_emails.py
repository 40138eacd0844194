"""``/v1/sandbox/emails``: addresses of the account holder's own, to try things out on."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from mtaframe import Address, HttpAnswer, Mta
from mtaframe_plugins.http_api import sandbox
from mtaframe_plugins.http_api.code_mail import mail_code
from mtaframe_plugins.http_api.door import Ask, Body, Call, Problem
from mtaframe_plugins.http_api.mimepost.form import Told, done, undone
from mtaframe_plugins.http_api.sandbox import Sandbox, SandboxEmail
from mtaframe_plugins.http_api.settings import HttpApiSettings

WRONG_CODE = 107
_PROBLEMS = {
    "wrong": "is not the code",
    "dropped": "is not the code; the address is dropped, for there were too many wrong ones: add it anew",
    "late": "there is no code that holds: ask for another one",
}


class SandboxAdded(Body):
    """An address to add."""

    email: str = Field(description="The address; a code is mailed to it.")


class Code(Body):
    """The code that came by mail."""

    verification_code: str = Field(description="Six digits.")


class SandboxRow(Body):
    """An address; what is true is 1."""

    created_at: str
    email: str
    verified: int
    error: int
    error_message: str


class SandboxList(Told):
    data: list[SandboxRow]


class SandboxCalls:
    """The calls about sandbox addresses."""

    def __init__(self, mta: Mta, config: HttpApiSettings, emails: Sandbox) -> None:
        self._mta = mta
        self._emails = emails
        sender = config.sandbox_sender
        self._sender = Address.parse(sender) if sender else Address("postmaster", mta.hostname)

    def calls(self) -> Sequence[Call]:
        verify = "/v1/sandbox/emails/verify/{email}"
        return (
            Call("GET", "/v1/sandbox/emails", "List sandbox addresses", self.list, answer=SandboxList),
            Call("POST", "/v1/sandbox/emails", "Add a sandbox address", self.add, SandboxAdded, Told),
            Call("GET", verify, "Mail the code again", self.mail_again, answer=Told),
            Call("PATCH", verify, "Verify an address by its code", self.verify, Code, Told),
            Call("DELETE", "/v1/sandbox/emails/{email}", "Delete a sandbox address", self.drop, answer=Told),
        )

    async def list(self, ask: Ask) -> HttpAnswer:
        return done("Sandbox addresses", [_row(each) for each in await self._emails.all(ask.account.name)])

    async def add(self, ask: Ask) -> HttpAnswer:
        account, address = ask.account.name, _address(ask.data.email)
        if await self._emails.find(account, address) is not None:
            raise Problem(400, "is here already", "email")
        if await self._emails.add(account, address) is None:
            raise Problem(400, f"the account has {sandbox.MOST} sandbox addresses, and may have no more", "email")
        return await self._mailed(ask, address, "Address added, and a code mailed to it")

    async def mail_again(self, ask: Ask) -> HttpAnswer:
        address = await self._own(ask)
        found = await self._emails.find(ask.account.name, address)
        if found is not None and found.is_verified:
            return done("The address is verified already", [])
        return await self._mailed(ask, address, "A code was mailed")

    async def verify(self, ask: Ask) -> HttpAnswer:
        address = await self._own(ask)
        checked = await self._emails.check(ask.account.name, address, ask.data.verification_code.strip().zfill(6))
        if checked == "verified":
            return done("Address verified", [])
        if checked == "often":
            raise Problem(429, "too many codes were tried; try again in an hour", headers={"Retry-After": "3600"})
        raise Problem(400, _PROBLEMS[checked], "verification_code", code=WRONG_CODE, more={"data": []})

    async def drop(self, ask: Ask) -> HttpAnswer:
        await self._emails.drop(ask.account.name, await self._own(ask))
        return done("Address deleted", [])

    async def _mailed(self, ask: Ask, address: Address, text: str) -> HttpAnswer:
        code = await self._emails.new_code(ask.account.name, address)
        if code is None:
            raise Problem(429, "a code was mailed just now, or too many this hour", headers={"Retry-After": "60"})
        error = await mail_code(self._mta, ask.request, self._sender, address, code)
        if error is None:
            return done(text, [])
        await self._emails.failed(ask.account.name, address, error)
        return undone(f"The code could not be mailed ({error}); ask for it again in a minute", [])

    async def _own(self, ask: Ask) -> Address:
        """The address of the path, which the account has. Problem."""
        address = _address(ask.request.parameters["email"])
        if await self._emails.find(ask.account.name, address) is None:
            raise Problem(404, "there is no sandbox address like this", "email")
        return address


def _address(text: str) -> Address:
    try:
        return Address.parse(text.strip())
    except ValueError as error:
        raise Problem(400, str(error), "email") from None


def _row(each: SandboxEmail) -> dict[str, Any]:
    message = f"the code could not be mailed: {each.error}" if each.error else ""
    return SandboxRow(
        created_at=each.created_at,
        email=each.address,
        verified=int(each.is_verified),
        error=int(bool(each.error)),
        error_message=message,
    ).model_dump()
