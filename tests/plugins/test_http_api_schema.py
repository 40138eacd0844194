"""http_api and its OpenAPI document: whatever fits it, and much that does not, is answered, soon and without a 500."""

import asyncio
import time
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, given

from tests.plugins.api_house import BOB, TOKEN, Api, api, email

PLUGINS = ("webhooks", "usage", "merge_tags", "http_api")
EXAMPLES = 25
SLOWEST = 20.0
HEADERS = {"X-Auth-Token": TOKEN, "X-Postmark-Server-Token": TOKEN, "Authorization": f"Bearer {TOKEN}"}
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)


async def document(running: Api) -> Any:
    status, found = await running.call("GET", "/v1/openapi.json", token=None)
    assert status == 200
    return found


async def test_the_document_names_every_call_with_its_models(tmp_path: Path) -> None:
    async with api(tmp_path, PLUGINS) as running:
        found = await document(running)
        send = found["paths"]["/v1/emails"]["post"]
        assert send["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Email"}
        assert found["components"]["schemas"]["Email"]["required"] == ["subject", "from_email", "to"]
        assert send["security"] == [{"MimePost": []}]
        served = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
        routes = running.house.mta.generation.plugins.loaded[-1].instance.http_routes()  # type: ignore[union-attr]
        assert served == {(r.method, r.path) for r in routes} - {
            ("GET", path) for path in ("/ping", "/v1/ping", "/v1/openapi.json")
        }


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
async def test_no_call_gets_a_500_and_none_hangs(tmp_path: Path) -> None:
    async with api(tmp_path, PLUGINS) as running:
        await running.call("POST", "/v1/webhooks", {"url": "https://example.com/"})
        await running.call("POST", "/v1/emails", email(BOB))
        found = await document(running)
        await asyncio.to_thread(tried, found, running.url)


def tried(found: Any, url: str) -> None:
    """Every operation of the document, with data that fits and data that does not."""
    schema = schemathesis.openapi.from_dict(found)
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in MODES:

            @hypothesis.settings(
                max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def one(case: Any) -> None:
                began = time.monotonic()
                response = case.call(base_url=url, headers=HEADERS)
                place = f"{case.method} {case.path}: {response.status_code} {response.content[:200]!r}"
                assert response.status_code != 500, place
                assert time.monotonic() - began < SLOWEST, place
                if response.status_code >= 400:
                    assert isinstance(response.json(), dict), place

            one()
