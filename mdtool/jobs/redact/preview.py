"""The preview of `mdtool redact`: one picture of frames spread over the inputs, with what would be masked."""

import io
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from engine.contract import ModelUnavailable
from mdtool.console import Console
from mdtool.errors import ExitCode, InputError, OutputError, UsageError, library_faults, output_errors_for
from mdtool.interruption import raise_if_interrupted
from mdtool.jobs.each_input import error_message
from mdtool.jobs.recorded_findings import content_check
from mdtool.jobs.redact.effect import Redaction
from mdtool.jobs.redact.preview_cell import Cell, Example, make_cell
from mdtool.media.file_types import IMAGE_SUFFIXES, sniff_file
from mdtool.media.files.pipe import PipeWriter
from mdtool.media.image.animation import Animation
from mdtool.media.image.image_file import StillImage
from mdtool.media.image.pillow import pillow
from mdtool.media.image.save_image import FORMATS, QUALITY, save_image
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import is_live, open_media, spooled
from mdtool.media.video.frame import Frame
from mdtool.media.video.frame_grabber import grab_frames
from mdtool.media.video.reader import VideoReader
from mdtool.media.video.spread_frames import spread_frames
from mdtool.pipeline.annotate import AnalysisRequest, model_call
from mdtool.pipeline.findings_file import records_of
from mdtool.pipeline.media_frames import media_frames
from mdtool.pipeline.run import ModelInference
from mdtool.pipeline.stages import Stopwatch
from mdtool.pipeline.targets import Targets
from mdtool.pipeline.track_selection import TrackSelection
from mdtool.records.findings import FrameFindings, Record
from recipes.contact_sheet import columns_of, contact_sheet

JPEG_SUFFIXES = (".jpg", ".jpeg")
MAX_CELLS = 9
SHEET_SIDE = 1920  # pixels of a row of cells


@dataclass(frozen=True)
class PreviewJob:
    """Settings that the inputs of one command share.

    Attributes:
        findings_source: The model inference, or a file of findings.
        selection: Which objects of recorded findings are masked.
        force_findings: Use findings of other content too.
    """

    redaction: Redaction
    findings_source: ModelInference | Path
    targets: Targets
    console: Console
    selection: TrackSelection = TrackSelection()
    force_findings: bool = False

    def run(self, sources: Sequence[Input]) -> ExitCode:
        """Write the preview of the inputs, and return the exit code.

        Raises:
            OutputError: The picture exists, or can't be written.
            UsageError: The picture would replace an input.
        """
        begin = time.perf_counter()
        target = preview_path(sources, self.targets)
        _check_target(target, sources, self.targets.overwrite)
        chosen = spread(sources, MAX_CELLS)
        if len(chosen) < len(sources):
            self.console.note(f"{len(chosen)} of {len(sources)} inputs are shown")
        code, cells = ExitCode.OK, list[Cell]()
        for number, source in enumerate(chosen):
            share = MAX_CELLS // len(chosen) + (number < MAX_CELLS % len(chosen))
            try:
                with library_faults():
                    made = [make_cell(each, self.redaction, SHEET_SIDE) for each in self._examples(source, share)]
                if not made:
                    raise InputError("has no frame to show; the time range or the findings are of others")
                cells += made
            except (UsageError, ModelUnavailable):  # which end all inputs
                raise
            except Exception as error:
                raise_if_interrupted()
                self.console.error(f"{source.name}: {error_message(error)}")
                code = ExitCode.SOME_FAILED
        if cells:
            side = SHEET_SIDE / columns_of(len(cells))
            images = [(cell.image(side), cell.caption(len(sources) > 1)) for cell in cells]
            _write(contact_sheet(images), target, self.targets.overwrite, chosen)
            self._report(target, cells, time.perf_counter() - begin)
        return code

    def _examples(self, source: Input, count: int) -> Iterator[Example]:
        if is_live(source):
            raise InputError("is a live source; --preview takes files")
        if source.failed:
            raise InputError(source.failed)
        with ExitStack() as stack:
            local = spooled(source, stack)
            if isinstance(self.findings_source, Path):
                yield from self._recorded(local, self.findings_source, count)
                return
            inference = self.findings_source
            call = model_call(inference.detect, inference.request, Stopwatch())
            media = open_media(local, stack)
            for frame in _frames(media, count, inference.request, stack):
                raise_if_interrupted()
                [found] = [None] if frame.corrupt else call([frame])
                findings = FrameFindings(hidden=True) if found is None else FrameFindings([*found.regions])
                at = None if isinstance(media, StillImage) else frame.time
                stream = frame.stream if isinstance(media, VideoReader) and len(media.videos) > 1 else None
                yield Example(source.name, stream, at, frame.rgb(), frame.display_size, findings)

    def _recorded(self, source: Input, findings: Path, count: int) -> Iterator[Example]:
        """Yield examples with recorded findings: of each part of the time the frame with the most objects."""
        check = content_check(source, self.console, self.force_findings)
        read = partial(records_of, findings, source.name, not self.targets.many, check)
        infos = [record.info for record in read()]
        times, is_one_stream = [info.time for info in infos], len({info.stream for info in infos}) == 1
        start, length = min(times), max(times) - min(times)
        best: dict[int, Record] = {}
        for record in read():
            part = min(count - 1, int((record.info.time - start) / length * count)) if length else 0
            if part not in best or len(record.findings.regions) > len(best[part].findings.regions):
                best[part] = record
        chosen = {(record.info.stream, record.info.frame): record for record in best.values()}
        for info, image in grab_frames(source, [record.info for record in chosen.values()]):
            record = chosen[info.stream, info.frame]
            included = self.selection.included(record)
            kept = set(map(id, included))
            left_out = [region for region in record.findings.regions if id(region) not in kept]
            at = None if len(times) == 1 else info.time
            size = info.size if all(info.size) else (image.shape[1], image.shape[0])
            masked = replace(record.findings, regions=included)
            stream = None if is_one_stream else info.stream
            yield Example(source.name, stream, at, image, size, masked, left_out)

    def _report(self, target: Path | None, cells: Sequence[Cell], seconds: float) -> None:
        source = self.findings_source
        model = "findings" if isinstance(source, Path) else source.model
        masked, visible = sum(len(cell.masked) for cell in cells), sum(len(cell.visible) for cell in cells)
        counts = f"{len(cells)} frame{'s' * (len(cells) != 1)} by {model}, {masked} object{'s' * (masked != 1)} masked"
        left = f", {visible} left visible" if visible else ""
        record = {
            "schema": "mdtool.preview/1",
            "target": "-" if target is None else str(target),
            "model": model,
            "seconds": round(seconds, 3),
            "frames": [cell.as_dict() for cell in cells],
        }
        self.console.summary([f"{target or 'stdout'}: {counts}{left}, {seconds:.1f} s"], record)


