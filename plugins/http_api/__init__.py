"""http_api: mail comes in by MimePost's HTTP API, and by those of others. See docs/plugins/http_api.md."""

from collections.abc import Sequence
from typing import ClassVar

from mtaframe import Delivery, HttpRoute, Mta, Plugin, hookimpl
from mtaframe_plugins.http_api.door import Door
from mtaframe_plugins.http_api.mimepost import form
from mtaframe_plugins.http_api.mimepost.emails import Emails
from mtaframe_plugins.http_api.mimepost.templates import TemplateCalls
from mtaframe_plugins.http_api.repeats import Repeats
from mtaframe_plugins.http_api.sending import own_fields
from mtaframe_plugins.http_api.settings import HttpApiSettings
from mtaframe_plugins.http_api.templates import Templates


class HttpApi(Plugin):
    """Serves the doors on every listener of the kind ``http``."""

    Config: ClassVar[type[HttpApiSettings]] = HttpApiSettings
    config: HttpApiSettings
    behind = ("merge_tags",)

    def __init__(self, config: HttpApiSettings, mta: Mta) -> None:
        super().__init__(config, mta)
        templates, repeats = Templates(mta), Repeats(mta)
        mimepost = (
            Emails(mta, config, templates, repeats),
            TemplateCalls(mta, config, templates),
        )
        self._doors = (
            Door(
                "MimePost",
                [call for each in mimepost for call in each.calls()],
                form.secret,
                form.told,
                {"type": "apiKey", "in": "header", "name": "X-Auth-Token"},
            ),
        )

    def http_routes(self) -> Sequence[HttpRoute]:
        return [route for door in self._doors for route in door.routes(lambda: self.mta.accounts)]

    @hookimpl
    def before_sign(self, delivery: Delivery) -> Delivery | None:
        """Puts the fields on top that are this copy's own."""
        return own_fields(delivery)
