"""Evaluates a redaction against a ground truth: how much of the objects it leaves visible, and what else it masks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from engine.generation.verbs import VisionModel
from mdtool.errors import InputError
from mdtool.jobs.evals.exposure import Exposure, ExposureMeter
from mdtool.jobs.evals.ground_truth.clips import Clip
from mdtool.jobs.evals.ground_truth.mot import FRAMES_FOLDER, frame_rate
from mdtool.jobs.evals.ground_truth.truth import GroundTruth, TrueFrame
from mdtool.jobs.redact.effect import Redaction
from mdtool.media.canvas import rgba_canvas
from mdtool.media.file_types import sniff_file
from mdtool.media.image.image_file import read_image
from mdtool.media.video.reader import VideoReader, explain
from mdtool.pipeline.annotate import AnalysisRequest, annotate
from mdtool.pipeline.image import annotate_image
from mdtool.pipeline.run import ModelInference
from mdtool.pipeline.stages import Stopwatch
from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.tracking.detector import ImageFindings, object_detector
from mdtool.tracking.keyframe_sampler import AnnotatedFrame

TIME_TOLERANCE = 0.02  # seconds


def evaluate_redaction(clip: Clip, model: VisionModel, *, request: AnalysisRequest, redaction: Redaction) -> Exposure:
    """Redact a clip, without writing the output, and compare the mask with the boxes of the ground truth.

    Args:
        clip: A video, a still image or a sequence of images, and its ground truth.
        model: Detects the objects.
        request: What to detect, and on which frames. A box whose label is not one of its prompts is not to be hidden.
        redaction: How detections are masked.

    Raises:
        InputError: The ground truth can't be read, is of another clip, or has labels of which none is a prompt.
    """
    truth = clip.read_truth().of_prompts(request.prompts)
    meter, clock = ExposureMeter(clip.name), Stopwatch()
    detect = object_detector(model, request.prompts, request.threshold)

    def counted(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        meter.exposure.model_calls += len(images)
        return detect(images)

    inference = ModelInference(request, counted, model.name)
    frames = clock.each("annotate", _annotated(clip.media, inference, clock))
    for number, (info, findings, duration) in enumerate(frames):
        masked = _mask(info, findings, redaction)
        meter.add(masked, _true_frame(truth, number, info), info.time, duration, analysed=findings.analysed)
    exposure = meter.finish()
    exposure.seconds = clock.seconds["annotate"]
    if exposure.frames < len(truth.frames):
        raise InputError(f"has {exposure.frames} frames, {truth.path} has {len(truth.frames)}")
    if not exposure.object_frames and any(not one.ignored for frame in truth.frames for one in frame.objects):
        raise InputError(f"none of the boxes of {truth.path} is within the picture; they may be of another resolution")
    return exposure


def _true_frame(truth: GroundTruth, number: int, info: FrameInfo) -> TrueFrame:
    if truth.size and truth.size != info.size:  # a scale between the two would be a guess
        shown, stated = ("x".join(map(str, size)) for size in (info.size, truth.size))
        where = f" on frame {number}" if number else ""
        raise InputError(f"is of {shown} pixels{where}, and the boxes of {truth.path} are of {stated}")
    if number >= len(truth.frames):
        if truth.complete:
            raise InputError(f"has more frames than {truth.path}")
        return TrueFrame()
    frame = truth.frames[number]
    if frame.time is not None and abs(frame.time - info.time) > TIME_TOLERANCE:
        raise InputError(f"frame {number} has another timestamp than in {truth.path}")
    return frame


def _mask(info: FrameInfo, findings: FrameFindings, redaction: Redaction) -> np.ndarray:
    """Return which pixels of the displayed frame are masked, (height, width) bool."""
    width, height = info.size
    canvas = np.zeros((height, width, 4), np.uint8)
    redaction.paint(rgba_canvas(canvas), info, findings)
    return np.asarray(canvas[:, :, 3] > 0)


Annotated = tuple[FrameInfo, FrameFindings, float]  # and for how long the frame is shown, in seconds


def _annotated(media: Path, inference: ModelInference, clock: Stopwatch) -> Iterator[Annotated]:
    """Yield the frames of a clip with what was detected on them."""
    try:
        if media.is_dir():
            yield from _annotated_video(_open_sequence(media), inference, clock)
            return
    except OSError as error:
        raise InputError(explain(error)) from error
    if sniff_file(media) in (None, "gif"):
        yield from _annotated_video(media, inference, clock)
    else:
        yield *annotate_image(read_image(media), inference, clock), 0.0


def _annotated_video(source: Path | InputContainer, inference: ModelInference, clock: Stopwatch) -> Iterator[Annotated]:
    with VideoReader(source) as reader:
        for annotated in annotate(reader, inference.detect, inference.request, reader.rate, clock=clock):
            if isinstance(annotated, AnnotatedFrame) and annotated.frame.stream == reader.videos[0].index:
                yield annotated.info, annotated.findings, 1 / reader.rate(annotated.frame.stream)


def _open_sequence(folder: Path) -> InputContainer:
    """Open the numbered images of a MOT sequence as a video."""
    images = folder / FRAMES_FOLDER
    first = next((path for path in sorted(images.glob("*")) if path.stem.isdigit()), None)
    if first is None:
        raise InputError(f"has no numbered images in {FRAMES_FOLDER}, such as {FRAMES_FOLDER}/000001.jpg")
    pattern = str(images).replace("%", "%%") + f"/%0{len(first.stem)}d{first.suffix}"
    options = {
        "framerate": str(frame_rate(folder)),
        "start_number": first.stem.lstrip("0") or "0",
        "protocol_whitelist": "file",
    }
    try:
        return av.open(f"file:{pattern}", "r", format="image2", options=options)
    except (av.FFmpegError, OSError) as error:
        raise InputError(explain(error)) from error
