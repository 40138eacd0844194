"""``mtaframe``: every command helps itself, errors are one line and an exit code, plugins add their own commands."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from mtaframe.account import Account, Credential
from mtaframe.accounts import Accounts
from mtaframe.cli import COMMANDS, main
from mtaframe.cli.options import SYSTEM_FOLDER, default_folder
from mtaframe.cli.printing import print_value
from tests.conftest import ROOT

ENTRY_POINTS = """\
[mtaframe]
parrot = tests.core.parrot:Parrot
inker = tests.core.parrot:Inker
absent = tests.core.no_such_module:Absent
"""
LISTENER = """
[[listener]]
name = "in"
kind = "application"
addresses = ["127.0.0.1:0"]
trusted = ["127.0.0.0/8"]
"""
CONFIGURATION = f"""\
plugins = ["parrot", "inker"]
control = "CONTROL"
[route]
transport = "cage"
{LISTENER}"""
PROGRAM = [sys.executable, "-c", "from mtaframe.cli import main; main(prog_name='mtaframe')"]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plugins of another package, as pip would install it."""
    place = tmp_path / "site"
    (place / "parrot-1.dist-info").mkdir(parents=True)
    (place / "parrot-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot\nVersion: 1\n")
    (place / "parrot-1.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), str(ROOT)]))
    return place


@pytest.fixture
def conf(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "conf"
    folder.mkdir()
    write(folder, CONFIGURATION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MTAFRAME_CONF", raising=False)
    return folder


@pytest.fixture
def server(conf: Path) -> Iterator[list[str]]:
    """A real ``mtaframe run``; the lines of its greeting."""
    process = subprocess.Popen([*PROGRAM, "run"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    greeting: list[str] = []
    while not greeting or "show ID" not in greeting[-1]:
        line = process.stdout.readline()
        assert line, "the server ended"
        greeting.append(line.rstrip("\n"))
    yield greeting
    process.terminate()
    assert process.wait(10) == 0
    process.stdout.close()


def write(folder: Path, text: str) -> None:
    (folder / "mtaframe.toml").write_text(text.replace("CONTROL", str(folder / "control.sock")))


def run(*arguments: str | Path, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=given)


def commands(group: click.Group, path: str = "mtaframe") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            continue
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def test_every_command_and_option_has_a_help_text(conf: Path) -> None:
    found = dict(commands(main))
    assert {"mtaframe run", "mtaframe account hash", "mtaframe config schema", "mtaframe parrot say"} <= found.keys()
    for path, command in found.items():
        assert command.help, f"{path} needs a docstring"
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{path} {parameter.opts[0]} needs a help text"


def test_the_help_says_what_exit_codes_mean_and_lists_the_commands_of_plugins(conf: Path) -> None:
    text = run("--help").stdout
    assert re.search(r"Exit codes:\n +0  done", text)
    assert re.search(r"Commands of plugins:\n +parrot  Repeats what it hears\.\n", text)
    assert "inker" not in text  # has none


def test_help_works_without_any_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTAFRAME_CONF", str(tmp_path / "nowhere"))
    result = run("--help")
    assert result.exit_code == 0
    assert "Commands of plugins" not in result.stdout
    assert all(re.search(rf"^  {name} ", result.stdout, re.MULTILINE) for name in ("run", "check", "plugins"))


def test_a_command_imports_nothing_that_only_others_need() -> None:
    code = "import sys, mtaframe.cli, mtaframe.cli.run; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"rich", "tomlkit", "argon2", "aiosmtplib", "aiosmtpd", "uvloop", "dns", "watchfiles"} & set(loaded)


def test_a_command_whose_module_is_missing_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "gone", "mtaframe.cli.no_such_module:gone")
    result = run("--help")
    assert result.exit_code == 0
    assert "gone" not in result.stdout


def test_the_folder_is_the_one_named_else_here_else_the_system_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MTAFRAME_CONF", raising=False)
    assert default_folder() == SYSTEM_FOLDER
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "mtaframe.toml").touch()
    assert default_folder() == Path("conf")
    monkeypatch.setenv("MTAFRAME_CONF", "/elsewhere")
    assert default_folder() == Path("/elsewhere")
    for arguments in (
        ("--conf", "/named", "check"),
        ("check", "--conf", "/named"),
        ("--conf", "/x", "check", "--conf=/named"),
    ):
        assert "/named" in run(*arguments).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["chekc"], 2, 'there is no command "chekc"; did you mean "check"?; see `mtaframe --help`'),
        (["check", "--jsno"], 2, "No such option"),
        (["explain"], 2, "Missing argument 'FILE'; see `mtaframe explain --help`"),
        (["send", "--from", "a@b.example", "--to", "c@d.example", "--server", "nonsense"], 2, '"127.0.0.1:2525"'),
        (["inker", "list"], 1, 'the plugin "inker" has no commands'),
        (["absent", "list"], 1, 'the plugin "absent" is not listed in'),
        (["parrot", "rows", "--conf", "/nowhere"], 1, "name the configuration's folder by --conf"),
        (["config", "schema", "parot"], 1, 'did you mean "parrot"?'),
        (["parrot", "rows"], 3, "start it with `mtaframe run`"),
        (["status"], 3, "start it with `mtaframe run`"),
        (["reload"], 3, "start it with `mtaframe run`"),
        (["send", "--from", "a@b.example", "--to", "c@d.example", "--server", "127.0.0.1:1"], 3, "127.0.0.1:1 does"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_that_says_what_to_do(conf: Path, arguments: list[str], code: int, text: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("mtaframe: ")
    assert result.stderr.count("\n") == 1
    assert text in result.stderr


def test_version() -> None:
    assert re.fullmatch(r"mtaframe \d+\.\d+\.\d+\n", run("--version").stdout)


# check


def test_check_finds_a_good_folder_good(conf: Path) -> None:
    write(conf, CONFIGURATION.replace('"parrot", "inker"', '"parrot"'))
    result = run("check")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "conf is good, no warnings\n", "")


def test_check_tells_every_fault_with_its_place(conf: Path) -> None:
    write(conf, CONFIGURATION + 'patiense = "1s"\n')
    (conf / "parrot.toml").write_text('voice = "shrill"\n')
    result = run("check")
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert re.fullmatch(r'conf/mtaframe\.toml:\d+: listener\.0\.patiense: unknown key "patiense"; did you .*', first)
    assert re.fullmatch(r"conf/parrot\.toml:1: voice: must be 'loud', 'quiet' or 'none'", second)
    assert result.stderr == "mtaframe: 2 faults in conf, no warnings\n"
    told = json.loads(run("check", "--json").stdout)
    assert told["good"] is False
    assert [(fault["file"], fault["key"]) for fault in told["faults"]] == [
        ("conf/mtaframe.toml", "listener.0.patiense"),
        ("conf/parrot.toml", "voice"),
    ]


def test_check_builds_the_plugins_and_so_finds_what_only_they_can_find(conf: Path) -> None:
    (conf / "parrot.toml").write_text('voice = "none"\n')
    result = run("check")
    assert result.exit_code == 1
    assert result.stdout.endswith('the plugin "parrot" does not start: a parrot without a voice\n')
    (conf / "parrot.toml").write_text('voice = "quiet"\n')
    result = run("check")
    assert result.exit_code == 0
    assert "conf: warning: parrot: hard to hear\n" in result.stdout
    assert result.stderr == ""


def test_check_warns_of_a_signer_listed_before_what_changes_the_message(conf: Path) -> None:
    write(conf, CONFIGURATION.replace('"parrot", "inker"', '"inker", "parrot"'))
    result = run("check")
    assert result.exit_code == 0
    assert 'warning: plugins.0: "inker" signs what "parrot" may have changed: list it behind "parrot"' in result.stdout
    assert result.stdout.endswith("conf is good, 1 warning\n")


def test_run_tells_the_faults_and_ends(conf: Path) -> None:
    write(conf, CONFIGURATION + 'patiense = "1s"\n')
    ran = subprocess.run([*PROGRAM, "run"], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "listener.0.patiense" in ran.stderr
    assert "mtaframe: the configuration in conf has 1 fault: mend the above" in ran.stderr
    assert "Traceback" not in ran.stderr


# small ones


def test_plugins_shows_order_hooks_grants_transports_and_who_is_not_listed(conf: Path) -> None:
    told = json.loads(run("plugins", "--json").stdout)
    parrot, inker = told["plugins"]
    assert (parrot["name"], parrot["transports"], parrot["on_fault"]) == ("parrot", ["cage"], "defer")
    assert parrot["hooks"] == ["on_connect", "on_rcpt", "on_data", "before_sign", "on_result", "on_event"]
    assert inker["hooks"] == ["sign"]
    assert "dkim" in told["not_listed"]
    text = run("plugins").stdout
    assert re.search(r"^parrot +on_connect, on_rcpt.* +cage +on_fault defer, 10s$", text, re.MULTILINE)
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize(("file", "key"), [("mtaframe", "hostname"), ("accounts.toml", "account"), ("parrot", "voice")])
def test_config_schema_is_a_json_schema_with_descriptions(conf: Path, file: str, key: str) -> None:
    schema = json.loads(run("config", "schema", file).stdout)
    assert schema["properties"][key]["description"]


async def test_account_hash_prints_what_accounts_toml_wants() -> None:
    result = run("account", "hash", "--user", 'a "user"', given="geheim\nsecond line\n")
    assert result.exit_code == 0
    assert "geheim" not in result.output
    head, user, hash_ = result.stdout.splitlines()
    assert (head, user) == ("[[account.credential]]", 'user = "a \\"user\\""')
    hashed = hash_.removeprefix('hash = "').removesuffix('"')
    accounts = Accounts([Account("a", None, frozenset(), frozenset(), (Credential("u", hashed),))])
    assert await accounts.authenticate("u", "geheim") is not None
    assert run("account", "hash", given="").exit_code == 1


# with a running server


def test_run_says_what_to_type_and_it_works_as_typed(server: list[str], conf: Path) -> None:
    text = "\n".join(server)
    found = re.search(r"in  (127\.0\.0\.1:(\d+))  \(application\)", text)
    assert found
    assert f"swaks --server {found[1]} " in text
    assert text.endswith("mtaframe cage list\n  mtaframe cage show ID")
    line = next(line.strip() for line in server if line.lstrip().startswith("python3 -c"))
    typed = line.replace("python3", sys.executable, 1)
    for _ in range(2):  # the same mail once more is not a repeat of what failed
        assert subprocess.run(typed, shell=True, check=False).returncode == 0
        assert json.loads(run("status", "--json").stdout)["ledger"] == 0
    assert json.loads(run("status", "--json").stdout)["listeners"] == {"in": [found[1]]}


def test_send_prints_the_replies_and_status_and_plugins_count(server: list[str]) -> None:
    sent = run("send", "--from", "a@example.com", "--to", "b@example.net", "--to", "c@example.net")
    assert sent.exit_code == 0, sent.output
    assert re.search(r"^the final dot: 250 2\.0\.0 caged", sent.stdout, re.MULTILINE)
    refused = run("send", "--from", "<>", "--to", "nobody@example.net", "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["replies"][-1]["text"] == "5.1.1 no such parrot"
    spam = run("send", "-", "--from", "a@example.com", "--to", "b@example.net", given="Subject: spam\n\nbuy\n")
    assert (spam.exit_code, "the message was refused: 550 to the final dot" in spam.stderr) == (1, True)
    assert "hostname" in run("status").stdout
    parrot = json.loads(run("plugins", "--json").stdout)["plugins"][0]
    assert parrot["calls"] > 5
    assert parrot["faults"] == 0


def test_reload_says_no_and_why(server: list[str], conf: Path) -> None:
    assert run("reload").stdout == "the configuration is in force\n"
    write(conf, CONFIGURATION + 'patiense = "1s"\n')
    refused = run("reload")
    assert refused.exit_code == 1
    assert "the running configuration stays" in refused.stderr


def test_commands_of_plugins_run_inside_the_server(server: list[str], conf: Path) -> None:
    rows = run("parrot", "rows").stdout.splitlines()
    assert rows[0].split() == ["id", "word", "old"]
    assert rows[1].split() == ["1", "[red]hello\N{REPLACEMENT CHARACTER}[31m", "no"]
    assert json.loads(run("parrot", "rows", "--limit", "5", "--json").stdout)[4]["id"] == 5
    assert run("parrot", "say", "hi").stdout == "hi\n"
    assert run("parrot", "say", "hi", "2", "--tone", "low").stdout == "hi hi (low)\n"
    assert run("parrot", "say", "hi", "--raw").stdout_bytes == b"hi\xff"
    assert run("parrot", "facts").stdout == "colour  green\nage     3\n"
    assert run("parrot", "say", "hi", "many").exit_code == 2
    failed = run("parrot", "fly")
    assert (failed.exit_code, failed.stderr) == (3, "mtaframe: the call failed: LookupError\n")
    refused = run("parrot", "sing")
    assert (refused.exit_code, refused.stderr) == (3, "mtaframe: parrots do not sing: say something\n")
    assert "How many rows.  [default: 2]" in run("parrot", "rows", "--help").stdout


def test_commands_of_plugins_work_while_the_files_hold_a_fault(server: list[str], conf: Path) -> None:
    write(conf, CONFIGURATION + 'patiense = "1s"\n')
    time.sleep(0.5)
    assert run("parrot", "say", "hi").stdout == "hi\n"
    assert run("--conf", conf, "parrot", "say", "hi").stdout == "hi\n"


def test_an_empty_list_says_so(capsys):
    print_value([], as_json=False)
    print_value([], as_json=True)
    assert capsys.readouterr().out == "none\n[]\n"