def preview_path(sources: Sequence[Input], targets: Targets) -> Path | None:
    """Return the picture of a preview: beside the output, or an image that --output names; None for stdout.

    Raises:
        UsageError: --output does not suit the input.
    """
    output = targets.output
    if output == "-":
        return None
    path = sources[0].path
    of_image = not targets.many and path is not None and (path.suffix.lower() in IMAGE_SUFFIXES or sniff_file(path))
    named = JPEG_SUFFIXES if of_image else FORMATS  # an image in another format is the output
    if output and Path(output).suffix.lower() in named and not os.path.isdir(output):
        return Path(output)
    if not targets.many:
        target = targets.for_input(sources[0])
        if not isinstance(target, Path):
            raise UsageError(f"-o {target}: a preview is written to a file; give a file name")
        stem = target.stem if output else target.stem.removesuffix(targets.mark)
        return target.with_name(f"{stem}.preview.jpg")
    if output:
        folder = Path(os.path.normpath(output))
        return folder.with_name(f"{folder.name}.preview.jpg") if folder.name else folder / "preview.jpg"
    parents = [os.path.abspath(source.path.parent) for source in sources if source.path]
    common = Path(os.path.relpath(os.path.commonpath(parents)))
    return common / f"{common.resolve().name}.preview.jpg"


def spread(sources: Sequence[Input], count: int) -> list[Input]:
    """Return at most `count` of the inputs, evenly spread."""
    if len(sources) <= count:
        return list(sources)
    return [sources[int((number + 0.5) * len(sources) / count)] for number in range(count)]


def _frames(
    media: VideoReader | Animation | StillImage, count: int, request: AnalysisRequest, stack: ExitStack
) -> Iterator[Frame]:
    if isinstance(media, StillImage):
        yield from media_frames(media, stack)
    elif isinstance(media, VideoReader):
        for number, video in enumerate(media.videos):
            share = count // len(media.videos) + (number < count % len(media.videos))
            yield from spread_frames(media, video.index, share, start=request.start, end=request.end)
    else:
        start, end = request.start or 0.0, request.end
        inside = [
            frame.index
            for frame in media_frames(media, stack)
            if frame.time >= start and (end is None or frame.time < end)
        ]
        chosen = {inside[int((number + 0.5) * len(inside) / count)] for number in range(count)} if inside else set()
        yield from (frame for frame in media_frames(media, stack) if frame.index in chosen)


def _check_target(target: Path | None, sources: Sequence[Input], overwrite: bool) -> None:
    if target is None or not os.path.lexists(target):
        return
    if any(source.path and os.path.exists(source.path) and target.samefile(source.path) for source in sources):
        raise UsageError(f"-o {target}: the preview would replace an input; give another name")
    if not overwrite:
        raise OutputError(f"{target}: exists already; --overwrite replaces it")


def _write(pixels: np.ndarray, target: Path | None, overwrite: bool, sources: Sequence[Input]) -> None:
    if target:
        save_image(pixels, target, overwrite, sources)
        return
    data = io.BytesIO()
    pillow().fromarray(pixels).save(data, "JPEG", quality=QUALITY)
    with output_errors_for("stdout"):
        pipe = PipeWriter(sys.stdout.buffer)
        pipe.write(data.getvalue())
        pipe.check()
