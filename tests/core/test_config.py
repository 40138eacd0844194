"""The folder is read as a whole and checked as a whole: all faults at once, with file, line and key."""

import json
from pathlib import Path

import pytest
from pydantic import Field, field_validator

from mtaframe.account_settings import AccountsSettings
from mtaframe.config import ConfigError, Source, cross_faults, load, snapshot
from mtaframe.lifecycle import NoConfig
from mtaframe.notation import FilePath, Model
from mtaframe.quantity import Duration
from mtaframe.reference import schema, settings_table
from mtaframe.secret import Secret
from mtaframe.settings import Settings

ROOT = Path(__file__).parents[2]
HASH = "$argon2id$v=19$m=19456,t=2,p=1$cLcQvmldDf6Na+ohgYvA1g$vDLQR7wz47HFPFIKmOdknR7807FknngqMzvpK5K/eBs"
LISTENER = '[[listener]]\nname = "local"\nkind = "mta"\naddresses = ["127.0.0.1:2525"]\n'


class SignerConfig(Model):
    selector: str = "s1"
    password: Secret | None = None
    key_file: FilePath | None = None
    timeout: Duration = 5.0
    hosts: tuple[str, ...] = ()


class StrictConfig(Model):
    needed: str


class BrokenConfig(Model):
    colour: str = "red"

    @field_validator("colour")
    @classmethod
    def _check(cls, value: str) -> str:
        raise KeyError(value)


INSTALLED = {"signer": SignerConfig, "strict": StrictConfig, "broken": BrokenConfig, "none": NoConfig}


def source(**files: str) -> Source:
    return Source(Path("conf"), {f"{name}.toml": text.encode() for name, text in files.items()}, "")


def faults(**files: str) -> list[str]:
    """Errors and warnings as printed."""
    try:
        return [str(fault) for fault in load(source(**files), lambda names: INSTALLED).warnings]
    except ConfigError as error:
        return str(error).splitlines()


def test_all_faults_of_all_files_at_once_each_at_its_line():
    assert faults(
        mtaframe="""\
hostname = "two words"
plugins = ["singer", "signer", "strict"]
[[listener]]
name = "in"
kind = "mta"
addresses = [
  "127.0.0.1:2525",
  "::1:2525",
]
patiense = "3s"
patience = "3 parsecs"
trusted = ["127.0.0.1/8", "::1", 5]
give_up = "3s"
[delivery.tls]
"example.com" = "maybe"
[[listener]]
name = "Out"
""",
        accounts=f"""\
[[account]]
name = "shop"
[[account.credential]]
user = "u"
hash = "hunter2"
[[account.credential]]
user = "v"
hash = "{HASH}"
pasword = "x"
""",
        signer='timeout = 5\nhosts = ["a", 1]\nkey_fil = { path = "x" }\n',
        mtafram="",
    ) == [
        'conf/mtaframe.toml:1: hostname: a domain is written as "example.com" (the xn-- form of others than ASCII)',
        'conf/mtaframe.toml:2: plugins.0: no plugin "singer" is installed; did you mean "signer"?',
        "conf/mtaframe.toml:8: listener.0.addresses.1: "
        'write "127.0.0.1:2525", "[::1]:2525" or "/run/mtaframe/lmtp.sock"',
        'conf/mtaframe.toml:10: listener.0.patiense: unknown key "patiense"; did you mean "patience"?',
        'conf/mtaframe.toml:11: listener.0.patience: a duration is written as "10s", "500ms", "5m", "2h" or "4d"',
        'conf/mtaframe.toml:12: listener.0.trusted.0: the address is not the first of its network: write "127.0.0.0/8"',
        'conf/mtaframe.toml:12: listener.0.trusted.2: a network is written as "10.0.0.0/8", "::1" or "2001:db8::/32"',
        'conf/mtaframe.toml:13: listener.0.give_up: unknown key "give_up" here; it belongs above the first [section]',
        "conf/mtaframe.toml:15: delivery.tls.\"example.com\": must be 'off', 'opportunistic', 'required' or 'verified'",
        "conf/mtaframe.toml:16: listener.1.kind: this key is missing",
        "conf/mtaframe.toml:16: listener.1.addresses: this key is missing",
        "conf/mtaframe.toml:17: listener.1.name: must match pattern '^[a-z0-9][a-z0-9_.-]{0,99}$'",
        "conf/accounts.toml:5: account.0.credential.0.hash: "
        "not an argon2id hash: run `mtaframe account hash` and write what it prints",
        'conf/accounts.toml:9: account.0.credential.1.pasword: unknown key "pasword"',
        'conf/signer.toml:1: timeout: a duration is written as "10s", "500ms", "5m", "2h" or "4d"',
        "conf/signer.toml:2: hosts.1: must be a valid string",
        'conf/signer.toml:3: key_fil: unknown key "key_fil"; did you mean "key_file"?',
        "conf/strict.toml: needed: this key is missing",
        'conf/mtafram.toml: warning: not read, for no plugin "mtafram" is listed; did you mean "mtaframe"?',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a = 1\nb == 2\n", "conf/mtaframe.toml:2: not TOML: Invalid value"),
        ("a = 1\na = 2\n", "conf/mtaframe.toml:2: not TOML: Cannot overwrite a value"),
        ("a = [\n1,\n", "conf/mtaframe.toml:2: not TOML: Invalid value"),
        ("x = " + "[" * 5000, "conf/mtaframe.toml: not usable: nested too deeply"),
        ("port = " + "1" * 5000, "conf/mtaframe.toml: not usable: a number is too long"),
    ],
)
def test_what_is_not_toml(text, fault):
    assert faults(mtaframe=text)[0].startswith(fault)


