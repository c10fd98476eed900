"""JSON Schemas (draft 2020-12) of the records that are written as JSON Lines.

The page docs/records.md and the files in docs/schemas are generated from them (docs/generate.py).
"""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]


def _value(kind: str | list[str], description: str, **more: Any) -> Schema:
    return {"type": kind, "description": description, **more}


def _list(description: str, items: Schema) -> Schema:
    return _value("array", description, items=items)


def _object(description: str, fields: Mapping[str, Schema], **more: Any) -> Schema:
    """Return the schema of an object with these fields and no others; a name that ends with "?" is optional."""
    return {
        **_value("object", description),
        "properties": {name.removesuffix("?"): field for name, field in fields.items()},
        "required": [name for name in fields if not name.endswith("?")],
        "additionalProperties": False,
        **more,
    }


def _record(title: str, description: str, fields: Mapping[str, Schema], **more: Any) -> Schema:
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return draft | _object(description, fields, **more)


def _schema_name(name: str) -> Schema:
    return {"const": name, "description": "name and version of the schema"}


def _any_of(*names: str) -> list[Schema]:
    """Return what `anyOf` takes for objects that have at least one of these fields."""
    return [{"required": [name]} for name in names]


NUMBER_OR_NULL, TEXT_OR_NULL, INTEGER_OR_NULL = ["number", "null"], ["string", "null"], ["integer", "null"]

SCORE = _value("number", "confidence, 0 to 1; only from models that return one")
BOX = {
    "x_min": _value("number", "left edge"),
    "y_min": _value("number", "top edge"),
    "x_max": _value("number", "right edge"),
    "y_max": _value("number", "bottom edge"),
}
PLACE = {"x": _value("number", "from the left"), "y": _value("number", "from the top")}
METHOD = {"enum": ["model", "head"], "description": '"head": the direction of the head, not of the eyes'}
STREAM = _value("integer", "index of the video stream in the file; 0 for images and animations")
FRAME = _value("integer", "index of the frame in its stream, from 0")
TIME = _value("number", "timestamp in seconds, from the start of the file")
SOURCE = _value("string", "the input, as it was named")
SETTINGS = _value("string", "fingerprint of all settings that affect the results")

SHARD = _record(
    "Ends of shards",
    "The last record of a file that a run with `--shard` has finished; `mdtool merge` reads it.",
    {
        "schema": _schema_name("mdtool.shard/1"),
        "shard": _value("string", "which of how many: 3/16"),
        "inputs": _value("integer", "number of inputs in the shard"),
        "settings": SETTINGS,
    },
)

FINDINGS = _record(
    "Findings",
    "One record per frame or image. Written by `--findings`, and by `detect --jsonl` for videos; read by "
    "`--from-findings`, `render` and `report`. They hold for this file only: another size or number of frames is "
    "refused, and another SHA-256 too unless `--force-findings` is given. Objects may be edited by hand. Without "
    "`sha256` or `size` these are not compared. Coordinates are fractions of the displayed frame, origin top left.",
    {
        "schema": _schema_name("mdtool.findings/1"),
        "source": SOURCE,
        "sha256?": _value("string", "SHA-256 of the file, hexadecimal; absent for streams"),
        "settings?": _value("string", SETTINGS["description"] + "; only in a batch"),
        "stream": STREAM,
        "frame": FRAME,
        "time": TIME,
        "duration": _value("number", "seconds for which the frame is shown; 0 if unknown, and for images"),
        "size": _list("width and height as displayed, in pixels", {"type": "integer"}),
        "model": _value("string", "name of the model"),
        "prompts": _list("the prompts", {"type": "string"}),
        "looked": _value("boolean", "true: a keyframe, which the model analysed; false: tracked from keyframes"),
        "hidden": _value("boolean", "true: the frame could not be judged and must be masked whole"),
        "cut": _value("boolean", "true: a shot begins with this frame, and so do its tracks"),
        "objects": _list(
            "the detections; at most 10,000 are read",
            _object(
                "A detection.",
                {
                    "label": _value("string", "the prompt that it was detected for"),
                    "track": _value("integer", "track id: the same for the same object on all frames"),
                    "score": _value(NUMBER_OR_NULL, "confidence, 0 to 1; null if the model returns none"),
                    "seen": _value("boolean", "true: detected by the model on this frame; false: tracked"),
                    **BOX,
                    "gaze?": _object(
                        "Gaze of a face.",
                        {
                            "method": METHOD,
                            "in_frame": _value(
                                ["boolean", "null"], "whether the target is in the frame; null: unknown"
                            ),
                            "x?": _value("number", "of the gaze target, if it is in the frame"),
                            "y?": _value("number", "of the gaze target, if it is in the frame"),
                        },
                    ),
                },
            ),
        ),
        "replies?": _value(
            "object", "answers to questions about the whole frame, by question", additionalProperties={"type": "string"}
        ),
    },
)

