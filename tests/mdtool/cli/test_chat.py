"""`mdtool chat`: line by line through a pipe, and on a terminal."""

import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from answering_qwen import write_answering
from cli_runner import COMMAND, SECONDS, reset_signal_handlers, run
from golden_qwen import FOLDER

if sys.platform != "win32":
    import fcntl
    import pty
    import termios

A, B = FOLDER / "image_a.png", FOLDER / "image_b.png"
ANSWER = "我看到三只猫。"


@pytest.fixture(scope="module")
def cats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_answering(tmp_path_factory.mktemp("cats"), ["我看到", "三只", "猫。"])


def test_each_line_is_answered_and_the_rest_is_on_stderr(cats: Path) -> None:
    outcome = run("chat", A, "--model", cats, stdin="这是什么?\n\n几只?\n".encode())
    assert outcome.code == 0
    assert outcome.out.decode() == f"{ANSWER}\n{ANSWER}\n"
    assert outcome.lines[1:] == [f"mdtool: {A}: 96 x 64 pixels"]


def test_quiet_prints_answers_alone(cats: Path) -> None:
    outcome = run("chat", A, "--model", cats, "-q", stdin=b"what?")
    assert (outcome.out.decode(), outcome.err) == (f"{ANSWER}\n", "")


def test_commands(cats: Path, tmp_path: Path) -> None:
    lines = [f"/image {B}", "what?", "/save talk.md", "/reset", "and?", "/save after.md", "/help", "/quit", "never"]
    outcome = run("chat", A, "--model", cats, "--system", "Be short.", stdin="\n".join(lines).encode(), cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    assert outcome.out.decode().startswith(f"{ANSWER}\n{ANSWER}\n/image PATH")
    talk = (tmp_path / "talk.md").read_text()
    assert talk == (
        f"# A conversation with {cats.name}\n\n## System\n\nBe short.\n\n## User\n\n![]({A})\n\n![]({B})\n\nwhat?\n\n"
        f"## Assistant\n\n{ANSWER}\n"
    )
    after = (tmp_path / "after.md").read_text()
    assert "what?" not in after
    assert f"![]({A})" in after
    assert str(B) not in after


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/image missing.png", "missing.png"),
        ("/image", "/image: give a path after it"),
        ("/save", "/save: give a path after it"),
        ("/save there.md", "there.md: exists already; give another path"),
        ("/save no/there.md", "no/there.md: can't be written"),
        ("/dance", "/dance: no such command; /help lists them"),
        ("dog " * 400, "tokens, and --context leaves room for"),
    ],
)
def test_a_line_that_can_not_be_served_is_told_and_the_next_is_answered(
    line: str, message: str, cats: Path, tmp_path: Path
) -> None:
    (tmp_path / "there.md").write_text("mine")
    outcome = run("chat", "--model", cats, "--context", "200", stdin=f"{line}\nwhat?\n".encode(), cwd=tmp_path)
    assert outcome.code == 1
    assert len(outcome.lines) == 2
    assert message in outcome.err
    assert outcome.out.decode() == f"{ANSWER}\n"
    assert (tmp_path / "there.md").read_text() == "mine"


def test_bytes_that_are_no_text_are_refused(cats: Path) -> None:
    outcome = run("chat", "--model", cats, stdin=b"\xff\xfe\nwhat?\n")
    assert outcome.code == 1
    assert "not valid Unicode" in outcome.err
    assert outcome.out.decode() == f"{ANSWER}\n"


def test_turns_that_leave_the_context_are_told(cats: Path) -> None:
    outcome = run("chat", "--model", cats, "--context", "80", "--max-tokens", "9", stdin=b"the dog jumps\n" * 6)
    assert outcome.code == 0
    assert outcome.out.decode() == f"{ANSWER}\n" * 6
    assert "turns are no longer in the context of 80 tokens" in outcome.err


def test_an_image_that_is_not_there(cats: Path) -> None:
    outcome = run("chat", "missing.png", "--model", cats, stdin=b"what?\n")
    assert outcome.code != 0
    assert len(outcome.lines) == 2
    assert "missing.png" in outcome.err


@pytest.mark.parametrize("model", [(), ("--model", "centerface"), ("--model", "pocket")])
def test_a_model_that_can_chat_is_needed(model: tuple[str, ...], tmp_path: Path) -> None:
    outcome = run("chat", *model, stdin=b"what?\n", env={"HF_HOME": str(tmp_path)})
    assert outcome.code == (2 if model else 4)
    assert len(outcome.lines) == 1
    assert "chat" in outcome.err


PROMPT = "\n> "  # on a line of its own: readline repeats it where it draws a line again


class Terminal:
    """The program on a pseudo terminal that controls it."""

    def __init__(self, *arguments: str | Path) -> None:
        self._leader, follower = pty.openpty()

        def take_terminal() -> None:
            reset_signal_handlers()
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)], stdin=follower, stdout=follower, stderr=follower,
            preexec_fn=take_terminal, env={**os.environ, "TERM": "dumb"},
        )  # fmt: skip
        os.close(follower)
        self.shown, self._data = "", b""

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def wait_for(self, text: str, count: int = 1) -> None:
        end = time.monotonic() + SECONDS
        while self.shown.count(text) < count:
            assert select.select([self._leader], [], [], max(0, end - time.monotonic()))[0], self.shown
            self._data += os.read(self._leader, 4096)
            self.shown = self._data.decode("utf-8", "replace")

    def end(self) -> int:
        return self.process.wait(SECONDS)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._leader)


@pytest.mark.posix("pseudo terminals")
def test_a_conversation_on_a_terminal(cats: Path) -> None:
    with Terminal("chat", A, "--model", cats) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("几只猫?\n")
        terminal.wait_for(ANSWER)
        terminal.wait_for(PROMPT, 2)
        terminal.type("/nonsense\n")
        terminal.wait_for("no such command")
        terminal.wait_for(PROMPT, 3)
        terminal.type("dropped")
        terminal.wait_for("dropped")
        time.sleep(0.2)  # in which it waits for a key again: a signal before that is seen with the next one
        terminal.type("\x03")  # Ctrl-C discards the line
        terminal.wait_for(PROMPT, 4)
        terminal.type("again\n")
        terminal.wait_for(ANSWER, 2)
        terminal.wait_for(PROMPT, 5)
        terminal.type("\x04")
        assert terminal.end() == 0
        assert "Traceback" not in terminal.shown


@pytest.mark.posix("pseudo terminals")
def test_ctrl_c_ends_an_answer_and_the_conversation_goes_on(endless_model: Path) -> None:
    with Terminal("chat", A, "--model", endless_model, "--max-tokens", "1000000", "--context", "2000000") as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("tell me more\n")
        terminal.wait_for("and on ")
        terminal.type("\x03")
        terminal.wait_for("the answer was interrupted")
        terminal.wait_for(PROMPT, 2)
        terminal.type("/quit\n")
        assert terminal.end() == 0
        assert "Traceback" not in terminal.shown


@pytest.mark.posix("pseudo terminals")
def test_ctrl_c_ends_a_command_and_the_conversation_goes_on(cats: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, Terminal("chat", "--model", cats) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type(f"/image http://127.0.0.1:{silent.getsockname()[1]}/a.png\n")
        silent.settimeout(SECONDS)
        with silent.accept()[0]:
            terminal.type("\x03")
            terminal.wait_for(PROMPT, 2)
        terminal.type("what?\n")
        terminal.wait_for(ANSWER)
        terminal.wait_for(PROMPT, 3)
        terminal.type("/quit\n")
        assert terminal.end() == 0
        assert "Traceback" not in terminal.shown