def test_what_is_not_utf_8():
    with pytest.raises(ConfigError, match=r"^conf/mtaframe.toml:2: the file is not UTF-8$"):
        load(Source(Path("conf"), {"mtaframe.toml": b"#\n# \xe4\n"}, ""), lambda names: {})


def test_the_main_file_must_exist():
    assert faults(accounts="") == [
        "conf/mtaframe.toml: there is no such file",
        "conf/mtaframe.toml: warning: listener: there is no listener: nobody can send mail here",
    ]


def test_an_empty_folder_of_plugin_files_means_defaults():
    configuration = load(source(mtaframe='plugins = ["signer"]\n' + LISTENER), lambda names: INSTALLED)
    assert configuration.plugins == {"signer": SignerConfig()}
    assert (configuration.accounts, configuration.warnings) == ((), ())


def test_a_plugin_that_cannot_be_had_says_why_at_its_line():
    with pytest.raises(ConfigError, match=r"toml:3: plugins.1: it can't be imported"):
        load(
            source(mtaframe='plugins = [\n"none",\n"x",\n]\n' + LISTENER),
            lambda names: {"none": NoConfig, "x": "it can't be imported"},
        )


def test_a_plugin_cannot_take_the_name_of_a_core_file():
    with pytest.raises(ConfigError, match="no plugin can have this name"):
        load(source(mtaframe='plugins = ["accounts"]\n' + LISTENER), lambda names: {"accounts": NoConfig})


def test_a_faulty_check_of_a_plugin_is_a_fault_of_its_file_and_quotes_nothing():
    said = faults(mtaframe='plugins = ["broken"]\n' + LISTENER, broken='colour = "canary"')
    assert said == ["conf/broken.toml: the check of this file itself is faulty: KeyError"]


