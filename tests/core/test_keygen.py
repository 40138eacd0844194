"""``mtaframe keygen``: the keys, the records that go with them, the tables to paste, and what it refuses."""

import base64
import json
import re
import stat
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from mtaframe.cli import main
from mtaframe.cli.keygen import Record, dkim_key, selectors, suggestions


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["keygen", *arguments])


def published(text: str) -> dict[str, str]:
    """TXT records by name, out of zone file lines."""
    joined = re.sub(r"\( (.*?) \)", r"\1", text, flags=re.DOTALL)
    lines = re.findall(r'^(\S+)\. IN TXT ((?:"[^"]*"\s*)+)', joined, re.MULTILINE)
    return {name: "".join(re.findall(r'"([^"]*)"', strings)) for name, strings in lines}


def test_both_keys_are_made_and_fit_their_records(tmp_path: Path) -> None:
    result = run("Example.COM.", "--selector", "s1", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    records = published(result.output)
    for name, kind in (("s1-rsa", RSAPrivateKey), ("s1-ed25519", Ed25519PrivateKey)):
        file = tmp_path / "example.com" / f"{name}.pem"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        key = serialization.load_pem_private_key(file.read_bytes(), None)
        assert isinstance(key, kind)
        tags = dict(tag.split("=", 1) for tag in records[f"{name}._domainkey.example.com"].split("; "))
        assert tags["v"] == "DKIM1"
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        der = key.public_key().public_bytes(encoding, form)
        assert der.endswith(base64.b64decode(tags["p"]))
    assert stat.S_IMODE((tmp_path / "example.com").stat().st_mode) == 0o700


def test_the_rsa_key_has_2048_bits_and_is_pkcs8() -> None:
    key = dkim_key("example.com", "s", "rsa")
    assert key.pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    loaded = serialization.load_pem_private_key(key.pem, None)
    assert isinstance(loaded, RSAPrivateKey)
    assert loaded.key_size == 2048


def test_a_long_record_is_split_into_strings_of_255() -> None:
    line = Record("s._domainkey.example.com", "x" * 600).line
    assert [len(piece) for piece in re.findall('"(x+)"', line)] == [255, 255, 90]
    assert line.startswith('s._domainkey.example.com. IN TXT ( "')
    assert line.endswith('" )')
    assert Record("a.example", "v=1").line == 'a.example. IN TXT "v=1"'


def test_the_tables_are_what_the_plugin_takes(tmp_path: Path) -> None:
    from mtaframe_plugins.dkim import Dkim

    result = run("example.com", "--out", str(tmp_path), "--json")
    tables = tomllib.loads(json.loads(result.output)["toml"])
    config = Dkim.Config.model_validate(tables)
    assert [key.algorithm for key in config.key] == ["rsa-sha256", "ed25519-sha256"]


def test_json_has_all(tmp_path: Path) -> None:
    result = run("example.com", "--algorithm", "ed25519", "--selector", "s1", "--out", str(tmp_path), "--json")
    said = json.loads(result.output)
    assert [(key["selector"], key["algorithm"]) for key in said["keys"]] == [("s1", "ed25519-sha256")]
    assert said["keys"][0]["file"] == str(tmp_path / "example.com" / "s1.pem")
    assert said["keys"][0]["record"]["name"] == "s1._domainkey.example.com"
    assert said["spf"] == {"name": "example.com", "text": "v=spf1 a mx ~all"}
    assert said["dmarc"]["name"] == "_dmarc.example.com"


def test_the_default_selector_is_year_and_month(tmp_path: Path) -> None:
    result = run("example.com", "--algorithm", "ed25519", "--out", str(tmp_path))
    assert result.exit_code == 0
    (file,) = (tmp_path / "example.com").iterdir()
    assert re.fullmatch(r"20\d{4}\.pem", file.name)


def test_one_algorithm_leaves_the_selector_alone() -> None:
    assert selectors("s", ["rsa"]) == [("s", "rsa")]
    assert selectors("s", ["rsa", "rsa"]) == [("s", "rsa")]
    assert selectors("s", ["rsa", "ed25519"]) == [("s-rsa", "rsa"), ("s-ed25519", "ed25519")]


def test_spf_names_the_addresses() -> None:
    spf, dmarc = suggestions("example.com", ["192.0.2.1", "2001:db8::1"])
    assert spf.text == "v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 ~all"
    assert dmarc.text == "v=DMARC1; p=none"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "example.com"
    folder.mkdir()
    (folder / "s1-ed25519.pem").write_text("mine")
    result = run("example.com", "--selector", "s1", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "exists already: choose another selector with --selector" in result.output
    assert result.output.count("\n") == 1
    assert (folder / "s1-ed25519.pem").read_text() == "mine"
    assert not (folder / "s1-rsa.pem").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["example"],
        ["exam_ple.com"],
        ["../etc"],
        ["bücher.example"],
        ["example.com", "--selector", "../s1"],
        ["example.com", "--selector", "s" * 51],
        ["example.com", "--ip", "mail.example.com"],
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], tmp_path: Path) -> None:
    result = run(*arguments, "--out", str(tmp_path))
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said_in_one_line() -> None:
    result = run("example.com", "--out", "/proc/nowhere")
    assert result.exit_code == 1
    assert "can't be written" in result.output
    assert result.output.count("\n") == 1
