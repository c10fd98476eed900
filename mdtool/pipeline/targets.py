"""Choose the output of each input: a file, a streaming address, or stdout."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mdtool.console import Console
from mdtool.errors import InputError, OutputError, UsageError, write_error_message
from mdtool.media.file_types import USUAL_SUFFIXES, VIDEO_SUFFIXES, suits
from mdtool.media.files.atomic_file import remove_leftover
from mdtool.media.sources.address import MUXERS, Address, parse_address
from mdtool.media.sources.inputs import OUTPUT_MARKS, Input
from mdtool.media.sources.open_media import suffix_by_content
from mdtool.media.video.writer import muxer_for

Target = Path | Address | None  # None: stdout


@dataclass(frozen=True)
class Targets:
    """The outputs of one command.

    Attributes:
        output: Value of `--output`; None for files next to their inputs, "-" for stdout.
        mark: Added to the stem of the input's name where there is no `output`, such as ".redacted".
        many: There may be several inputs, so `output` is a folder.
        overwrite: Replace existing files.
        sources: All inputs of the command, none of which is replaced.
        taken: Targets so far -> names of their inputs.

    Raises:
        UsageError: Stdout is a terminal.
    """

    output: str | None
    mark: str
    many: bool
    overwrite: bool = False
    sources: Sequence[Input] = ()
    taken: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.mark in OUTPUT_MARKS  # otherwise outputs would be discovered as inputs
        if self.output == "-" and sys.stdout.isatty():
            raise UsageError("-o -: stdout is a terminal; redirect it, or give a file name")
        if self.output == "-" and self.many:
            raise UsageError("-o -: only one input can go to stdout")

    def for_input(self, source: Input) -> Target:
        """Return the target of one input.

        Raises:
            UsageError: `output` does not suit the input.
        """
        if self.output == "-":
            return None
        if self.output and (address := parse_address(self.output)):
            if self.many or address.scheme not in MUXERS:
                raise UsageError(
                    f"-o {address}: an address takes a single input, and begins with rtsp, rtmp, udp, rtp, tcp or srt"
                )
            return address
        if self.output is None:
            if source.path is None:
                what = "standard input" if source.address is None else "an address"
                raise UsageError(f"{source.name}: is {what}; give -o with a file name, or -o - for stdout")
            if not source.path.name:
                raise InputError("is a folder")
            return _named_by_content(source.path, source, self.mark)
        output = Path(self.output)
        if self._names_outputs:
            if source.path is None and source.address is None:
                raise UsageError(f"-o {self.output}: is a folder; give a file name, as the input is standard input")
            return _named_by_content(output / source.relative, source)
        return output

    @property
    def _names_outputs(self) -> bool:
        """Whether each output is named after its input: `output` is None or a folder."""
        return self.output is None or self.many or self.output.endswith(os.sep) or os.path.isdir(self.output)

    def file_for(self, source: Input) -> Path | None:
        """Return the target for jobs that read their input twice, which can't send to an address.

        Raises:
            UsageError: `output` is an address, or does not suit the input.
        """
        target = self.for_input(source)
        if isinstance(target, Address):
            raise UsageError(f"-o {target}: only `mdtool redact` can send to an address; give a file name")
        return target

    def folder_of(self, sources: Sequence[Input]) -> Path | None:
        """Return a folder for outputs of several inputs; None: there is one output."""
        if not self.many or self.output == "-":
            return None
        if self.output is not None:
            return Path(self.output)
        return next((source.path.parent for source in sources if source.path), None)

    def take(
        self, source: Input, target: Target, console: Console, *, verifies: bool = False, instead: str = "skipped"
    ) -> bool:
        """Reserve a target, and make its folder.

        Args:
            source: The input.
            target: Its target.
            console: Where it is said that an existing target stays as it is.
            verifies: Whether outputs are verified, which one that exists can't be: its masks are not known.
            instead: What becomes of an input whose target exists.

        Returns:
            False where there is nothing to write: the target exists, or the source is an output of an earlier run.

        Raises:
            UsageError: The target is the source itself.
            InputError: The target exists, and outputs are verified.
            OutputError: The target belongs to another input, its folder can't be made, or the latest run has left what
                it could make under another name.
        """
        if not isinstance(target, Path):
            return True
        if self.is_own_output(source):
            return False
        self.reserve(source, target)
        if not self.overwrite and not (source.address and source.address.is_real_time):
            try:
                check_not_left(target, verifies)
            except OutputError as error:
                raise OutputError(f"{target}: {error}") from error
        exists = not self.overwrite and os.path.lexists(target)
        if exists:
            remove_leftover(target)
        suffix = (source.path or source.relative).suffix
        if self._names_outputs and not exists and target.suffix != suffix and target.suffix in USUAL_SUFFIXES:
            console.note(f"{source.name}: has the content of a {target.suffix} file; its output is named {target.name}")
        if self.many and exists:
            if verifies:
                raise InputError(
                    f"{target} already exists and was not verified in this run; use --overwrite or remove it"
                )
            console.note(f"{source.name}: {instead}: {target} already exists")
            return False
        if self.many or (self.output or "").endswith(os.sep):
            _make_folder_of(target)
        return True

    def reserve(self, source: Input, target: Path) -> None:
        """Take a target for an input.

        Raises:
            UsageError: The target is the source itself.
            OutputError: The target is another input, a folder, or the output of another input.
        """
        if source.path and os.path.exists(target) and os.path.exists(source.path) and target.samefile(source.path):
            raise UsageError(f"{source.name}: would overwrite itself; give another output than {target}")
        if os.path.realpath(target) in self._inputs:
            raise OutputError(f"{target}: is an input, and would be the output of {source.name}; give another output")
        if other := self.taken.get(target):
            raise OutputError(
                f"{target}: is the output of {other}, and would be that of {source.name} too; "
                "process them into separate folders"
            )
        if os.path.isdir(target):
            raise OutputError(f"{target}: is a folder, and would be the output of {source.name}")
        self.taken[target] = source.name

    @cached_property
    def _inputs(self) -> frozenset[str]:
        own = (one for one in self.sources if one.path and not self.is_own_output(one))
        return frozenset(os.path.realpath(str(one.path)) for one in own)

    def is_own_output(self, source: Input) -> bool:
        """Return whether the input is an output of an earlier run, in an output folder inside the input folder."""
        if self.output is None or source.path is None or len(source.relative.parts) == 1:
            return False
        path, output = source.path.absolute(), Path(self.output).absolute()
        folder = path.parents[len(source.relative.parts) - 1]
        return path.is_relative_to(output) and folder in output.parents


def _named_by_content(path: Path, source: Input, mark: str = "") -> Path:
    """Return the path of an output: that of the input with the mark.

    Where the ending is not one of the format, that of the format is added; the other stays, so that no two inputs whose
    names differ in their endings share an output.
    """
    usual = suffix_by_content(source)
    if usual is None or suits(path.suffix, usual) or (usual in VIDEO_SUFFIXES and _has_muxer(path)):
        return path.with_name(f"{path.stem}{mark}{path.suffix}")
    return path.with_name(f"{path.name}{mark}{usual}")


def _has_muxer(path: Path) -> bool:
    try:
        muxer_for(path.name)
    except UsageError:
        return False
    return True


def unverified(target: Path) -> Path:
    """Return the name of an output in which a verification has found something: NAME.unverified.EXT."""
    return target.with_name(f"{target.stem}.unverified{target.suffix}")


def incomplete(target: Path) -> Path:
    """Return the name of what could be made of an input that can't be read to its end: NAME.incomplete.EXT."""
    return target.with_name(f"{target.stem}.incomplete{target.suffix}")


def alternatives(target: Path, verifies: bool) -> list[Path]:
    """Return the names that an output may have instead."""
    return [incomplete(target), *([unverified(target)] if verifies else [])]


def check_not_left(target: Path, verifies: bool) -> None:
    """Raise OutputError if the latest run has left its output under another name than the target.

    A finished output may lie beside it: that is of an earlier state of the input.
    """
    for other, fault in zip(
        alternatives(target, verifies), ("a part of it is missing", "something is visible"), strict=False
    ):
        if os.path.lexists(other):
            raise OutputError(f"an earlier run has left {other.name}, in which {fault}; --overwrite replaces it")


def is_many(sources: Sequence[Input], named: Sequence[str]) -> bool:
    """Return whether there may be several inputs: more than one was named, or a folder or a glob."""
    return len(sources) > 1 or list(named) != [sources[0].named or "-"]


def _make_folder_of(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: {write_error_message(error)}") from error
