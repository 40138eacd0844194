"""What the account holder says of himself, and what the server has to tell him: profile, settings, alerts, the plan."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, create_model

from mtaframe import AccountStanding, Counter, HttpAnswer, MonthlyUsage, Mta, Standing
from mtaframe_plugins.http_api.door import Ask, Body, Call, Problem
from mtaframe_plugins.http_api.mimepost.form import done

PROFILE_FIELDS = (
    "first_name", "last_name", "address", "city", "country", "phone_number", "skype_id", "company_name", "website",
    "twitter_handle", "linkedin", "billing_name", "billing_company_name", "billing_address", "username", "email",
)  # fmt: skip
LONGEST = 1000
MOST_SETTINGS = 100
SETTING, PROFILE = "setting", "profile"
"""The kinds of document that they are."""

_fields: dict[str, Any] = {name: (str | None, Field(default=None, max_length=LONGEST)) for name in PROFILE_FIELDS}
Profile = create_model("Profile", __base__=Body, **_fields)


class Setting(Body):
    """One setting of the account holder's own."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Its name.")
    value: str | None = Field(default=None, max_length=LONGEST, description="Its value; null takes it away.")


class Holder:
    def __init__(self, mta: Mta) -> None:
        self._mta = mta

    def calls(self) -> Sequence[Call]:
        return (
            Call("GET", "/v1/account/profile", "The account holder's profile", self.profile),
            Call("POST", "/v1/account/profile", "Change the profile", self.change_profile, Profile),
            Call("GET", "/v1/settings", "The account holder's settings", self.settings,
                 query={"name": "One setting; else the one changed last stands on top."}),
            Call("POST", "/v1/settings", "Change a setting", self.change_setting, Setting),
            Call("GET", "/v1/alerts", "What the account holder should know", self.alerts),
            Call("GET", "/v1/account/billing/plan/current", "The month's quota, and what is used of it", self.plan),
        )  # fmt: skip

    async def profile(self, ask: Ask) -> HttpAnswer:
        known = _opened(await self._mta.state.documents.get(ask.account.name, PROFILE, PROFILE))
        return done("Profile", {name: known.get(name) for name in PROFILE_FIELDS} | {"instance_id": ask.account.name})

    async def change_profile(self, ask: Ask) -> HttpAnswer:
        """What is not said stays."""
        said = ask.data.model_dump(exclude_none=True)
        account, documents = ask.account.name, self._mta.state.documents
        while True:  # until nobody else was faster
            before = await documents.get(account, PROFILE, PROFILE)
            after = json.dumps(_opened(before) | said).encode()
            if await documents.change(account, PROFILE, PROFILE, before, after):
                return done("Profile updated")

    async def settings(self, ask: Ask) -> HttpAnswer:
        known = await self._settings(ask)
        name = ask.request.query.get("name") or next(reversed(list(known)), "")
        if name and name not in known:
            raise Problem(404, "there is no such setting", "name")
        return done("Settings", known, name=name, value=known.get(name, ""))

    async def change_setting(self, ask: Ask) -> HttpAnswer:
        data: Setting = ask.data
        account, documents = ask.account.name, self._mta.state.documents
        if data.value is None:
            await documents.drop(account, SETTING, data.name)
            return done("Settings updated")
        number = await self._mta.state.sequences.next(Counter("http_api.setting", account=account))
        content = json.dumps([number, data.value]).encode()
        if not await documents.change(account, SETTING, data.name, None, content, MOST_SETTINGS):
            if await documents.get(account, SETTING, data.name) is None:
                raise Problem(400, f"{MOST_SETTINGS} settings are enough", "name")
            await documents.put(account, SETTING, data.name, content)
        return done("Settings updated")

    async def alerts(self, ask: Ask) -> HttpAnswer:
        """How the account stands: with whoever enforces the sending policy, and with the operator."""
        name = ask.account.name
        status, standing = self._mta.accounts.status_of(name), await self._mta.ask(AccountStanding(name))
        found = []
        if status.value != "approved":
            found.append({"type": "account", "level": status.value, "message": f"this account is {status.value}"})
        if standing is not Standing.GOOD:
            text = f"this account was {standing.value} for what became of its mail"
            found.append({"type": "sending", "level": standing.value, "message": text})
        return done("Alerts", {"alerts": found})

    async def plan(self, ask: Ask) -> HttpAnswer:
        """There is no bill; a quota there may be."""
        used, quota = await self._mta.ask(MonthlyUsage(ask.account.name)), ask.account.quota
        left = None if quota is None else max(0, quota - used)
        return done("Plan", {"plan_name": "self-hosted", "monthly_quota": quota, "used": used, "left": left})

    async def _settings(self, ask: Ask) -> Mapping[str, str]:
        """In the order in which they were changed. Each is a document: whoever changes others at once changes those."""
        account, documents = ask.account.name, self._mta.state.documents
        found: list[tuple[int, str, str]] = []
        for name in await documents.names(account, SETTING):
            if (octets := await documents.get(account, SETTING, name)) is not None:
                number, value = json.loads(octets)
                found.append((number, name, value))
        return {name: value for _, name, value in sorted(found)}


def _opened(profile: bytes | None) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(profile) if profile is not None else {}
    return known
