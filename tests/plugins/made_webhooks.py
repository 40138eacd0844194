"""Webhooks as account holders ask for them, for the tests: questions to a plugin, and proof of what arrives."""

from collections.abc import Sequence
from typing import TypeVar

import pytest
from standardwebhooks import Webhook

from mtaframe import DropEndpoint, Endpoint, EndpointFault, Endpoints, EventType, Question, SaveEndpoint, TryEndpoint
from mtaframe.testing import RecordingMta, delivery, envelope, result
from mtaframe_plugins.webhooks import Webhooks
from tests.plugins.webhooks_receiver import Receiver

T = TypeVar("T")


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Receivers on this machine count as public ones."""
    monkeypatch.setattr("mtaframe.http_client.is_public", lambda _: True)


async def webhooks(mta: RecordingMta, *endpoints: dict[str, object], **config: object) -> Webhooks:
    plugin = Webhooks(Webhooks.Config.model_validate({"endpoint": list(endpoints), **config}), mta)
    await plugin.start()
    return plugin


async def ask(plugin: Webhooks, question: Question[T]) -> T:
    answer: T = await plugin.answers()[type(question)](question)
    return answer


async def save(
    plugin: Webhooks,
    url: str,
    number: int | None = None,
    *,
    account: str = "acme",
    description: str = "",
    events: Sequence[EventType] = (),
    is_active: bool = True,
) -> Endpoint | EndpointFault | None:
    return await ask(plugin, SaveEndpoint(account, number, url, description, frozenset(events), is_active))


async def made(plugin: Webhooks, url: str, number: int | None = None, **wishes: object) -> Endpoint:
    found = await save(plugin, url, number, **wishes)  # type: ignore[arg-type]
    assert isinstance(found, Endpoint)
    return found


async def listed(plugin: Webhooks, account: str = "acme") -> tuple[Endpoint, ...]:
    found = await ask(plugin, Endpoints(account))
    assert found is not None
    return found


async def drop(plugin: Webhooks, number: int, account: str = "acme") -> bool:
    return await ask(plugin, DropEndpoint(account, number))


async def try_(plugin: Webhooks, url: str, account: str = "acme") -> int | str:
    return await ask(plugin, TryEndpoint(account, url))


def tell(plugin: Webhooks, account: str | None = "acme", count: int = 1) -> None:
    for _ in range(count):
        plugin.on_result(delivery(envelope=envelope(account=account)), result())


def proven(receiver: Receiver, endpoint: Endpoint) -> int:
    """How many requests bear both secrets of the endpoint."""
    count = 0
    for headers, body in zip(receiver.headers, receiver.bodies, strict=True):
        Webhook(endpoint.signing_secret).verify(body, headers)
        count += headers["x-secret-token"] == endpoint.secret
    return count
