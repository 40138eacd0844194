"""``mtaframe setup exim`` shows before it writes, Exim takes what it writes, and it comes out again octet by octet."""

import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from mtaframe.cli import main
from mtaframe.cli.exim_files import additions, applied, places, undone
from mtaframe.notation import Endpoint
from tests.conftest import ROOT, Program

CONFIGURATION = """\
# an operator's own file
domainlist local_domains = mail.example.com
domainlist relay_to_domains =
keep_environment =
queue_run_max = 3
acl_smtp_rcpt = accept hosts = 127.0.0.1

begin routers

here:
  driver = accept
  domains = +local_domains
  transport = out

begin transports
out:
  driver = smtp

begin retry
* * F,1h,10m
"""
SOCKET = Endpoint("/run/mtaframe/lmtp.sock")
SNIPPETS = {
    "behind-exim": additions("behind"),
    "behind-exim-smtp": additions("behind", Endpoint("127.0.0.1:2525"), "smtp"),
    "front-of-exim": additions("front"),
}


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "exim.conf"
    path.write_text(CONFIGURATION)
    return path


@pytest.fixture
def exim(program: Program, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real Exim, on the path."""
    path = program("exim4")
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    return path


def fit(configuration: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["setup", "exim", "--configuration", str(configuration), *arguments])


def test_a_dry_run_shows_the_difference_and_writes_nothing(configuration: Path) -> None:
    result = fit(configuration)
    assert result.exit_code == 0
    assert "+  hosts = <; 127.0.0.1\n+  port = 2424\n" in result.stdout
    assert "-queue_run_max = 3\n" in result.stdout
    assert "--apply" in result.stderr
    assert configuration.read_text() == CONFIGURATION


@pytest.mark.parametrize(
    "arguments",
    [
        ("--chain", "behind"),
        ("--chain", "behind", "--endpoint", "[::1]:2525", "--protocol", "smtp"),
        ("--chain", "front"),
    ],
)
def test_exim_itself_takes_what_is_written(configuration: Path, exim: Path, arguments: tuple[str, ...]) -> None:
    result = fit(configuration, *arguments, "--apply")
    assert result.exit_code == 0, result.output
    checked = subprocess.run([exim, "-C", configuration, "-bV"], capture_output=True, text=True, check=True)
    assert not checked.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="Exim routes for root alone")
@pytest.mark.parametrize(("address", "router"), [("a@elsewhere.example", "mtaframe"), ("a@mail.example.com", "here")])
def test_all_but_its_own_domains_goes_to_mtaframe(configuration: Path, exim: Path, address: str, router: str) -> None:
    fit(configuration, "--apply")
    routed = subprocess.run([exim, "-C", configuration, "-bt", address], capture_output=True, text=True, check=True)
    assert f"router = {router}, " in routed.stdout


def test_what_exim_would_refuse_is_not_written(configuration: Path, exim: Path) -> None:
    wrong = CONFIGURATION.replace("here:", "mtaframe:")
    configuration.write_text(wrong)
    result = fit(configuration, "--apply")
    assert result.exit_code == 1
    assert "Exim does not take it" in result.output
    assert configuration.read_text() == wrong


def test_undo_brings_back_every_octet_and_keeps_what_others_changed(configuration: Path) -> None:
    configuration.chmod(0o640)
    fit(configuration, "--apply")
    assert fit(configuration, "--apply").output.endswith("nothing to change\n")
    assert configuration.stat().st_mode & 0o777 == 0o640
    configuration.write_text(configuration.read_text() + "example.com * F,1h,1m\n")
    fit(configuration, "--undo", "--apply")
    assert configuration.read_text() == CONFIGURATION + "example.com * F,1h,1m\n"


def test_the_split_configuration_of_debian_gets_files_of_its_own(tmp_path: Path) -> None:
    for section in ("main", "router", "transport", "retry"):
        (tmp_path / section).mkdir()
        (tmp_path / section / "00_exim4-config_header").write_text("")
    assert "update-exim4.conf" in fit(tmp_path, "--apply").output
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/050_mtaframe")) == [
        "main/050_mtaframe",
        "retry/050_mtaframe",
        "router/050_mtaframe",
        "transport/050_mtaframe",
    ]
    fit(tmp_path, "--chain", "front", "--apply")
    assert [path.parent.name for path in tmp_path.glob("*/050_mtaframe")] == ["main"]
    fit(tmp_path, "--undo", "--apply")
    assert not [*tmp_path.glob("*/050_mtaframe")]


@pytest.mark.parametrize("arguments", [("--endpoint", "nowhere"), ("--endpoint", SOCKET.path, "--protocol", "smtp")])
def test_what_can_not_be_is_refused(configuration: Path, arguments: tuple[str, ...]) -> None:
    assert fit(configuration, *arguments, "--apply").exit_code == 1
    assert configuration.read_text() == CONFIGURATION


LINES = st.sampled_from(
    [
        "begin routers",
        " begin transports",
        "begin retry",
        "queue_run_max=5",
        "  smtp_accept_max = 3",
        "# begin acl",
        "",
        "x\r",
    ]
)


@given(
    lines=st.lists(LINES),
    final=st.sampled_from(["", "\n"]),
    added=st.sampled_from([*SNIPPETS.values(), additions("behind", SOCKET)]),
)
def test_taking_out_is_exact_for_any_text(lines: list[str], final: str, added: dict[str, str]) -> None:
    text = "\n".join(lines) + final
    assert undone(applied(text, None, added)) == text


def test_the_shipped_snippets_are_what_setup_writes(tmp_path: Path) -> None:
    shipped = ROOT / "contrib" / "exim"
    for folder, added in SNIPPETS.items():
        for path, section in places(tmp_path).items():
            file = shipped / folder / path.relative_to(tmp_path)
            text = applied("", section, added)
            assert (file.read_text() if file.exists() else "") == text, f"{file} must read:\n{text}"
    assert sorted(path.name for path in shipped.iterdir() if path.is_dir()) == sorted(SNIPPETS)