ANSWER = {
    "length?": _value("string", "of `caption`: short, normal or long"),
    "caption?": _value("string", "of `caption`"),
    "question?": _value("string", "of `query`"),
    "at?": _list(
        "of `query --at`: each point `[x, y]` or box `[x_min, y_min, x_max, y_max]`",
        {"type": "array", "items": {"type": "number"}},
    ),
    "answer?": _value("string", "of `query`"),
    "reasoning?": _value("string", "of `query --reasoning`"),
    "grounding?": _list(
        "of `query --reasoning`: the points that passages of the reasoning refer to",
        _object(
            "A passage.",
            {
                "start": _value("integer", "index of its first character"),
                "end": _value("integer", "index after its last character"),
                "points": _list("its points", _object("A point.", PLACE)),
            },
        ),
    ),
    "prompt?": _value("string", "of `detect` and `point`"),
    "objects?": _list(
        "of `detect`",
        _object("A box.", {"label": _value("string", "what it is"), **BOX, "score?": SCORE}),
    ),
    "points?": _list("of `point`", _object("A point.", {"label": _value("string", "what it is"), **PLACE})),
    "complete?": _value("boolean", "of `detect` and `point`; false: a limit ended the list, there may be more"),
    "image_tokens?": _value(
        "integer", "of `caption` and `query`, if it depends on the image: how many tokens it became, tiles included"
    ),
}
ANSWERED = _any_of("caption", "answer", "objects", "points")

ANSWERS = _record(
    "Answers",
    "One record per image and prompt, question or length. Written by `caption`, `query`, `detect` and `point` "
    "with `--json`. Coordinates are fractions of the upright image, origin top left.",
    {
        "schema": _schema_name("mdtool.answers/1"),
        "input": _value("string", "the image, as it was named"),
        "width": _value("integer", "pixels, upright"),
        "height": _value("integer", "pixels, upright"),
        "model": _value("string", "name of the model"),
        **ANSWER,
    },
    anyOf=ANSWERED,
)

