"""Where outputs go."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mdtool.console import Console
from mdtool.errors import OutputError, UsageError, write_error_message
from mdtool.media.sources.address import MUXERS, Address, parse_address
from mdtool.media.sources.inputs import OUTPUT_MARKS, Input

Target = Path | Address | None  # None: stdout


@dataclass(frozen=True)
class Targets:
    """output None: beside their inputs, with the mark in their names; "-": stdout. many: output is a folder."""

    output: str | None
    mark: str
    many: bool
    overwrite: bool = False
    taken: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        assert self.mark in OUTPUT_MARKS  # else outputs would be taken for inputs
        if self.output == "-" and sys.stdout.isatty():
            raise UsageError("-o -: stdout is a terminal; pipe it on, or give the name of a file")

    def for_input(self, source: Input) -> Target:
        if self.output == "-":
            if self.many:
                raise UsageError("-o -: only one input can go to stdout")
            return None
        if self.output and (address := parse_address(self.output)):
            if self.many or address.scheme not in MUXERS:
                raise UsageError(f"-o {address}: takes one input, and is rtsp, rtmp, udp, rtp, tcp or srt")
            return address
        if self.output is None:
            if source.path is None:
                what = "standard input" if source.address is None else "it"
                raise UsageError(f"{source.name}: say with -o where the result of {what} goes (-o - for stdout)")
            return source.path.with_name(f"{source.path.stem}{self.mark}{source.path.suffix}")
        output = Path(self.output)
        if self.many or self.output.endswith(os.sep) or os.path.isdir(output):
            target = output / source.relative
            if source.path is None and source.address is None:
                raise UsageError(f"-o {self.output}: is a folder; give a file name for the result of standard input")
            return target
        return output

    def file_for(self, source: Input) -> Path | None:
        """As `for_input`, for jobs that read their input twice, so that nothing can be sent on while it comes."""
        target = self.for_input(source)
        if isinstance(target, Address):
            raise UsageError(f"-o {target}: only `mdtool redact` sends on what it makes; give a file name")
        return target

    def take(self, source: Input, target: Target, console: Console) -> bool:
        """Whether the target is to be written; then its folder is there. False: it was, by a run before."""
        if not isinstance(target, Path):
            return True
        if self.is_own_output(source):
            return False
        if source.path and os.path.exists(target) and os.path.exists(source.path) and target.samefile(source.path):
            raise UsageError(f"{source.name}: would be written over itself; give another output than {target}")
        if target in self.taken:
            raise OutputError(f"{target}: is already the output of another input; give each a folder of its own")
        self.taken.add(target)
        if self.many:
            if not self.overwrite and os.path.lexists(target):
                console.note(f"{source.name}: passed over, for {target} exists already")
                return False
            _make_folder_of(target)
        return True

    def is_own_output(self, source: Input) -> bool:
        """Whether the input is an output of a run before, in an output folder that lies in the input folder."""
        if self.output is None or source.path is None or len(source.relative.parts) == 1:
            return False
        path, output = source.path.absolute(), Path(self.output).absolute()
        folder = path.parents[len(source.relative.parts) - 1]
        return path.is_relative_to(output) and folder in output.parents


def is_many(sources: Sequence[Input], named: Sequence[str]) -> bool:
    """Whether more than one file was named, or a folder or a glob, in which there may be one or several."""
    return len(sources) > 1 or list(named) != [sources[0].named or "-"]


def _make_folder_of(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: {write_error_message(error)}") from error
