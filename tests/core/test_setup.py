"""``mtaframe setup`` shows before it writes, and Postfix's files come back octet by octet."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from mtaframe.cli import main
from mtaframe.cli.chains import CHAINS
from mtaframe.cli.postfix_files import ENDPOINTS, Files, applied, undone
from mtaframe.cli.setup import PRESETS
from mtaframe.settings import Settings
from tests.conftest import ROOT, Program

MAIN = """\
# an operator's own file
myhostname = mail.example.com
default_transport = smtp:[relay.example.net],
 # a remark in between

    smtp:[other.example.net]
smtpd_banner = $myhostname ESMTP
"""
MASTER = "smtp inet n - y - - smtpd\n  -o syslog_name=ours\n"


@pytest.fixture
def postfix_directory(tmp_path: Path) -> Path:
    (tmp_path / "main.cf").write_text(MAIN)
    (tmp_path / "master.cf").write_text(MASTER)
    return tmp_path


@pytest.fixture
def postconf(program: Program, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real postconf, on the path."""
    path = program("postconf")
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(path.parents[1] / "lib" / "postfix"))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["setup", *map(str, arguments)])


def fit(directory: Path, *arguments: str) -> Result:
    return run("postfix", "--config-directory", directory, *arguments)


def test_a_dry_run_shows_the_difference_and_writes_nothing(postfix_directory: Path) -> None:
    result = fit(postfix_directory)
    assert result.exit_code == 0
    assert "+default_transport = mtaframe:inet:127.0.0.1:2424" in result.stdout
    assert "-default_transport = smtp:[relay.example.net]," in result.stdout
    assert "--apply" in result.stderr
    assert (postfix_directory / "main.cf").read_text() == MAIN
    assert (postfix_directory / "master.cf").read_text() == MASTER


@pytest.mark.parametrize("chain", CHAINS)
def test_postfix_itself_takes_what_is_written(postfix_directory: Path, postconf: Path, chain: str) -> None:
    assert fit(postfix_directory, "--chain", chain, "--apply").exit_code == 0
    os.utime(postfix_directory / "main.cf", (0, 0))  # or postconf waits two seconds for it to settle
    for what in ("-n", "-M"):
        ran = subprocess.run([postconf, "-c", postfix_directory, what], capture_output=True, text=True, check=True)
        assert not [line for line in ran.stderr.splitlines() if "compatibility" not in line.lower()]
    assert ("mtaframe unix" if chain == "behind" else "127.0.0.1:10026 inet") in " ".join(ran.stdout.split())


def test_what_postfix_would_refuse_is_not_written(postfix_directory: Path, postconf: Path) -> None:
    (postfix_directory / "master.cf").write_text("smtp inet n\n")
    result = fit(postfix_directory, "--apply")
    assert result.exit_code == 1
    assert "Postfix does not take it" in result.output
    assert (postfix_directory / "main.cf").read_text() == MAIN


def test_undo_brings_back_every_octet_and_keeps_what_others_changed(postfix_directory: Path) -> None:
    main = postfix_directory / "main.cf"
    main.chmod(0o640)
    fit(postfix_directory, "--apply")
    assert main.stat().st_mode & 0o777 == 0o640
    main.write_text(main.read_text() + "mynetworks = 127.0.0.0/8\n")
    fit(postfix_directory, "--undo", "--apply")
    assert main.read_text() == MAIN + "mynetworks = 127.0.0.0/8\n"
    assert (postfix_directory / "master.cf").read_text() == MASTER
    assert fit(postfix_directory, "--undo", "--apply").output == "nothing to change\n"


def test_another_chain_takes_the_place_of_the_first(postfix_directory: Path) -> None:
    fit(postfix_directory, "--apply")
    assert fit(postfix_directory, "--apply").output == "nothing to change\n"
    fit(postfix_directory, "--chain", "front", "--apply")
    assert "mtaframe:inet" not in (postfix_directory / "main.cf").read_text()
    assert "\nmtaframe unix" not in (postfix_directory / "master.cf").read_text()


def test_a_service_of_the_same_name_is_left_alone(postfix_directory: Path) -> None:
    (postfix_directory / "master.cf").write_text(MASTER + "mtaframe   unix - - n - - smtp\n")
    result = fit(postfix_directory, "--apply")
    assert result.exit_code == 1
    assert 'already has a service "mtaframe"' in result.output


@pytest.mark.parametrize("endpoint", ["mtaframe.example.com", "127.0.0.1", "127.0.0.1:70000"])
def test_an_endpoint_that_is_none_is_refused(postfix_directory: Path, endpoint: str) -> None:
    assert fit(postfix_directory, "--endpoint", endpoint).exit_code == 1


@pytest.mark.parametrize("path", ["/run/my $queue_directory/lmtp", "/run/a b", "/run/a\nmyhostname = other", "/run/#"])
@pytest.mark.parametrize("server", ["postfix", "exim"])
def test_a_path_that_another_server_would_read_otherwise_is_refused(tmp_path: Path, server: str, path: str) -> None:
    for name in ("main.cf", "master.cf"):
        (tmp_path / name).write_text("")
    where = ("--config-directory", tmp_path) if server == "postfix" else ("--configuration", tmp_path / "main.cf")
    result = run(server, *where, "--endpoint", path, "--apply")
    assert result.exit_code == 1
    assert "the path of a Unix socket may hold" in result.output
    assert (tmp_path / "main.cf").read_text() == ""


