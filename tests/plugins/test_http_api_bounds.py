"""What a call costs before it is refused: no body within the size makes the server stand still or grow."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from mtaframe_plugins.http_api.door import Each
from mtaframe_plugins.http_api.mimepost.emails import Email
from mtaframe_plugins.http_api.mimepost.templates import TemplateText
from mtaframe_plugins.http_api.mimepost.webhooks import Webhook
from mtaframe_plugins.http_api.postmark.models import PostmarkEmail
from mtaframe_plugins.http_api.resend.models import ResendEmail
from mtaframe_plugins.http_api.sendgrid.models import SendGridMail
from tests.plugins.api_house import TOKEN, api, email

MANY = 20_000


@pytest.mark.parametrize(
    ("model", "name"),
    [
        *((Email, name) for name in ("to", "cc", "bcc", "attachments", "global_merge_vars")),
        (TemplateText, "variables"),
        (Webhook, "events"),
        *((SendGridMail, name) for name in ("personalizations", "content", "attachments", "categories")),
        *((PostmarkEmail, name) for name in ("Headers", "Attachments")),
        *((ResendEmail, name) for name in ("to", "cc", "reply_to", "attachments", "tags")),
    ],
)
def test_of_a_list_full_of_faults_the_first_is_enough(model: type[Any], name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps({name: [{}] * MANY}))
    assert caught.value.error_count() < 20


@pytest.mark.parametrize(
    ("model", "name"),
    [(Email, "vars"), (Email, "headers"), (SendGridMail, "headers"), (ResendEmail, "headers")],
)
def test_a_table_full_of_faults_is_one_fault(model: type[Any], name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps({name: {str(number): [] for number in range(MANY)}}))
    assert caught.value.error_count() < 20


def test_a_batch_of_faults_is_one_fault() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Each[ResendEmail]).validate_json(json.dumps([{}] * MANY))
    assert caught.value.error_count() < 20


async def test_variables_of_everybody_are_not_copied_without_bound(tmp_path: Path) -> None:
    async with api(tmp_path) as running:
        to = [{"email": f"u{number}@example.net", "merge_vars": {"own": "x"}} for number in range(2000)]
        body = email() | {"to": to, "global_merge_vars": {f"v{number}": "x" for number in range(2000)}}
        status, answer = await running.call("POST", "/v1/emails", body)
        assert (status, answer["field"]) == (400, "to")
        assert "too many beside so many copies" in answer["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/emails", email(*["a@example.net"] * MANY)),
        ("/v3/mail/send", {"personalizations": [{"to": [{"email": "a@example.net"}] * MANY}], "subject": "x",
                           "from": {"email": "shop@example.com"}, "content": [{"type": "text/plain", "value": "x"}]}),
        ("/email/batch", [{"From": "shop@example.com", "To": "a@b.ex," * 9000, "TextBody": "x"}] * 15),
        ("/emails", {"from": "shop@example.com", "to": ["a@b.ex," * 9000] * 15, "subject": "x", "text": "x"}),
    ],
)  # fmt: skip
async def test_more_copies_than_allowed_are_refused_before_they_are_looked_at(
    path: str, body: Any, tmp_path: Path
) -> None:
    async with api(tmp_path) as running:
        headers = {"Authorization": f"Bearer {TOKEN}", "X-Postmark-Server-Token": TOKEN}
        began = time.process_time()
        async with asyncio.timeout(20):
            status, _ = await running.call("POST", path, body, headers=headers)
        assert status in (400, 422)
        assert time.process_time() - began < 1.0