BATCH = _record(
    "Batch records",
    "One per image, analysed frame of a video, or video. Written by `caption`, `query`, `detect` and "
    "`point` with `--jsonl`.",
    {
        "schema": _schema_name("mdtool.batch/1"),
        "input": _value("string", "the image or video, as it was named"),
        "time?": _value("number", "timestamp in seconds, from the start of the file; only of a frame of a video"),
        "sha256?": _value("string", "SHA-256 of the file, hexadecimal; empty for videos on the web and for streams"),
        "bytes?": _value(INTEGER_OR_NULL, "size of the file; null if it is none"),
        "modified?": _value(INTEGER_OR_NULL, "modification time in nanoseconds since 1970; null if it is no file"),
        "served?": _value("string", "of a video on the web: its ETag, Last-Modified and Content-Length"),
        "model": _value("string", "name of the model"),
        "revision": _value("string", "revision of the model's weights"),
        "settings": SETTINGS,
        "width?": _value("integer", "pixels, upright"),
        "height?": _value("integer", "pixels, upright"),
        "milliseconds?": _value(
            "number", "from the start of its processing to its last answer; images of a batch overlap"
        ),
        "answers?": _list("the answers; empty for a video itself", _object("An answer.", ANSWER, anyOf=ANSWERED)),
        "made?": _list("side outputs that were written", {"enum": ["sidecar", "draw", "crops", "embed"]}),
        "frames?": _value("integer", "only of a video itself: how many frames were analysed"),
        "live?": _value("boolean", "true: a live source, which can't be processed again"),
        "incomplete?": _value("string", "only of a video: what is wrong with it, so that a part is missing"),
        "error?": _object(
            "Instead of answers, for an input that failed.",
            {
                "code": {
                    "enum": ["input", "slow", "memory", "model", "output", "lost"],
                    "description": "`input`: unreadable; `slow`: over `--timeout`; `memory`: out of memory; "
                    "`model`: the model failed; `output`: a side output could not be written; "
                    "`lost`: with `--ray`, the process that ran it ended",
                },
                "cause": _value("string", "one line"),
            },
        ),
    },
    anyOf=_any_of("answers", "error"),
)

GAZE = _record(
    "Gaze",
    "One record per frame or image, smoothed as it is drawn. Written by `gaze --jsonl`. Coordinates are fractions "
    "of the displayed frame, origin top left.",
    {
        "schema": _schema_name("mdtool.gaze/1"),
        "source": SOURCE,
        "stream": STREAM,
        "frame": FRAME,
        "time": TIME,
        "hidden": _value("boolean", "true: the frame could not be judged"),
        "people": _list(
            "the people on the frame",
            _object(
                "A person.",
                {
                    "track": _value("integer", "track id: the same for the same person on all frames"),
                    "face": _object("Bounding box of the face.", BOX),
                    "eye": _object("Where the gaze starts: the centre of the face.", PLACE),
                    "method": METHOD,
                    "in_frame": _value(["boolean", "null"], "false: looks out of the frame; null: unknown"),
                    "target": {
                        **_object(
                            "Gaze target; null if it is not in the frame. For `head` the end of the line.", PLACE
                        ),
                        "type": ["object", "null"],
                    },
                    "looks_at": {
                        **_object(
                            "Who or what is looked at; null: nobody and nothing named.",
                            {
                                "person?": _value("integer", "track id of a person"),
                                "target?": _value("string", "label of an object named with `--target`"),
                            },
                        ),
                        "type": ["object", "null"],
                    },
                },
            ),
        ),
        "mutual": _list("pairs of track ids that look at each other", {"type": "array", "items": {"type": "integer"}}),
    },
)

RUN = {
    "frames": _value("integer", "frames processed"),
    "looks": _value("integer", "model calls: keyframes that the model analysed"),
    "hidden_frames": _value("integer", "frames that could not be judged"),
    "objects": _value("integer", "tracks"),
    "seconds": _value("number", "wall time"),
    "stages": _value("object", "seconds of work by stage", additionalProperties={"type": "number"}),
    "duration": _value(NUMBER_OR_NULL, "of the video, in seconds; null for images"),
    "speed": _value(NUMBER_OR_NULL, "duration divided by wall time"),
    "incomplete": _value("string", "what is wrong with the input, so that a part is missing; else empty"),
    "notes": _list("what else the user should know", {"type": "string"}),
}