def test_a_link_stays_one_and_what_it_leads_to_comes_back(postfix_directory: Path, tmp_path: Path) -> None:
    """The link was gone for good, and what others changed behind it counted no more."""
    links = tmp_path / "etc"
    links.mkdir()
    for name in ("main.cf", "master.cf"):
        (links / name).symlink_to(Path("..", name))
    assert fit(links, "--apply").exit_code == 0
    assert (links / "main.cf").is_symlink()
    assert "mtaframe:inet" in (postfix_directory / "main.cf").read_text()
    assert fit(links, "--undo", "--apply").exit_code == 0
    assert (links / "master.cf").is_symlink()
    assert (postfix_directory / "main.cf").read_text() == MAIN


def test_a_block_that_has_lost_its_end_takes_nothing_along(postfix_directory: Path) -> None:
    """Taken out with the next one went all that stood between the two."""
    main = postfix_directory / "main.cf"
    fit(postfix_directory, "--apply")
    main.write_text(main.read_text().replace("# END mtaframe\n", "") + "mynetworks = 127.0.0.0/8\n")
    fit(postfix_directory, "--apply")
    fit(postfix_directory, "--undo", "--apply")
    assert "\nmynetworks = 127.0.0.0/8\n" in main.read_text()


def test_what_is_said_to_do_next_can_be_copied(tmp_path: Path) -> None:
    result = run("--chain", "behind", "--listen", "/run/a b", "--conf", tmp_path / "its own")
    assert f"mtaframe check --conf '{tmp_path}/its own'; " in result.output
    assert "--endpoint '/run/a b'" in result.output


LINES = st.sampled_from(
    ["a = b", "default_transport = smtp", "  continued", "# remark", "", " # odd", "x\r", "\x85y = z"]
)


@given(lines=st.lists(LINES), final=st.sampled_from(["", "\n"]), chain=st.sampled_from(CHAINS))
def test_taking_out_is_exact_for_any_text(lines: list[str], final: str, chain: str) -> None:
    text = "\n".join(lines) + final
    files = Files(text, text)
    assert undone(applied(files, chain, ENDPOINTS[chain])) == files


@pytest.mark.parametrize("chain", CHAINS)
def test_the_shipped_snippets_are_what_setup_writes(chain: str) -> None:
    files = applied(Files("", ""), chain, ENDPOINTS[chain])
    directory = ROOT / "contrib" / "postfix" / PRESETS[chain]
    for name, text in (("main.cf", files.main), ("master.cf", files.master)):
        path = directory / name
        assert (path.read_text() if path.exists() else "") == text, f"{path} must read:\n{text}"


@pytest.mark.parametrize(("chain", "preset"), PRESETS.items())
def test_each_chain_writes_a_valid_configuration(tmp_path: Path, chain: str, preset: str) -> None:
    result = run("--chain", chain, "--hostname", "mx.example.com", "--conf", tmp_path / "conf", "--apply")
    assert result.exit_code == 0, result.output
    written = Settings.model_validate(tomllib.loads((tmp_path / "conf" / "mtaframe.toml").read_text()))
    shipped = Settings.model_validate(tomllib.loads((ROOT / "conf" / "presets" / f"{preset}.toml").read_text()))
    assert written == shipped.model_copy(update={"hostname": "mx.example.com"})
    assert (tmp_path / "conf" / "accounts.toml").exists()
    assert ("mtaframe setup postfix" in result.output) == (chain in CHAINS)


def test_the_answers_stand_in_what_is_written(tmp_path: Path) -> None:
    arguments = ("--smart-host", "[::1]:10030", "--listen", "127.0.0.1:2626", "--listen", "[::1]:2626")
    result = run("--chain", "front", *arguments, "--conf", tmp_path, "--apply")
    assert result.exit_code == 0, result.output
    written = Settings.model_validate(tomllib.loads((tmp_path / "mtaframe.toml").read_text()))
    assert (written.route.next_hop, written.route.port) == ("::1", 10030)
    assert written.listener[0].addresses == ("127.0.0.1:2626", "[::1]:2626")


def test_setup_shows_first_and_does_not_overwrite(tmp_path: Path) -> None:
    target = tmp_path / "mtaframe.toml"
    result = run("--chain", "direct", "--conf", tmp_path)
    assert '+hostname = "auto"' in result.stdout
    assert not target.exists()
    target.write_text('hostname = "ours.example.com"\n')
    refused = run("--chain", "direct", "--conf", tmp_path, "--apply")
    assert refused.exit_code == 1
    assert "--force" in refused.output
    assert list(tmp_path.iterdir()) == [target]
    assert run("--chain", "direct", "--conf", tmp_path, "--apply", "--force").exit_code == 0
    assert "ours.example.com" not in target.read_text()


@pytest.mark.parametrize("wrong", [("--smart-host", "nowhere"), ("--listen", "everywhere"), ("--chain", "ring")])
def test_an_answer_that_cannot_be_is_refused(tmp_path: Path, wrong: tuple[str, str]) -> None:
    result = run("--chain", "front", *wrong, "--conf", tmp_path, "--apply")
    assert result.exit_code != 0
    assert list(tmp_path.iterdir()) == []
