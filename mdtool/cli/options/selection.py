"""Options that select objects of recorded findings."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mdtool.pipeline.track_selection import TrackSelection


@dataclass(frozen=True)
class SelectionOptions:
    """Which objects of recorded findings are used."""

    drop_track: Annotated[
        list[str],
        typer.Option(
            help="Of recorded findings, leave out this track, which then stays visible: its number, or STREAM:NUMBER. "
            "Repeatable.",
            metavar="TRACK",
        ),
    ] = field(default_factory=list)
    keep_track: Annotated[
        list[str],
        typer.Option(
            help="Of recorded findings, use only this track and leave out all others. Repeatable.", metavar="TRACK"
        ),
    ] = field(default_factory=list)
    label: Annotated[
        list[str],
        typer.Option(help="Of recorded findings, use only objects with this label. Repeatable.", metavar="TEXT"),
    ] = field(default_factory=list)

    def selection(self, recorded: object, prompts: list[str]) -> "TrackSelection":
        """Return the selection.

        Args:
            recorded: The findings, if they are recorded ones.
            prompts: Prompts that were given to select recorded findings by.

        Raises:
            UsageError: One of the options can't be parsed, or there are no recorded findings.
        """
        from mdtool.cli.values import parsed
        from mdtool.errors import UsageError
        from mdtool.pipeline.track_selection import TrackSelection, parse_track

        for option, values in vars(self).items():
            if values and not recorded:
                name = f"--{option.replace('_', '-')}"
                raise UsageError(f"{name}: selects among recorded findings; give them with --from-findings")
        return TrackSelection(
            tuple(parsed("--drop-track", parse_track, text) for text in self.drop_track),
            tuple(parsed("--keep-track", parse_track, text) for text in self.keep_track),
            tuple(self.label),
            tuple(prompts),
        )