VERIFICATION = _object(
    "With `--verify`: what was found in the output.",
    {
        "verified": _value("boolean", "true: nothing was found; false: the output is named NAME.unverified.EXT"),
        "model": _value("string", "name of the model"),
        "frames": _value("integer", "frames that were verified"),
        "found": _list(
            "what is left visible",
            _object(
                "An object, from its first frame to its last.",
                {
                    "stream": STREAM,
                    "label": _value("string", "what was found"),
                    "start": _value("number", "of its first frame, in seconds"),
                    "end": _value("number", "of the end of its last frame, in seconds"),
                    "frames": _value("integer", "verified frames with it"),
                    "score": _value(NUMBER_OR_NULL, "best confidence, 0 to 1; null from models that return none"),
                    "masked": _value("boolean", "true: it is in a mask, which hides it too weakly"),
                    **BOX,
                },
            ),
        ),
        "failed": _value("string", "why the output could not be verified; else empty"),
    },
)

RUN_REPORT = _record(
    "Run report",
    "One record per input. Written by `redact`, `render` and `gaze` with `--json`.",
    {
        "source": SOURCE,
        "target": _value("string", "the output; empty if none was written"),
        "model": _value("string", "name of the model"),
        **RUN,
        "verification?": VERIFICATION,
        "attention?": _object(
            "Only of `gaze`: who looked at what.",
            {
                "people": _list(
                    "the people",
                    _object(
                        "A person.",
                        {
                            "stream": STREAM,
                            "track": _value("integer", "track id"),
                            "seconds": _value("number", "for which the gaze is known"),
                            "targets": _list(
                                "gaze targets, longest first",
                                _object(
                                    "A gaze target.",
                                    {
                                        "kind": {
                                            "enum": ["person", "target", "elsewhere", "out_of_frame"],
                                            "description": "what it is",
                                        },
                                        "person?": _value("integer", "track id"),
                                        "label?": _value("string", "label of the object"),
                                        "seconds": _value("number", "time spent on it"),
                                        "share": _value(NUMBER_OR_NULL, "of the person's seconds, 0 to 1"),
                                    },
                                ),
                            ),
                        },
                    ),
                ),
            },
        ),
    },
)

PREVIEW = _record(
    "Preview",
    "One record. Written by `redact --preview` with `--json`.",
    {
        "schema": _schema_name("mdtool.preview/1"),
        "target": _value("string", "the picture"),
        "model": _value("string", "name of the model"),
        "seconds": _value("number", "wall time"),
        "frames": _list(
            "the frames that are shown",
            _object(
                "A frame.",
                {
                    "source": SOURCE,
                    "stream": STREAM,
                    "time": _value(NUMBER_OR_NULL, "timestamp in seconds; null for an image"),
                    "masked": _value("integer", "objects that would be masked"),
                    "visible": _value("integer", "detected objects that would be left visible"),
                    "hidden": _value("boolean", "true: the frame could not be judged and would be masked whole"),
                },
            ),
        ),
    },
)

VERDICT = _record(
    "Verdict",
    "One record per input. Written by `moderate --json`.",
    {
        "schema": _schema_name("mdtool.verdict/1"),
        "source": _value(TEXT_OR_NULL, SOURCE["description"]),
        "target": _value(TEXT_OR_NULL, "the output; null if none was written"),
        "model": _value(TEXT_OR_NULL, "name of the model"),
        "hit": _value("boolean", "whether any rule is hit"),
        "frames": _value("integer", "frames judged"),
        "unjudged": _value("integer", "frames that could not be judged"),
        "seconds": _value("number", "from the first frame to the end of the last"),
        "rules": _list(
            "one entry per rule",
            _object(
                "A rule.",
                {
                    "rule": _value("string", "its name"),
                    "action": _value("string", "its action"),
                    "hit": _value("boolean", "whether it is hit"),
                    "spans": _list(
                        "start and end of each span, in seconds", {"type": "array", "items": {"type": "number"}}
                    ),
                    "seconds": _value("number", "total length of the spans"),
                    "frames": _value("integer", "frames that count"),
                    "seen": _value("integer", "of them, keyframes on which the model itself detected it"),
                    "largest_area": _value(
                        NUMBER_OR_NULL, "largest area on a frame, as a fraction; null for questions"
                    ),
                    "example": {
                        **_object("A frame to review; null if the rule is not hit.", {"frame": FRAME, "time": TIME}),
                        "type": ["object", "null"],
                    },
                },
            ),
        ),
        "run": _object("The run report.", RUN),
    },
)


