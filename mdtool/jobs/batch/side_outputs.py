"""What is made of each picture beside its record: a text, a copy with boxes, crops, a caption in its own file."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.contract import Box, Point
from mdtool.errors import InputError, OutputError, output_errors_for
from mdtool.exports.annotated_image import save_annotated
from mdtool.exports.crops import write_crops
from mdtool.exports.paths import with_timestamp
from mdtool.exports.sidecar import Mode, caption_lines, sidecar_path, write_sidecar
from mdtool.media.image.save_image import FORMATS
from mdtool.media.sources.inputs import Input
from mdtool.metadata.embed_caption import embed_caption
from recipes.text_labels import Colour

MARKER_FILE = ".filled-by-mdtool"
Answers = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class SideOutputs:
    """sidecar: how a text beside the picture is written; None: not. draw, crops: folders; embed: a caption in the
    picture's own file. colours: of labels.

    Made again of the same answers all of it is the same, so that a run that was killed may do so.
    """

    sidecar: Mode | None = None
    draw: Path | None = None
    crops: Path | None = None
    embed: bool = False
    colours: Mapping[str, Colour] = field(default_factory=dict)

    @property
    def kinds(self) -> list[str]:
        """What is made, as records name it."""
        wanted = {"sidecar": self.sidecar, "draw": self.draw, "crops": self.crops, "embed": self.embed}
        return [kind for kind, how in wanted.items() if how]

    def is_made(self, made_outputs: Sequence[str]) -> bool:
        """Whether nothing is lacking where `made_outputs` was, as records name it."""
        return set(self.kinds) <= set(made_outputs)

    @property
    def needs_pixels(self) -> bool:
        return bool(self.draw or self.crops)

    def open_folders(self, overwrite: bool) -> None:
        """Makes the folders that are to be filled, with a mark in them by which they are known again.

        OutputError if one is there, has something in it, and no mark.
        """
        for folder in (self.draw, self.crops):
            if folder:
                with output_errors_for(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    if not overwrite and not (folder / MARKER_FILE).exists() and any(folder.iterdir()):
                        raise OutputError("is not empty; give another name, or --overwrite")
                    (folder / MARKER_FILE).touch()

    def output_paths(self, source: Input) -> list[Path]:
        """Where what is made of an input goes. InputError if there is no place for it."""
        if self.embed and (source.path is None or source.member):
            raise InputError("has no file of its own that a caption could be written into")
        places = [sidecar_path(source, None)] if self.sidecar else []
        return places + [folder / source.relative for folder in (self.draw, self.crops) if folder]

    def make(self, source: Input, pixels: np.ndarray | None, time: float | None, answers: Answers) -> bool:
        """Whether the picture's own file was changed. InputError and OutputError where it can't be made.

        pixels: HxWx3 uint8 RGB, needed as `needs_pixels` says. time: seconds, of a frame of a video.
        """
        if self.sidecar:
            write_sidecar(sidecar_path(source, None, time), caption_lines(answers), self.sidecar)
        if self.crops and pixels is not None:
            write_crops(pixels, answers, self.crops, source.relative, time=time)
        if self.draw and pixels is not None:
            self._draw(pixels, answers, self.draw / with_timestamp(str(source.relative), time))
        if self.embed and source.path:
            return embed_caption(source.path, "\n".join(caption_lines(answers)))
        return False

    def _draw(self, pixels: np.ndarray, answers: Answers, target: Path) -> None:
        found: list[Box | Point] = []
        for answer in answers:
            found += [Box(**one) for one in answer.get("objects", ())]
            found += [Point(**one) for one in answer.get("points", ())]
        if target.suffix.lower() not in FORMATS:
            target = target.with_name(target.name + ".jpg")
        save_annotated(pixels, found, target, overwrite=True, colours=self.colours)


class OutputPathRegistry:
    """Which input has which places, so that no two inputs are written over each other."""

    def __init__(self, outputs: SideOutputs) -> None:
        self._outputs = outputs
        self._claimed: dict[str, str] = {}

    def reserve(self, source: Input) -> None:
        """Its places are no other input's from now on. InputError if one is taken already, or if there is none."""
        for place in map(os.fspath, self._outputs.output_paths(source)):
            other = self._claimed.setdefault(place, source.name)
            if other != source.name:
                raise InputError(f"what is made of it would go to {place}, as for {other}; rename one")
