"""Which objects of recorded findings are used: some tracks, labels or prompts of them.

Tracks are numbered in each video stream of each source, so a selection of tracks holds for one source.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.contract import normalize_prompt
from mdtool.errors import UsageError
from mdtool.pipeline.findings_file import is_of_source, records
from mdtool.records.findings import Record
from recipes.regions import Region

MAX_NAMED_TRACKS = 12  # in a message


@dataclass(frozen=True)
class Track:
    """A track as a person names it.

    Attributes:
        number: The track number.
        stream: Index of its video stream; None for the only stream that has such a track.
    """

    number: int
    stream: int | None = None

    def __str__(self) -> str:
        return str(self.number) if self.stream is None else f"{self.stream}:{self.number}"

    def names(self, stream: int, number: int) -> bool:
        """Return whether this is the track of that number in that stream."""
        return number == self.number and self.stream in (None, stream)


def parse_track(text: str) -> Track:
    """Parse a track: its number, or STREAM:NUMBER.

    Raises:
        ValueError: It is neither.
    """
    numbers = re.fullmatch(r"(?:(\d{1,9}):)?(\d{1,9})", text)
    if not numbers:
        raise ValueError(f"{text!r} is not a track; give its number, such as 3, or STREAM:NUMBER, such as 0:3")
    return Track(int(numbers[2]), None if numbers[1] is None else int(numbers[1]))


@dataclass
class FindingsContents:
    """What a file of findings has of some sources.

    Attributes:
        sources: Names of the sources, in order.
        labels: Labels as they are written, by normalised label.
        prompts: Normalised prompts by source: those that all its records have.
        found: Normalised labels by source.
        tracks: Label by stream and track number.
        models: Names of the models that made the findings; "" where one is not recorded.
    """

    sources: dict[str, None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    prompts: dict[str, set[str]] = field(default_factory=dict)
    found: dict[str, set[str]] = field(default_factory=dict)
    tracks: dict[tuple[int, int], str] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)

    def add(self, record: Record) -> None:
        """Add a record."""
        self.sources.setdefault(record.source)
        self.models.add(record.model)
        asked = set(map(normalize_prompt, record.prompts))
        self.prompts[record.source] = self.prompts.get(record.source, asked) & asked
        found = self.found.setdefault(record.source, set())
        for region in record.findings.regions:
            label = normalize_prompt(region.label)
            found.add(label)
            self.labels.setdefault(label, region.label)
            self.tracks.setdefault((record.info.stream, region.track), region.label)


def contents_of(findings: Path, sources: Sequence[str] | None = None, by_name: bool = False) -> FindingsContents:
    """Return what a file of findings has.

    Args:
        findings: The file.
        sources: Names of the sources to consider; None for all.
        by_name: Compare file names only, whatever their folders; where none matches, the only source is considered.

    Raises:
        InputError: It can't be read, or has no findings.
    """
    contents, others, names = FindingsContents(), FindingsContents(), set(sources or ())
    for record in records(findings):
        if by_name:
            is_considered = any(is_of_source(record, name, by_name) for name in names)
        else:
            is_considered = sources is None or record.source in names
        if is_considered:
            contents.add(record)
        elif by_name:
            others.add(record)
    is_renamed = not contents.sources and len(others.sources) == 1
    return others if is_renamed else contents


@dataclass(frozen=True)
class TrackSelection:
    """The objects of recorded findings that are used; without any criterion all are.

    Attributes:
        drop: Tracks that are left out.
        keep: If there are any, all other tracks are left out.
        labels: If there are any, objects with another label are left out.
        prompts: If there are any, objects with the label of another recorded prompt are left out.
    """

    drop: tuple[Track, ...] = ()
    keep: tuple[Track, ...] = ()
    labels: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.drop or self.keep or self.labels or self.prompts)

    @property
    def settings(self) -> tuple[tuple[str, ...], ...] | None:
        """The selection as a value of a RESUME fingerprint; None without any criterion."""
        parts = (self.drop, self.keep, sorted(map(normalize_prompt, self.labels)), self.prompts)
        return tuple(tuple(map(str, part)) for part in parts) if self else None

    def check(self, findings: Path, sources: Sequence[str], by_name: bool) -> str:
        """Check that the findings have what is named; a misspelled label would leave objects visible.

        Args:
            findings: The file; it is read once more.
            sources: Names of the inputs.
            by_name: Compare file names only, whatever their folders.

        Returns:
            A line that says which tracks are left out; "" if none is, or the findings are of other sources.

        Raises:
            UsageError: A track, label or prompt is not in the findings, or it can't be told which track is meant.
            InputError: The findings can't be read.
        """
        if (self.drop or self.keep) and len(sources) > 1:
            option = "--drop-track" if self.drop else "--keep-track"
            raise UsageError(f"{option}: tracks are numbered in each input; give one input at a time")
        contents = contents_of(findings, sources, by_name)
        if not contents.sources:
            return ""
        dropped = {self._find("--drop-track", track, contents) for track in self.drop}
        kept = {self._find("--keep-track", track, contents) for track in self.keep}
        if both := dropped & kept:
            raise UsageError(f"--drop-track {min(both)[1]}: is also given with --keep-track; leave one out")
        self._check_labels(contents)
        self._check_prompts(contents)
        prompts = set().union(*contents.prompts.values())
        left_out = [track for track, label in contents.tracks.items() if not self._includes(track, label, prompts)]
        if not left_out or len(contents.sources) > 1:
            return ""
        verb = "is" if len(left_out) == 1 else "are"
        return f"{len(left_out)} of {len(contents.tracks)} tracks {verb} left out: {_named(left_out, contents)}"

    def apply(self, recorded: Iterable[Record]) -> Iterator[Record]:
        """Yield the records with the selected objects only; whole-frame masks stay."""
        for record in recorded:
            yield replace(record, findings=replace(record.findings, regions=self.included(record)))

    def left_out(self, recorded: Iterable[Record]) -> Iterator[Record]:
        """Yield the records with those objects only that `apply` leaves out."""
        for record in recorded:
            included = set(map(id, self.included(record)))
            others = [region for region in record.findings.regions if id(region) not in included]
            yield replace(record, findings=replace(record.findings, regions=others))

    def included(self, record: Record) -> list[Region]:
        """Return the objects of a record that are used."""
        prompts = set(map(normalize_prompt, record.prompts))
        return [
            region
            for region in record.findings.regions
            if self._includes((record.info.stream, region.track), region.label, prompts)
        ]

    def _includes(self, track: tuple[int, int], label: str, prompts: set[str]) -> bool:
        """Return whether an object is used. One with a label that is no recorded prompt may belong to any of them."""
        if any(each.names(*track) for each in self.drop):
            return False
        if self.keep and not any(each.names(*track) for each in self.keep):
            return False
        name = normalize_prompt(label)
        by_label = not self.labels or name in map(normalize_prompt, self.labels)
        return by_label and (not self.prompts or name in map(normalize_prompt, self.prompts) or name not in prompts)

    def _find(self, option: str, track: Track, contents: FindingsContents) -> tuple[int, int]:
        found = [each for each in contents.tracks if track.names(*each)]
        if len(found) == 1:
            return found[0]
        if found:
            exact = " or ".join(f"{stream}:{number}" for stream, number in sorted(found))
            raise UsageError(f"{option} {track}: several video streams have a track {track}; give {exact}")
        existing = _named(list(contents.tracks), contents) or "no tracks"
        raise UsageError(f"{option} {track}: there is no such track; the findings have {existing}")

    def _check_labels(self, contents: FindingsContents) -> None:
        for label in self.labels:
            if normalize_prompt(label) not in contents.labels:
                existing = ", ".join(sorted(contents.labels.values())) or "no labels"
                raise UsageError(f"--label {label}: nothing has this label; the findings have {existing}")

    def _check_prompts(self, contents: FindingsContents) -> None:
        for source in contents.sources if self.prompts else ():
            known = contents.prompts[source] | contents.found[source]
            for prompt in self.prompts:
                if normalize_prompt(prompt) not in known:
                    raise UsageError(
                        f"--prompt {prompt}: the findings of {source} are of {', '.join(sorted(known)) or 'nothing'}; "
                        "detect again with this prompt, or leave it out"
                    )


def _named(tracks: Sequence[tuple[int, int]], contents: FindingsContents) -> str:
    """List tracks with their labels, with the stream where there are several."""
    streams = len({stream for stream, _ in contents.tracks}) > 1
    texts = [
        f"{Track(number, stream if streams else None)} ({contents.tracks[stream, number]})"
        for stream, number in sorted(tracks)
    ]
    more = f" and {len(texts) - MAX_NAMED_TRACKS} more" if len(texts) > MAX_NAMED_TRACKS else ""
    return ", ".join(texts[:MAX_NAMED_TRACKS]) + more