ANY = ["string", "number", "boolean", "array", "object", "null"]

EVALUATION_SAMPLE = _record(
    "Evaluation sample",
    "One record per sample, in samples.jsonl of the folder that `eval TASK --out` writes.",
    {
        "schema": _schema_name("mdtool.evaluation-sample/1"),
        "id": _value("string", "of the sample, unique in its set"),
        "picture": _value("string", "name of the picture"),
        "request": _value("string", "the question, or the prompt"),
        "truth": _value(ANY, "what is true, as the set has it; boxes in pixels, gaze marks in fractions"),
        "answer": _value(ANY, "what the model said"),
        "prediction": _value(ANY, "what was compared with the truth; null if the answer says nothing that could be"),
        "score": _value("number", "0 (wrong) to 1 (right); a distance in fractions of the picture for gazefollow"),
        "unit": _value("string", "the same for samples of one picture, or of one group"),
        "groups": _list("the subsets that it belongs to", _value("string", "name")),
    },
)

EVALUATION = _record(
    "Evaluation",
    "One record per evaluation. Written by `eval TASK --json`, and as summary.json by `eval TASK --out`.",
    {
        "schema": _schema_name("mdtool.evaluation/1"),
        "mdtool": _value("string", "version of mdtool"),
        "task": _value("string", "name of the task"),
        "data": _value("string", "the data set, as it was named"),
        "prompts": {"enum": ["reference", "lmms"], "description": "value of `--prompts`"},
        "wording": _value("string", "where the wording of the questions is from"),
        "limit": _value(INTEGER_OR_NULL, "value of `--limit`"),
        "model": _value("string", "name of the model"),
        "revision": _value("string", "identifies its weights"),
        "settings": SETTINGS,
        "computing": _value("object", "how the model computed: values of the options"),
        "samples": _value("integer", "samples that have an answer"),
        "failed": _value("integer", "samples that have none, and are left out of the figures"),
        "is_distance": _value("boolean", "scores are distances, so that less is better"),
        "figures": _list(
            "the figures, the most important one first",
            _object(
                "A figure.",
                {
                    "name": _value("string", "what it is; the subset that it is of in brackets"),
                    "value": _value(NUMBER_OR_NULL, "mostly 0 to 1; null where there is nothing to compute it from"),
                    "low": _value(NUMBER_OR_NULL, "lower end of its 95 % confidence interval; null: not computed"),
                    "high": _value(NUMBER_OR_NULL, "upper end"),
                    "count": _value("integer", "samples behind it"),
                },
            ),
        ),
        "published": _list(
            "figures that the authors of models have published, which were not measured here",
            _object(
                "A published figure.",
                {
                    "task": _value("string", "name of the task"),
                    "model": _value("string", "name in the catalog"),
                    "figure": _value("string", "what it is called there"),
                    "percent": _value("number", "in percent"),
                    "source": _value("string", "where it was published"),
                },
            ),
        ),
        "asked": _value("integer", "samples that the model was asked in the last run"),
        "pictures": _value("integer", "pictures that they are of"),
        "seconds": _value("number", "wall time of the last run"),
    },
)


# By the name of the file in docs/schemas.
RECORDS: Mapping[str, Schema] = {
    "findings": FINDINGS,
    "answers": ANSWERS,
    "batch": BATCH,
    "shard": SHARD,
    "gaze": GAZE,
    "preview": PREVIEW,
    "verdict": VERDICT,
    "run_report": RUN_REPORT,
    "evaluation": EVALUATION,
    "evaluation_sample": EVALUATION_SAMPLE,
}
