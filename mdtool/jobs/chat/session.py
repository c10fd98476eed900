"""The commands and messages of a conversation, line by line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.contract import EncodedImage, EngineError, Generation
from engine.generation.verbs import VisionModel
from mdtool.console import Console
from mdtool.errors import InputError, MdtoolError, OutputError, StdoutError, output_errors_for
from mdtool.escaping import one_line, several_lines
from mdtool.jobs.chat.cancellation import Cancellation
from mdtool.jobs.chat.conversation import Conversation
from mdtool.jobs.inference.run_and_print import find_images, read_rgb
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.sources.discover import Selection
from mdtool.stdout import write_stdout

NamedImage = tuple[str, EncodedImage]
HELP = """\
/image PATH   show an image with the next message
/save PATH    write the conversation to a Markdown file
/reset        begin anew, with the images of the command line
/quit         end; so does Ctrl-D"""


@dataclass(frozen=True)
class ChatSettings:
    """What a conversation begins with.

    Attributes:
        system: Text of the system message; None: there is none.
        context: Most tokens of a prompt and its answer.
        generation: Sampling options.
    """

    system: str | None
    context: int
    generation: Generation


class Session:
    """A conversation, and the images that wait for the next message.

    Attributes:
        failed: Whether a line could not be served.
    """

    def __init__(
        self, model: VisionModel, settings: ChatSettings, console: Console, cancellation: Cancellation
    ) -> None:
        """Begin a conversation.

        Args:
            model: It can chat.
            settings: What it begins with.
            console: Prints errors and notes.
            cancellation: Polled at each token of an answer.
        """
        self._model, self._settings, self._console = model, settings, console
        self._cancellation = cancellation
        self.failed = False
        self._initial: list[NamedImage] = []
        self._attached: list[NamedImage] = []
        self._begin()

    def _begin(self) -> None:
        settings = self._settings
        self._conversation = Conversation(self._model, settings.system, settings.context, settings.generation)
        self._shown: list[list[str]] = []  # names of the images of each turn
        self._attached = [*self._initial]

    def attach(self, names: Sequence[str]) -> None:
        """Encode the images of the command line, for the first message.

        Raises:
            NoInputFound: There is none.
            InputError: One can't be read.
        """
        self._initial = [image for name in names for image in self._encoded(name)]
        self._attached = [*self._initial]

    def serve(self, line: str) -> bool:
        """Run a command or answer a message; return whether the conversation goes on.

        Args:
            line: As typed, with or without its line feed.
        """
        text = line.strip()
        if not text:
            return True
        if text == "/quit":
            return False
        try:
            if line.startswith("/"):
                self._command(*text.partition(" ")[::2])
            else:
                with self._cancellation.answering():
                    self._answer(text)
        except StdoutError:
            raise
        except (MdtoolError, EngineError, ValueError) as error:
            self.failed = True
            self._console.error(one_line(str(error)))
        return True

    def _command(self, name: str, argument: str) -> None:
        argument = argument.strip()
        if name in ("/image", "/save") and not argument:
            raise InputError(f"{name}: give a path after it")
        if name == "/image":
            self._attached += self._encoded(argument)
        elif name == "/save":
            self._save(Path(argument).expanduser())
        elif name == "/reset":
            self._begin()
            self._console.note("a new conversation")
        elif name == "/help":
            write_stdout(HELP + "\n")
        else:
            raise InputError(f"{name}: no such command; /help lists them, and a message may begin with a space")

    def _encoded(self, name: str) -> list[NamedImage]:
        found: list[NamedImage] = []
        for source in find_images(Selection([name])):
            try:
                pixels = read_rgb(source)
            except MdtoolError as error:
                raise type(error)(f"{source.name}: {error}") from error
            self._console.note(f"{source.name}: {pixels.shape[1]} x {pixels.shape[0]} pixels")
            found.append((source.name, self._model.encode([pixels])[0]))
        return found

    def _answer(self, text: str) -> None:
        dropped = self._conversation.dropped
        parts: list[str | EncodedImage] = [*(image for _, image in self._attached), text]
        answer = self._conversation.ask(parts, _print, self._cancellation.is_cancelled)
        write_stdout("\n")
        self._shown.append([name for name, _ in self._attached])
        self._attached = []
        if answer.finish != "stop":
            reason = "was interrupted" if answer.finish == "cancelled" else "is cut off; --max-tokens allows more"
            self._console.note(f"the answer {reason}")
        if self._conversation.dropped > dropped:
            self._console.note(
                f"the oldest {self._conversation.dropped} of {len(self._shown)} turns are no longer in the context of "
                f"{self._settings.context} tokens; --context is its size"
            )

    def _save(self, target: Path) -> None:
        lines = [f"# A conversation with {self._model.name}"]
        if self._settings.system is not None:
            lines += ["## System", self._settings.system]
        for turn, images in zip(self._conversation.transcript, self._shown, strict=True):
            question, answer = (
                "".join(part for part in message.parts if isinstance(part, str))
                for message in (turn.question, turn.answer)
            )
            lines += ["## User", *(f"![]({name})" for name in images), question, "## Assistant", answer.strip()]
        if target.exists():
            raise OutputError(f"{target}: exists already; give another path")
        with output_errors_for(target), AtomicFile(target, overwrite=False) as atomic:
            atomic.part.write_text("\n\n".join(lines) + "\n", "utf-8", errors="surrogateescape")
            atomic.commit()
        self._console.note(f"{target}: {len(self._shown)} turns")


def _print(text: str) -> None:
    write_stdout(several_lines(text))
