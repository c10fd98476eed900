"""Side outputs of a batch: sidecar text files, annotated copies, crops, and captions embedded in the image file."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.contract import Box, Point
from mdtool.errors import InputError, OutputError, output_errors_for
from mdtool.exports.annotated_image import copy_path, save_annotated
from mdtool.exports.crops import write_crops
from mdtool.exports.paths import with_timestamp
from mdtool.exports.sidecar import Mode, caption_lines, sidecar_path, write_sidecar
from mdtool.media.sources.inputs import Input
from mdtool.metadata.embed_caption import embed_caption
from recipes.text_labels import Colour

MARKER_FILE = ".filled-by-mdtool"
Answers = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class SideOutputs:
    """The side outputs of a batch. Writing is idempotent: the same answers give identical files.

    Attributes:
        sidecar: How text files next to the images are written; None: not at all.
        draw: Folder for annotated copies.
        crops: Folder for crops of the detected objects.
        embed: Write the caption into the metadata of the image file.
        colours: Colours of labels.
    """

    sidecar: Mode | None = None
    draw: Path | None = None
    crops: Path | None = None
    embed: bool = False
    colours: Mapping[str, Colour] = field(default_factory=dict)

    @property
    def kinds(self) -> list[str]:
        """Names of the kinds that are written, as in records."""
        options = {"sidecar": self.sidecar, "draw": self.draw, "crops": self.crops, "embed": self.embed}
        return [kind for kind, option in options.items() if option]

    def is_made(self, made_outputs: Sequence[str]) -> bool:
        """Whether `made_outputs`, as records name them, include all kinds."""
        return set(self.kinds) <= set(made_outputs)

    @property
    def needs_pixels(self) -> bool:
        """Whether `make` needs the image's pixels."""
        return bool(self.draw or self.crops)

    def open_folders(self, overwrite: bool) -> None:
        """Create the output folders, each with a marker file by which a later run recognises it.

        Raises:
            OutputError: A folder is not empty and has no marker file.
        """
        for folder in (self.draw, self.crops):
            if folder:
                with output_errors_for(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    if not overwrite and not (folder / MARKER_FILE).exists() and any(folder.iterdir()):
                        raise OutputError("not empty; give another folder, or --overwrite to write into it")
                    (folder / MARKER_FILE).touch()

    def output_paths(self, source: Input) -> list[Path]:
        """Return the paths of an input's side outputs.

        Raises:
            InputError: A caption is to be embedded, but the input is not a standalone image file.
        """
        if self.embed and (source.path is None or source.member):
            raise InputError("not a standalone image file, so no caption can be embedded in it")
        sidecars = [sidecar_path(source, None)] if self.sidecar else []
        copies = [copy_path(self.draw / source.relative)] if self.draw else []
        return sidecars + copies + ([self.crops / source.relative] if self.crops else [])

    def make(self, source: Input, pixels: np.ndarray | None, time: float | None, answers: Answers) -> bool:
        """Write the side outputs of an image or a frame.

        Args:
            source: The input.
            pixels: HxWx3 uint8 RGB, if `needs_pixels`.
            time: Seconds, of a frame of a video; None for an image.
            answers: The answers to write.

        Returns:
            Whether the image file itself was changed.

        Raises:
            InputError: The caption can't be embedded.
            OutputError: A file can't be written.
        """
        if self.sidecar:
            write_sidecar(sidecar_path(source, None, time), caption_lines(answers), self.sidecar, source)
        if self.crops and pixels is not None:
            write_crops(pixels, answers, self.crops, source, time=time)
        if self.draw and pixels is not None:
            target = copy_path(self.draw / with_timestamp(str(source.relative), time))
            self._draw(pixels, answers, target, source)
        if self.embed and source.path:
            return embed_caption(source.path, "\n".join(caption_lines(answers)))
        return False

    def _draw(self, pixels: np.ndarray, answers: Answers, target: Path, source: Input) -> None:
        objects: list[Box | Point] = []
        for answer in answers:
            objects += [Box(**fields) for fields in answer.get("objects", ())]
            objects += [Point(**fields) for fields in answer.get("points", ())]
        save_annotated(pixels, objects, target, source=source, overwrite=True, colours=self.colours)


class OutputPathRegistry:
    """Reserves the paths of side outputs, so that no two inputs overwrite each other's."""

    def __init__(self, outputs: SideOutputs) -> None:
        self._outputs = outputs
        self._owners: dict[str, str] = {}  # input names by path

    def reserve(self, source: Input) -> None:
        """Reserve the paths of an input's side outputs.

        Raises:
            InputError: Another input has reserved one, or there is no path for it.
        """
        for path in map(os.fspath, self._outputs.output_paths(source)):
            owner = self._owners.setdefault(path, source.name)
            if owner != source.name:
                raise InputError(f"its side output would go to {path}, like that of {owner}; rename one of the inputs")
