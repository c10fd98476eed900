"""Settings from files and the environment: which one holds, what is refused, and what `mdtool config` says of them."""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import typer
from cli_runner import run, spawn
from make_media import SAMPLES
from PIL import Image
from typer.core import TyperGroup

from mdtool import settings
from mdtool.cli import app

if sys.platform != "win32":
    import pty

GROUP = SAMPLES / "group.png"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, the working directory, and no settings but those that a test makes."""
    for name in os.environ:
        if name.startswith(settings.PREFIX):
            monkeypatch.delenv(name)
    for home in ("HOME", "USERPROFILE"):  # the second on Windows
        monkeypatch.setenv(home, str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    return project


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / settings.CONFIG_FILE
    path.write_text(text)
    return path


def write_users(here: Path, text: str) -> Path:
    return write(here.parent / "home" / ".config" / "mdtool", text)


def shown(*command: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What `config show --json` says, by command and option."""
    outcome = run("config", "show", *command, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    return {(row.pop("command"), row.pop("option")): row for row in outcome.json}


def painted(picture: Path) -> set[str]:
    """Which of the test's colours cover more than a handful of pixels."""
    colours = {"lime": (0, 255, 0), "red": (255, 0, 0), "blue": (0, 0, 255), "magenta": (255, 0, 255)}
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    return {name for name, colour in colours.items() if (pixels == colour).all(-1).sum() > 100}


# Which one holds


def test_each_source_goes_before_the_one_below(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def redacted(name: str, *options: str) -> set[str]:
        outcome = run("redact", GROUP, "-o", here / name, "--quiet", *options)
        assert (outcome.code, outcome.err) == (0, "")
        return painted(here / name)

    assert redacted("0.png") == set()
    write_users(here, '[redact]\nstyle = "solid"\ncolor = "#00ff00"\n')
    assert redacted("1.png") == {"lime"}
    write(here, '[redact]\ncolor = "#ff0000"\n')  # the style stays the user's
    assert redacted("2.png") == {"red"}
    monkeypatch.setenv("MDTOOL_REDACT_COLOR", "#0000ff")
    assert redacted("3.png") == {"blue"}
    assert redacted("4.png", "--color", "#ff00ff") == {"magenta"}
    assert redacted("5.png", "--style", "blur") == set()


def test_a_commands_table_goes_before_the_defaults_of_its_file(here: Path) -> None:
    write_users(here, '[redact]\ndevice = "cuda:1"\n[caption]\ndevice = "cuda:2"\n')
    write(here, '[defaults]\ndevice = "cpu"\n[redact]\ndevice = "mps"\n')
    rows = shown()
    assert rows["redact", "device"]["value"] == "mps"
    assert rows["caption", "device"]["value"] == "cpu"  # the project's file goes before the user's as a whole
    assert rows["bench model", "device"]["value"] == "cpu"


def test_a_commands_variable_goes_before_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDTOOL_DEVICE", "cpu")
    monkeypatch.setenv("MDTOOL_BENCH_MODEL_DEVICE", "mps")
    rows = shown()
    assert rows["bench model", "device"] == {
        "value": "mps", "from": "environment", "variable": "MDTOOL_BENCH_MODEL_DEVICE",
    }  # fmt: skip
    assert rows["redact", "device"] == {"value": "cpu", "from": "environment", "variable": "MDTOOL_DEVICE"}


def test_settings_are_those_of_the_command_alone(here: Path) -> None:
    write(here, "[models.list]\njson = true\n")
    assert {"centerface", "pocket"} <= {record["name"] for record in run("models", "list").json}
    shown = run("config", "show", "models", "list").out.decode()
    assert shown == f"models list\tjson\ttrue\t{here}/mdtool.toml:2\nmodels list\tverbose\tfalse\tdefault\n"


def test_a_list_in_a_file_and_in_a_variable(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, '[redact]\nprompt = [\n  "face",\n  "license plate",\n]\nkeep = ["0,0,0.5,1"]\n')
    rows = shown("redact")
    assert rows["redact", "prompt"]["value"] == ["face", "license plate"]
    assert rows["redact", "keep"]["line"] == 6
    monkeypatch.setenv("MDTOOL_REDACT_PROMPT", "left hand\nface")
    assert shown("redact")["redact", "prompt"]["value"] == ["left hand", "face"]


def test_the_command_line_takes_the_place_of_a_list(here: Path) -> None:
    write(here, '[redact]\nkeep = ["0,0,1,1"]\nstyle = "solid"\ncolor = "#ff0000"\n')
    assert run("redact", GROUP, "-o", here / "none.png", "--quiet").code == 0
    assert painted(here / "none.png") == set()
    assert run("redact", GROUP, "-o", here / "half.png", "--quiet", "--keep", "0,0,0.5,1").code == 0
    assert painted(here / "half.png") == {"red"}


def test_a_variable_switches_off_what_a_file_switched_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, "[models.list]\njson = true\n")
    monkeypatch.setenv("MDTOOL_JSON", "0")
    assert not run("models", "list").out.startswith(b"{")


def test_an_empty_variable_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDTOOL_REDACT_STYLE", "")
    assert shown() == {}


def test_options_whose_name_in_the_program_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDTOOL_REDACT_FROM", "1:30")
    assert shown()["redact", "from"]["value"] == "1:30"


def test_help_shows_the_default_that_holds(here: Path) -> None:
    write(here, '[caption]\nlength = "long"\n')
    assert "[default: long]" in run("caption", "--help").out.decode()


# Where files are


def test_the_nearest_folder_above_has_the_projects_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = write(here, "[redact]\ncrf = 20\nstrength = 0.5\n")
    inner = write(here / "a", "[redact]\ncrf = 30\n")
    (here / "a" / "b" / settings.CONFIG_FILE).mkdir(parents=True)  # a folder of that name is no file
    for folder, file in ((here / "a" / "b", inner), (here / "a", inner), (here, outer)):
        monkeypatch.chdir(folder)
        assert run("config", "path").out.decode() == f"{file}\n"
    monkeypatch.chdir(here / "a" / "b")
    assert {key: row["value"] for key, row in shown().items()} == {("redact", "crf"): 30}


def test_xdg_config_home(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = write_users(here, "[redact]\ncrf = 20\n")
    xdg = write(here.parent / "xdg" / "mdtool", "[redact]\ncrf = 21\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(here.parent / "xdg"))
    assert run("config", "path").out.decode() == f"{xdg}\n"
    for ignored in ("", "../xdg"):  # the specification ignores relative folders
        monkeypatch.setenv("XDG_CONFIG_HOME", ignored)
        assert run("config", "path").out.decode() == f"{users}\n"


def test_both_files_the_projects_first(here: Path) -> None:
    paths = [write(here, ""), write_users(here, "")]
    assert run("config", "path").out.decode().splitlines() == [str(path) for path in paths]


def test_a_users_file_that_is_the_projects_is_read_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_users(here, "")
    monkeypatch.chdir(path.parent)
    assert run("config", "path").out.decode() == f"{path}\n"


def test_no_files(here: Path) -> None:
    outcome = run("config", "path")
    assert (outcome.code, outcome.out) == (0, b"")
    assert outcome.lines == [
        "mdtool: no settings file; create mdtool.toml in this folder or one above, or "
        f"{here.parent}/home/.config/mdtool/mdtool.toml"
    ]


@pytest.mark.posix("a working directory that is gone")
def test_a_working_directory_that_is_gone(here: Path) -> None:
    outcome = spawn("models", "list", cwd=here, before=here.rmdir)
    assert (outcome.code, outcome.err) == (0, "")


# What is refused


WRONG = [
    ('[redact]\nstyl = "blur"\n', ":2: [redact] styl: no such option; did you mean style?"),
    ("[redact]\nmax_calls = 3\n", ":2: [redact] max_calls: no such option; did you mean max-calls?"),
    ('[redact]\ntoken = "x"\n', ":2: [redact] token: no such option; `mdtool redact --help` lists all"),
    ("[redact]\nhelp = true\n", ":2: [redact] help: no such option"),
    ("[redcat]\n", ":1: [redcat]: no such command has settings; did you mean [redact]?"),
    ("[default]\n", ":1: [default]: no such command has settings; did you mean [defaults]?"),
    ("[bench.redcat]\n", ":1: [bench.redcat]: no such command has settings; did you mean [bench.redact]?"),
    ("[config.show]\njson = true\n", ": [config]: no such command has settings; `mdtool --help` lists all"),
    ('style = "blur"\n', ":1: style: belongs in the table of a command, such as [redact]"),
    ("[bench]\nruns = 1\n", ":2: [bench] runs: belongs in the table of a command, such as [bench.redact]"),
    ("[redact]\ninputs = ['a']\n", ":2: [redact] inputs: is an argument, which can only be given on the command line"),
    ("[defaults]\ndevise = 'cpu'\n", ":2: [defaults] devise: commands share no such option; did you mean device?"),
    ("[defaults]\nlength = 'x'\n", ":2: [defaults] length: only one command has this option; move it to [caption]"),
    ("defaults = 1\n", ":1: defaults: must be a table: write [defaults]"),
    ("[[redact]]\ncrf = 1\n", ": redact: must be a table: write [redact]"),
    ("[bench]\nredact = 1\n", ":2: [bench] redact: must be a table: write [bench.redact]"),
    ('\n[redact]\n# no\ncrf = "18"\n', ':4: [redact] crf: takes a number, not "18"'),
    ("[redact]\ncrf = true\n", ":2: [redact] crf: takes a number, not true"),
    ("[redact]\ncrf = 1.5\n", ":2: [redact] crf: Input should be a valid integer, got a number with a fractional part"),
    ("[redact]\ncrf = 2026-01-01\n", ":2: [redact] crf: takes no date or time"),
    ("[redact]\noverwrite = 1\n", ":2: [redact] overwrite: takes true or false, not 1"),
    ('[redact]\noverwrite = "yes"\n', ':2: [redact] overwrite: takes true or false, not "yes"'),
    ("[redact]\ncolor = false\n", ":2: [redact] color: takes text, not false"),
    ('[redact]\ncolor = ["red"]\n', ':2: [redact] color: takes text, not ["red"]'),
    ('[redact]\nprompt = "face"\n', ':2: [redact] prompt: takes a list, not "face": write ["face"]'),
    ("[redact]\nprompt = []\n", ":2: [redact] prompt: takes at least one value"),
    ("[redact]\nprompt = [true]\n", ":2: [redact] prompt: takes a list of text, not [true]"),
    ("[redact.style]\nx = 1\n", ": [redact] style: takes no table"),
    ('[redact]\nstyle = "purple"\n', ":2: [redact] style: 'purple' is not one of 'blur', 'pixelate', 'solid', '"),
    ("[redact]\nmax-calls = 0\n", ":2: [redact] max-calls: Input should be greater than or equal to 1"),
    ('[caption]\nlength = "shrot"\n', ":2: [caption] length: 'shrot' is not one of 'short', 'normal', 'long'"),
    ("[defaults]\nseed = 0.5\n", ":2: [defaults] seed: Input should be a valid integer"),
    ("[defaults]\nmax-tokens = true\n", ":2: [defaults] max-tokens: takes a number, not true (for `mdtool caption`)"),
    ("redact.crf = 'x'\n", ": [redact] crf: Input should be a valid integer"),
    ("[redact]\nstyle =\n", ": not valid TOML: Invalid value (at line 2, column 8)"),
    ("[redact]\n[redact]\n", ": not valid TOML: Cannot declare ('redact',) twice (at line 2, column 8)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_what_is_wrong_in_a_file_is_named(here: Path, text: str, message: str) -> None:
    path = write(here, text)
    for arguments in (["redact", GROUP, "-o", here / "out.png"], ["config", "show"]):
        outcome = run(*arguments)
        assert (outcome.code, outcome.out) == (2, b"")
        assert len(outcome.lines) == 1
        assert outcome.err.startswith(f"mdtool: {path}{message}")
    assert list(here.iterdir()) == [path]


def test_the_users_file_is_held_to_the_same(here: Path) -> None:
    path = write_users(here, "[redact]\nstile = 1\n")
    assert run("models", "list").err.startswith(f"mdtool: {path}:2: [redact] stile: ")


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"x = " + b"[" * 5000], ids=["no text", "deep"])
def test_a_file_that_is_no_toml(here: Path, data: bytes) -> None:
    (here / settings.CONFIG_FILE).write_bytes(data)
    outcome = run("models", "list")
    assert (outcome.code, len(outcome.lines)) == (2, 1)
    assert outcome.err.startswith(f"mdtool: {here / settings.CONFIG_FILE}: not valid TOML: ")


@pytest.mark.posix("file permissions")
def test_a_file_that_cannot_be_read(here: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root can read anything")
    path = write(here, "")
    path.chmod(0)
    assert run("models", "list").lines == [f"mdtool: {path}: can't be read: Permission denied"]


def test_a_number_may_stand_for_its_digits(here: Path) -> None:
    write(here, "[redact]\ndetail = 756\nmin-size = 0.05\nfeather = 0\n")
    values = {option: row["value"] for (_, option), row in shown().items()}
    assert values == {"detail": "756", "min-size": "0.05", "feather": 0.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('color = "purpel"', "color is set in {path}:2"),
        ("strength = 5", "strength is set in {path}:2"),
        ('device = "cudaa"', "device is set in {path}:2"),
        ('model = "nonesuch"', "model is set in {path}:2"),
        ('keep = ["0,0,1"]', "keep is set in {path}:2"),
    ],
)
def test_what_the_command_itself_refuses_is_traced_to_its_file(here: Path, text: str, message: str) -> None:
    path = write(here, f"[redact]\n{text}\n")
    outcome = run("redact", GROUP, "-o", here / "out.png")
    assert outcome.code in (2, 4)
    [line] = [line for line in outcome.lines if "changes what is hidden" not in line]
    assert line.endswith(f"; {message.format(path=path)}")


# Whose settings they are


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file, or a link itself, one of another user."""
    if os.geteuid() == 0:
        os.chown(path, 4711, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.lstat(path).st_uid + 1)


@pytest.mark.posix("owners of files")
@pytest.mark.parametrize("command", [["redact", GROUP, "-o", "out.png"], ["caption", GROUP], ["config", "show"]])
@pytest.mark.parametrize("below", [True, False])
def test_settings_of_another_user_are_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, below: bool, command: list[str | Path]
) -> None:
    """Anyone may put a file into a folder above, such as /tmp."""
    path = write(here.parent if below else here, '[redact]\nkeep = ["0,0,1,1"]\n')
    give_away(path, monkeypatch)
    outcome = run(*command)
    assert (outcome.code, len(outcome.lines)) == (2, 1)
    assert outcome.err.startswith(f"mdtool: {path}: settings of another user (uid ")
    assert list(here.glob("*.png")) == []


@pytest.mark.posix("owners of files")
def test_a_link_of_another_user_is_refused_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would choose which of the user's own files holds."""
    write(here / "other", "[redact]\nmin-size = 0.5\n")
    link = here / settings.CONFIG_FILE
    link.symlink_to(here / "other" / settings.CONFIG_FILE)
    assert run("config", "show").code == 0
    give_away(link, monkeypatch)
    assert "settings of another user" in run("redact", GROUP, "-o", "out.png").err


@pytest.mark.posix("owners of files")
def test_sudo_reads_the_settings_of_the_user_who_called_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    path = write(here, '[redact]\nstyle = "solid"\n')
    give_away(path, monkeypatch)
    assert run("config", "show").code == 2
    assert run("config", "show", env={"SUDO_UID": "4711"}).code == 0
    assert run("config", "show", env={"SUDO_UID": "4712"}).code == 2


@pytest.mark.posix("modes of files")
def test_settings_that_everybody_may_write_are_refused(here: Path) -> None:
    path = write(here, '[redact]\nstyle = "solid"\n')
    path.chmod(0o664)
    assert run("config", "show").code == 0
    path.chmod(0o666)
    outcome = run("config", "show")
    assert (outcome.code, len(outcome.lines)) == (2, 1)
    assert "every user may write to these settings; `chmod o-w " in outcome.err


@pytest.mark.parametrize(
    ("text", "options", "keys"),
    [
        ('keep = ["0,0,1,1"]\nmin-size = 0.1\ncrf = 30', [], "keep, min-size"),
        ("threshold = 0.9", ["--threshold", "0.2"], ""),
        ('crf = 30\ncolor = "red"\nquiet = false', [], ""),
        ("threshold = 0.9", ["--quiet"], ""),
    ],
)
def test_a_file_that_changes_what_is_hidden_is_named(here: Path, text: str, options: list[str], keys: str) -> None:
    path = write(here.parent, f"[redact]\n{text}\n[caption]\nlength = 'short'\n")
    outcome = run("redact", GROUP, "-o", "out.png", *options)
    assert outcome.code == 0
    lines = [line for line in outcome.lines if str(path) in line]
    assert lines == ([f"mdtool: {path} changes what is hidden: it sets {keys}"] if keys else [])


def test_what_the_command_line_says_is_traced_to_no_file(here: Path) -> None:
    write(here, '[redact]\ncolor = "red"\n')
    outcome = run("redact", GROUP, "-o", here / "out.png", "--color", "purpel")
    assert outcome.code == 2
    assert settings.CONFIG_FILE not in outcome.err


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MDTOOL_REDACT_STYL", "blur", "sets no option; did you mean MDTOOL_REDACT_STYLE?"),
        ("MDTOOL_NOTHING_OF_OURS", "", "sets no option; `mdtool --help` lists all"),
        ("MDTOOL_REDACT_INPUTS", "a.png", "sets no option"),
        ("MDTOOL_CONFIG_SHOW_JSON", "1", "sets no option"),
        ("MDTOOL_CAPTION_LENGTH", "shrot", "'shrot' is not one of 'short', 'normal', 'long'"),
        ("MDTOOL_REDACT_CRF", "fine", "Input should be a valid integer"),
        ("MDTOOL_QUIET", "perhaps", "Input should be a valid boolean"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    outcome = run("models", "list")
    assert (outcome.code, outcome.out, len(outcome.lines)) == (2, b"", 1)
    assert outcome.err.startswith(f"mdtool: {name}: ")
    assert message in outcome.err


def test_a_variable_that_the_command_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDTOOL_REDACT_COLOR", "purpel")
    outcome = run("redact", GROUP, "-o", "out.png")
    assert outcome.lines[0].endswith("; color is set by MDTOOL_REDACT_COLOR")


def test_the_programs_own_variables_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings.OTHER_VARIABLES:
        monkeypatch.setenv(name, "1")
    assert shown() == {}


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["config", "path"], ["config", "--help"], ["config", "show", "--help"],
     ["redact", "--help"], ["caption", "-h"],
     pytest.param(["bench", "redact", "--help"], marks=pytest.mark.posix("the resource usage that bench reads"))],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("text", ["[redact]\nstile = 1\n", "no toml"], ids=["wrong", "no TOML"])
def test_help_and_path_work_whatever_the_settings_say(
    here: Path, monkeypatch: pytest.MonkeyPatch, text: str, arguments: list[str]
) -> None:
    write(here, text)
    monkeypatch.setenv("MDTOOL_NONSENSE", "1")
    outcome = run(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out


def test_a_file_whose_name_looks_like_a_plea_for_help(here: Path) -> None:
    write(here, "[redact]\nstile = 1\n")
    assert run("redact", "--", "--help").code == 2


# `mdtool config show`


def test_show_has_every_option_of_a_command(here: Path) -> None:
    path = write(here, '[caption]\nlength = "short"\n')
    outcome = run("config", "show", "caption")
    assert (outcome.code, outcome.err) == (0, "")
    rows = [line.split("\t") for line in outcome.out.decode().splitlines()]
    assert ["caption", "length", "short", f"{path}:2"] in rows
    assert ["caption", "model", "auto", "default"] in rows
    assert ["caption", "temperature", "", "default"] in rows
    assert ["caption", "json", "false", "default"] in rows
    options = {row[1] for row in rows}
    assert {"top-p", "max-tokens", "seed", "quiet", "verbose"} < options
    assert {"device", "dtype", "quantize", "compile", "detail", "resize"} < options
    assert not options & {"images", "help"}


def test_show_as_json(here: Path) -> None:
    path = write(here, '[redact]\nstyle = "pixelate"\n')
    rows = shown("redact")
    assert rows["redact", "style"] == {"value": "pixelate", "from": "file", "path": str(path), "line": 2}
    assert rows["redact", "shape"] == {"value": "box", "from": "default"}
    assert rows["redact", "prompt"] == {"value": ["face"], "from": "default"}
    assert rows["redact", "margin"] == {"value": None, "from": "default"}


def test_show_of_a_group_of_commands() -> None:
    assert {command for command, _ in shown("bench")} == {
        "bench redact",
        "bench moderate",
        "bench live",
        "bench batch",
        "bench model",
        "bench dial",
        "bench serve",
    }
    assert {command for command, _ in shown("bench", "redact")} == {"bench redact"}


def test_show_of_all_has_what_was_set(here: Path) -> None:
    outcome = run("config", "show")
    assert (outcome.code, outcome.out, len(outcome.lines)) == (0, b"", 1)
    write(here, "[redact]\nfrom = '0:10'\n[bench.redact]\nruns = 5\n")
    assert {key: row["line"] for key, row in shown().items()} == {
        ("redact", "from"): 2,
        ("bench redact", "runs"): 4,
    }


def test_show_of_a_command_that_is_none() -> None:
    outcome = run("config", "show", "bench", "redcat")
    assert (outcome.code, outcome.lines) == (
        2, ["mdtool: 'bench redcat': no such command has settings; did you mean bench redact?"],
    )  # fmt: skip


def test_show_keeps_to_a_line_an_option(here: Path) -> None:
    write(here, '[redact]\nprompt = ["a\\tb", "c\\nd"]\ncolor = "x\\ty\\u001b[0m"\n')
    lines = run("config", "show").out.decode().splitlines()
    assert [len(line.split("\t")) for line in lines] == [4, 4]
    assert json.loads(lines[0].split("\t")[2]) == ["a\tb", "c\nd"]
    assert "\x1b" not in lines[1]


@pytest.mark.posix("a pseudo-terminal")
def test_show_on_a_terminal_is_a_table(here: Path) -> None:
    write(here, '[redact]\nstyle = "solid"\ncolor = "[red]"\n')
    main, terminal = pty.openpty()
    with os.fdopen(main, "rb", 0) as screen:
        assert spawn("config", "show", stdout=terminal, cwd=here, env={"COLUMNS": "200"}).code == 0
        os.close(terminal)
        text = screen.read(65536).decode()
    assert all(word in text for word in ("command", "option", "value", "from", "solid", "[red]"))
    assert "\t" not in text


# What settings can be given to


def test_no_two_options_share_a_variable_by_accident() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    commands = {words: one for words, one in settings.commands_of(group).items() if words[0] != "config"}
    own, shared = Counter[str](), set()
    for command in commands.values():
        for option in settings.options_of(command).values():
            assert option.envvar
            own[option.envvar[0]] += 1
            shared |= set(option.envvar[1:])
    assert set(own.values()) == {1}
    assert {"MDTOOL_MODEL", "MDTOOL_DEVICE", "MDTOOL_DTYPE"} <= shared
    assert not shared & set(own)
    assert not settings.OTHER_VARIABLES & (shared | set(own))


def test_secrets_and_arguments_are_no_settings() -> None:
    small = typer.Typer()

    @small.command()
    def send(
        target: str,
        password: Annotated[str, typer.Option(hide_input=True)] = "",
        times: Annotated[int, typer.Option("--times", "-t")] = 1,
    ) -> None:
        pass

    @small.command()
    def stop() -> None:
        pass

    group = typer.main.get_command(small)
    assert isinstance(group, TyperGroup)
    commands = settings.commands_of(group)
    settings.enable_environment_variables(commands)
    assert list(settings.options_of(commands["send",])) == ["times"]
    variables = {param.name: param.envvar for param in commands["send",].params}
    assert variables == {"target": None, "password": None, "times": ["MDTOOL_SEND_TIMES"]}


@pytest.mark.parametrize("way", ["file", "environment"])
def test_a_prompt_that_is_typed_overrides_that_of_settings(
    here: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "file":
        write(here, '[point]\nprompt = ["face"]\n')
    else:
        monkeypatch.setenv("MDTOOL_POINT_PROMPT", "face")
    prompts = [run("point", GROUP, *typed, "--json").json[0]["prompt"] for typed in ([], ["nose"])]
    assert prompts == ["face", "nose"]
