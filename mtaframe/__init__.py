"""mtaframe: a plugin-based MTA framework for outbound mail. These are the names that plugins import."""

from mtaframe.account import Account, Credential, Status, Token
from mtaframe.address import Address, dns_name
from mtaframe.author import author_domains
from mtaframe.classification import event_type
from mtaframe.delivery import Credentials, Delivery, Limits, Outcome, Result, Route, Source, Tls
from mtaframe.encoded_word import decoded_value, encoded_phrase, encoded_value, folded_value
from mtaframe.endpoint import Endpoint, EndpointFault
from mtaframe.envelope import Envelope, Recipient, Session
from mtaframe.event import Event, EventType
from mtaframe.hookspecs import hookimpl
from mtaframe.lifecycle import (
    AccountBook,
    Attempt,
    Clock,
    CommandError,
    DnsError,
    Http,
    HttpError,
    HttpResponse,
    Identity,
    Mta,
    Plugin,
    Resolver,
    Transport,
    command,
)
from mtaframe.message import Field, Message
from mtaframe.mime import Part, parts, with_texts
from mtaframe.notation import Domain, Domains, FilePath, Model
from mtaframe.quantity import Duration, Size
from mtaframe.question import (
    AccountStanding,
    AccountUsage,
    CheckTemplate,
    DropEndpoint,
    Endpoints,
    MonthlyUsage,
    OwnDomain,
    ProvenKey,
    ProvenSelector,
    Question,
    RestingSources,
    RestSource,
    SandboxAddress,
    SaveEndpoint,
    Standing,
    TryEndpoint,
)
from mtaframe.redaction import Notes, Private, Redacted
from mtaframe.reply import Reply
from mtaframe.revisions import Revisions
from mtaframe.secret import Secret
from mtaframe.serving import HttpAnswer, HttpRequest, HttpRoute
from mtaframe.storage import PURGES, Counter, State
from mtaframe.variable import Variable, variable
from mtaframe.verdict import Defer, Discard, Reject, Verdict

__all__ = [
    "PURGES",
    "Account",
    "AccountBook",
    "AccountStanding",
    "AccountUsage",
    "Address",
    "Attempt",
    "CheckTemplate",
    "Clock",
    "CommandError",
    "Counter",
    "Credential",
    "Credentials",
    "Defer",
    "Delivery",
    "Discard",
    "DnsError",
    "Domain",
    "Domains",
    "DropEndpoint",
    "Duration",
    "Endpoint",
    "EndpointFault",
    "Endpoints",
    "Envelope",
    "Event",
    "EventType",
    "Field",
    "FilePath",
    "Http",
    "HttpAnswer",
    "HttpError",
    "HttpRequest",
    "HttpResponse",
    "HttpRoute",
    "Identity",
    "Limits",
    "Message",
    "Model",
    "MonthlyUsage",
    "Mta",
    "Notes",
    "Outcome",
    "OwnDomain",
    "Part",
    "Plugin",
    "Private",
    "ProvenKey",
    "ProvenSelector",
    "Question",
    "Recipient",
    "Redacted",
    "Reject",
    "Reply",
    "Resolver",
    "RestSource",
    "RestingSources",
    "Result",
    "Revisions",
    "Route",
    "SandboxAddress",
    "SaveEndpoint",
    "Secret",
    "Session",
    "Size",
    "Source",
    "Standing",
    "State",
    "Status",
    "Tls",
    "Token",
    "Transport",
    "TryEndpoint",
    "Variable",
    "Verdict",
    "author_domains",
    "command",
    "decoded_value",
    "dns_name",
    "encoded_phrase",
    "encoded_value",
    "event_type",
    "folded_value",
    "hookimpl",
    "parts",
    "variable",
    "with_texts",
]