def test_secrets_never_show(tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", "canary")
    for text in (
        'password = ["canary"]',
        'password = { fiel = "canary" }',
        'password = "canary"\nselector = 5',
        'hosts = "canary"',
        'password = { env = "CANARY" }\ntimeout = "canary"',
    ):
        said = faults(mtaframe='plugins = ["signer"]\n' + LISTENER, signer=text)
        assert said
        assert "canary" not in str(said).lower(), text
    configuration = load(
        source(mtaframe='plugins = ["signer"]\n' + LISTENER, signer='password = { env = "CANARY" }'),
        lambda names: INSTALLED,
    )
    assert configuration.plugins["signer"].password.get_secret_value() == "canary"
    assert "canary" not in f"{configuration!r} {configuration.source!r} {configuration.plugins!r}"


def test_relative_paths_start_at_the_folder(tmp_path):
    (tmp_path / "secret").write_text("s3\n")
    (tmp_path / "mtaframe.toml").write_text('plugins = ["signer"]\n' + LISTENER)
    (tmp_path / "signer.toml").write_text('password = { file = "secret" }\nkey_file = "dkim/s1.pem"\n')
    signer = load(snapshot(tmp_path), lambda names: INSTALLED).plugins["signer"]
    assert signer.password.get_secret_value() == "s3"
    assert signer.key_file == str(tmp_path / "dkim/s1.pem")


ACCOUNTS = f"""\
[[account]]
name = "shop"
parent = "grop"
domains = ["example.com", "Example.NET."]
[[account]]
name = "group"
parent = "club"
domains = ["example.net"]
[[account.credential]]
user = "u"
hash = "{HASH}"
[[account]]
name = "club"
parent = "group"
[[account.credential]]
user = "u"
hash = "{HASH}"
[[account]]
name = "shop"
"""


def test_accounts_must_fit_together():
    assert faults(mtaframe=LISTENER + 'account = "shopp"\n', accounts=ACCOUNTS) == [
        'conf/mtaframe.toml:5: listener.0.account: there is no account "shopp"; did you mean "shop"?',
        'conf/accounts.toml:3: account.0.parent: there is no account "grop"; did you mean "group"?',
        "conf/accounts.toml:7: account.1.parent: the account is its own parent, by way of this one",
        'conf/accounts.toml:8: account.1.domains.0: the domain "example.net" is in this file already',
        "conf/accounts.toml:14: account.2.parent: the account is its own parent, by way of this one",
        "conf/accounts.toml:16: account.2.credential.0.user: another credential has this user name already",
        'conf/accounts.toml:19: account.3.name: another account is named "shop" already',
    ]


def test_listeners_must_fit_together(tmp_path):
    (tmp_path / "key.pem").write_text("no key")
    files = f'certificate = "{tmp_path}/none.pem"\nkey = "{tmp_path}/key.pem"\ntls = "starttls"\n'
    said = faults(mtaframe='plugins = ["none", "none"]\n[route]\ntransport = "lmtp"\n' + LISTENER + LISTENER + files)
    assert said == [
        'conf/mtaframe.toml:1: plugins.1: the plugin "none" is listed already',
        'conf/mtaframe.toml:3: route.transport: LMTP needs "next_hop": no MX record leads to an LMTP server',
        'conf/mtaframe.toml:9: listener.1.name: another listener is named "local" already',
        'conf/mtaframe.toml:11: listener.1.addresses.0: the listener "local" has this address',
        "conf/mtaframe.toml:12: listener.1.certificate: the file can't be read: No such file or directory",
    ]
    (tmp_path / "none.pem").write_text("no certificate")
    said = faults(mtaframe=LISTENER + files)
    assert said == [
        "conf/mtaframe.toml:5: listener.0.certificate: certificate and key are not PEM, or do not belong together"
    ]


def test_nobody_mends_the_line_ends_of_strangers():
    """What one server mends, the next one believes."""
    door = '[[listener]]\nname = "{}"\nkind = "mta"\naddresses = ["{}"]\nbare_newline = "normalize"\n'
    with_auth = door.format("d", "127.0.0.1:4") + 'tls = "starttls"\ncertificate = "/none"\nkey = "/none"\n'
    text = (
        door.format("a", "127.0.0.1:1")
        + (door.format("b", "127.0.0.1:2") + 'trusted = ["::1"]\nrelay_domains = ["example.com"]\n')
        + (door.format("c", "127.0.0.1:3") + 'trusted = ["::1"]\n')
        + with_auth
        + door.format("e", "/run/e.sock")
    )
    assert [line for line in faults(mtaframe=text) if "bare_newline" in line] == [
        "conf/mtaframe.toml:5: listener.0.bare_newline: nobody is trusted here and AUTH is off: there is nobody whose "
        "line ends may be mended",
        "conf/mtaframe.toml:10: listener.1.bare_newline: strangers may send here (relay_domains), and their bare line "
        'ends are only "reject"ed',
    ]


def test_what_weakens_a_promise_is_a_warning():
    text = """\
plugins = ["none"]
[[listener]]
name = "out"
kind = "application"
addresses = ["0.0.0.0:587"]
trusted = ["10.0.0.0/8",
           "::/0"]
auth_without_tls = true
[plugin.none]
allow_discard = true
on_fault = "skip"
[plugin.nome]
budget = "1s"
"""
    assert faults(mtaframe=text, signer="") == [
        "conf/mtaframe.toml:7: warning: listener.0.trusted.1: everybody may relay through this listener",
        "conf/mtaframe.toml:8: warning: listener.0.auth_without_tls: passwords travel in clear",
        "conf/mtaframe.toml:10: warning: plugin.none.allow_discard: this plugin may say 250 to mail that goes nowhere",
        "conf/mtaframe.toml:11: warning: plugin.none.on_fault: a fault in this plugin lets mail pass without it",
        'conf/mtaframe.toml:12: warning: plugin.nome: the plugin "nome" is not listed in "plugins"; '
        'did you mean "none"?',
        'conf/signer.toml: warning: not read, for no plugin "signer" is listed',
    ]


def test_the_default_route_is_checked_once_transports_are_known():
    def said(transport: str, address: str) -> list[str]:
        text = f'[route]\ntransport = "{transport}"\n' + LISTENER.replace("127.0.0.1:2525", address)
        configuration = load(source(mtaframe=text), lambda names: {})
        return [str(f) for f in cross_faults(configuration, {"smtp": False, "lmtp": False, "sandbox": True})]

    assert said("smtp", "0.0.0.0:25") == said("sandbox", "/run/x.sock") == said("sandbox", "[::1]:25") == []
    assert said("sandbox", "0.0.0.0:25") == [
        'conf/mtaframe.toml:2: route.transport: the transport "sandbox" keeps mail on this machine and is for trials '
        'only, but the listener "local" can be reached from elsewhere'
    ]
    assert said("sandbux", "127.0.0.1:25") == [
        'conf/mtaframe.toml:2: route.transport: there is no transport "sandbux"; did you mean "sandbox"?'
    ]


def test_a_snapshot_is_the_toml_files_of_the_folder(tmp_path):
    (tmp_path / "mtaframe.toml").write_text("a = 1")
    first = snapshot(tmp_path)
    (tmp_path / ".#mtaframe.toml").symlink_to("nobody@nowhere")  # how Emacs locks a file
    (tmp_path / "mtaframe.toml~").write_text("")
    (tmp_path / "presets").mkdir()
    assert snapshot(tmp_path) == first
    assert dict(first.files) == {"mtaframe.toml": b"a = 1"}
    (tmp_path / "b.toml").write_text("")
    assert snapshot(tmp_path).digest != first.digest
    with pytest.raises(ConfigError, match="the folder can't be read: No such file"):
        snapshot(tmp_path / "none")
    (tmp_path / "c.toml").mkdir()
    with pytest.raises(ConfigError, match=r"c.toml: the file can't be read: Is a directory"):
        snapshot(tmp_path)


# What is generated from the models.


@pytest.mark.parametrize("model", [Settings, AccountsSettings, SignerConfig])
def test_a_schema_has_each_key_with_its_default_as_written(model):
    found = schema(model, "conf/x.toml")
    assert found["title"] == "conf/x.toml"
    assert set(found["properties"]) == set(model.model_fields)
    assert found["additionalProperties"] is False
    json.dumps(found)
    assert schema(Settings, "")["properties"]["give_up"]["default"] == "4d"


def test_tables_show_defaults_as_toml():
    class Inner(Model):
        port: int = Field(default=25, description="A | B")

    class Outer(Model):
        inner: tuple[Inner, ...] = ()
        wait: Duration = 90.0
        name: str

    assert settings_table(Outer).splitlines()[2:] == [
        "| `inner.*.port` | `25` | A \\| B |",
        '| `wait` | `"90s"` |  |',
        "| `name` | required |  |",
    ]
