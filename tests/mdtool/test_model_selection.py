"""Which model answers a prompt, and what is said where none does."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runner import redact, run
from make_media import SAMPLES

from engine.catalog.published import Source, published
from mdtool.errors import ExitCode, UsageError
from mdtool.model_selection import ComputeConfig, LoadCallbacks, ModelNotFound, load_gaze_model, load_model

GOLDEN = Path(__file__).parents[1] / "golden" / "moondream2"


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was pulled: nothing."""
    folder = tmp_path_factory.mktemp("hub")
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    return folder


def put_into(hub: Path, name: str) -> None:
    """Something that looks pulled, under a published name; its weights are those of the small golden model."""
    source = published()[name].source
    assert isinstance(source, Source)
    for repo, revision, files in (
        (source.repo, source.revision, ("model.safetensors", "config.json")),
        (source.tokenizer.repo, source.tokenizer.revision, ("tokenizer.json",)),
    ):
        snapshot = hub / f"models--{repo.replace('/', '--')}" / "snapshots" / revision
        snapshot.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(GOLDEN / file, snapshot)


@pytest.mark.parametrize("model", ["auto", "centerface"])
@pytest.mark.parametrize("prompts", [["face"], ["人脸"], [" FACE "], ["face", "人脸"]])
def test_faces_are_what_the_embedded_model_finds(model: str, prompts: list[str]) -> None:
    chosen = load_model(model, "detect", prompts)
    assert chosen.name == "centerface"
    assert chosen.detect(chosen.encode([np.zeros((90, 160, 3), np.uint8)]), prompts[0]) == [[]]


def test_a_prompt_that_nothing_serves_tells_how_to_mend_it() -> None:
    with pytest.raises(
        ModelNotFound,
        match=r"'dog'.*centerface, for faces.*synthetic scenes.*mdtool models pull moondream2.*mdtool models list",
    ) as caught:
        load_model("auto", "detect", ["dog"])
    assert caught.value.code == ExitCode.MODEL
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("skill", "prompts"),
    [("caption", ["normal"]), ("query", ["why?"]), ("detect", ["dog"]), ("point", ["face", "dog"])],
)
def test_what_was_pulled_serves_what_the_embedded_one_does_not(hub: Path, skill: str, prompts: list[str]) -> None:
    """Its weights do not fit its name, so that it can't be loaded: it is the one that was chosen all the same."""
    put_into(hub, "moondream3-preview")
    with pytest.raises(ModelNotFound, match=r"^(?!no model).*moondream3-preview"):
        load_model("auto", skill, prompts)
    put_into(hub, "moondream2")
    with pytest.raises(ModelNotFound, match=r"^(?!no model).*moondream2\b"):
        load_model("auto", skill, prompts)


def test_faces_stay_with_the_embedded_one(hub: Path) -> None:
    put_into(hub, "moondream2")
    said: list[str] = []
    assert load_model("auto", "detect", ["face"], callbacks=LoadCallbacks(selected=said.append)).name == "centerface"
    assert said == ["model: centerface"]


@pytest.mark.parametrize(
    ("skill", "prompts"),
    [
        ("caption", ["short"]),
        ("query", ["why?"]),
        ("detect", ["red circle", "The blue STARS"]),
        ("point", ["红色的圆形"]),
    ],
)
def test_drawn_things_are_for_pocket_when_it_is_named(skill: str, prompts: list[str]) -> None:
    said: list[str] = []
    assert (
        load_model("pocket", skill, prompts, callbacks=LoadCallbacks(selected=said.append, note=said.append)).name
        == "pocket"
    )
    assert said == []
    with pytest.raises(
        ModelNotFound, match=r"no model on this machine can .*--model pocket.*mdtool models pull moondream2"
    ):
        load_model("auto", skill, prompts)


@pytest.mark.parametrize("prompts", [["face", "red circle"], ["sign"], ["red sign"], ["red circle", "dog"]])
@pytest.mark.parametrize("skill", ["detect", "point"])
def test_what_photographs_show_is_never_left_to_pocket(skill: str, prompts: list[str]) -> None:
    """It would find no face in a photograph, and redacting would leave it bare."""
    with pytest.raises(ModelNotFound, match="no model on this machine can"):
        load_model("auto", skill, prompts)


def test_pocket_by_name_knows_its_faces_and_signs_and_nothing_else() -> None:
    assert load_model("pocket", "detect", ["face", "signs", "yellow sign"]).name == "pocket"
    with pytest.raises(UsageError, match=r"pocket can't detect 'dog'; it supports face, ring, "):
        load_model("pocket", "detect", ["face", "dog"])


def test_nothing_is_said_of_a_model_that_was_named() -> None:
    said: list[str] = []
    load_model("centerface", "detect", ["face"], callbacks=LoadCallbacks(selected=said.append))
    assert said == []


def test_a_folder_of_weights() -> None:
    chosen = load_model(str(GOLDEN), "detect", ["any words at all"], ComputeConfig("cpu", "float32", detail="low"))
    assert chosen.name == "moondream2"


@pytest.mark.parametrize(("skill", "prompt"), [("caption", "normal"), ("query", "why?"), ("gaze", "eye")])
def test_a_skill_that_a_model_lacks(skill: str, prompt: str) -> None:
    with pytest.raises(UsageError, match=f"centerface can't {skill}"):
        load_model("centerface", skill, [prompt])


def test_a_length_that_a_model_lacks() -> None:
    with pytest.raises(UsageError, match="can't caption 'endless'; it supports long, normal, short"):
        load_model(str(GOLDEN), "caption", ["endless"], ComputeConfig("cpu"))


def test_all_prompts_must_be_served() -> None:
    with pytest.raises(ModelNotFound, match=r"can detect 'dog' \("):  # and 'face' is not among what is lacking
        load_model("auto", "detect", ["face", "dog"])


def test_a_model_that_does_not_know_the_prompt() -> None:
    with pytest.raises(UsageError, match="dog") as caught:
        load_model("centerface", "detect", ["face", "dog"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "hint"), [("centreface", "did you mean 'centerface'"), ("x", "known models: ")])
def test_a_model_that_does_not_exist(name: str, hint: str) -> None:
    with pytest.raises(ModelNotFound, match=hint):
        load_model(name, "detect", ["face"])


@pytest.mark.parametrize("threshold", [-0.1, 1.01, float("nan"), float("inf")])
def test_a_threshold_that_cant_be(threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold must be from"):
        load_model("auto", "detect", ["face"], threshold=threshold)


@pytest.mark.parametrize(
    ("computing", "said"),
    [
        (ComputeConfig(adapter="lora.safetensors"), "leave --adapter out"),
        (ComputeConfig(quantize="int8"), "leave --quantize out"),
        (ComputeConfig(dtype="float16"), "--dtype can't be 'float16'"),
        (ComputeConfig(device="cuda"), "--device must be auto or cpu"),
    ],
)
@pytest.mark.parametrize("model", ["auto", "centerface"])
def test_options_are_named_as_on_the_command_line(model: str, computing: ComputeConfig, said: str) -> None:
    with pytest.raises(UsageError, match=f"centerface .*{said}"):
        load_model(model, "detect", ["face"], computing)


@pytest.mark.parametrize("detail", ["huge", "", "-64", "0", "7", "1000000", "64.5"])
def test_a_detail_that_cant_be(detail: str) -> None:
    with pytest.raises(UsageError, match="detail"):
        load_model("auto", "detect", ["face"], ComputeConfig(detail=detail))


@pytest.mark.parametrize("detail", ["low", "auto", "high", "320"])
def test_a_detail_that_can_be(detail: str) -> None:
    assert load_model("auto", "detect", ["face"], ComputeConfig(detail=detail), threshold=0.5).name == "centerface"


@pytest.mark.parametrize("model", ["auto", "centerface"])
def test_heads_are_for_the_embedded_model_when_nothing_was_pulled(model: str) -> None:
    said: list[str] = []
    assert load_gaze_model(model, ["face"], callbacks=LoadCallbacks(selected=said.append)).name == "centerface"
    (line,) = said
    assert line.startswith("centerface estimates the direction of the head")
    assert "`mdtool models pull moondream2`" in line


@pytest.mark.parametrize(("prompts", "accurate"), [(["face"], False), (["face", "cup"], False), (["face"], True)])
def test_eyes_are_for_what_was_pulled(hub: Path, prompts: list[str], accurate: bool) -> None:
    """Its weights do not fit its name: it is the one that was chosen all the same."""
    put_into(hub, "moondream2")
    with pytest.raises(ModelNotFound, match=r"^(?!no model).*moondream2\b"):
        load_gaze_model("auto", prompts, accurate=accurate)


@pytest.mark.parametrize(
    ("prompts", "accurate", "told"),
    [(["face", "red circle"], False, "gaze and detect 'red circle' "), (["face"], True, "gaze accurately ")],
)
def test_eyes_that_nothing_knows(prompts: list[str], accurate: bool, told: str) -> None:
    with pytest.raises(ModelNotFound, match=rf"{told}.*mdtool models pull moondream2") as caught:
        load_gaze_model("auto", prompts, accurate=accurate)
    assert "\n" not in str(caught.value)


def test_drawn_eyes_are_for_pocket_when_it_is_named() -> None:
    said: list[str] = []
    assert (
        load_gaze_model(
            "pocket", ["face", "red circle"], accurate=True, callbacks=LoadCallbacks(selected=said.append)
        ).name
        == "pocket"
    )
    assert said == []
    with pytest.raises(UsageError, match="can't detect 'dog'"):
        load_gaze_model("pocket", ["face", "dog"])


def test_heads_can_not_be_accurate() -> None:
    with pytest.raises(UsageError, match="centerface can't gaze"):
        load_gaze_model("centerface", ["face"], accurate=True)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["-p", "dog"], 4), (["--model", "moondream9"], 4), (["--model", "centerface", "-p", "dog"], 2),
        (["--threshold", "2"], 2), (["--detail", "huge"], 2), (["-p", ""], 2), (["--device", "cuda:99"], 2),
        (["--dtype", "bfloat16"], 2), (["--resize", "magic"], 2), (["--model", GOLDEN, "--threshold", "0.5"], 2),
    ],
)  # fmt: skip
def test_through_the_program(tmp_path: Path, options: list[str | Path], code: int) -> None:
    outcome = redact(SAMPLES / "group.png", "-o", tmp_path / "out.png", *options)
    assert outcome.code == code
    assert len(outcome.lines) == 1
    assert outcome.lines[0].startswith("mdtool: ")
    assert list(tmp_path.iterdir()) == []


def test_a_prompt_in_another_language(tmp_path: Path) -> None:
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    assert redact(SAMPLES / "group.png", "-o", one).code == 0
    assert redact(SAMPLES / "group.png", "-o", other, "-p", "人脸").code == 0
    assert one.read_bytes() == other.read_bytes()


def test_the_list_of_models() -> None:
    outcome = run("models", "list")
    assert outcome.code == 0
    assert any(line.startswith("centerface\t") for line in outcome.out.decode().splitlines())


def test_the_list_of_models_loads_none() -> None:
    code = "import sys; from mdtool.cli import run; run(['models', 'list']); sys.exit('cv2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


QUESTION = "Is it day?"


def test_one_model_must_both_find_and_answer(hub: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"can answer questions \(embedded: "):
        load_model("auto", "detect", ["face"], questions=[QUESTION])
    with pytest.raises(UsageError, match="centerface can't query"):
        load_model("centerface", "detect", ["face"], questions=[QUESTION])
    put_into(hub, "moondream2")
    with pytest.raises(ModelNotFound, match=r"^(?!no model).*moondream2\b"):
        load_model("auto", "detect", ["face"], questions=[QUESTION])


def test_questions_are_not_left_to_the_model_of_drawn_scenes_unless_it_is_named() -> None:
    with pytest.raises(ModelNotFound, match=r"can answer questions \(embedded: "):
        load_model("auto", "detect", [], questions=[QUESTION])
    with pytest.raises(ModelNotFound, match=r"can detect 'red circle' and answer questions \(embedded: "):
        load_model("auto", "detect", ["red circle"], questions=[QUESTION])
    assert load_model("pocket", "detect", ["red circle"], questions=[QUESTION]).name == "pocket"
    assert load_model("pocket", "detect", [], questions=[QUESTION]).name == "pocket"


SCENE, CLIP = SAMPLES / "scenes" / "one.png", SAMPLES / "shapes.mp4"
UNSERVED: dict[str, list[str | Path]] = {
    "caption": ["caption", SCENE],
    "caption of many": ["caption", SAMPLES / "scenes", "--jsonl", "out.jsonl", "--sidecar", "txt"],
    "query": ["query", SCENE, "How many circles are there?"],
    "query of many": ["query", SCENE, "How many circles are there?", "--jsonl", "out/"],
    "detect": ["detect", SCENE, "red circle", "--draw", "out.png"],
    "detect in a video": ["detect", CLIP, "red circle", "--jsonl", "out.jsonl", "--format", "csv"],
    "point": ["point", SCENE, "red circle", "--json"],
    "moderate": ["moderate", CLIP, "-p", "red circle", "-o", "out.mp4", "--findings", "out.jsonl", "--json"],
    "redact": ["redact", CLIP, "--prompt", "red circle", "-o", "out.mp4", "--findings", "out.jsonl", "--json"],
    "gaze": ["gaze", SCENE, "-t", "star", "-o", "out.png", "--json"],
    "eval redact": ["eval", "redact", CLIP, "-p", "red circle"],
    "eval sampling": ["eval", "sampling", CLIP, "-p", "red circle"],
}


@pytest.mark.parametrize("command", UNSERVED.values(), ids=UNSERVED)
def test_without_a_model_no_command_answers_and_one_line_says_how_to_get_one(
    command: list[str | Path], tmp_path: Path
) -> None:
    outcome = run(*command, cwd=tmp_path)
    assert (outcome.code, outcome.out, len(outcome.lines)) == (ExitCode.MODEL, b"", 1), outcome.err
    assert outcome.err.startswith("mdtool: no model on this machine can ")
    assert "`mdtool models pull moondream2`" in outcome.err
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir()]


@pytest.mark.parametrize("where", ["command line", "file", "environment"])
def test_pocket_answers_wherever_it_is_named(where: str, tmp_path: Path) -> None:
    """In a file it is named for all commands."""
    if where == "file":
        (tmp_path / "mdtool.toml").write_text('[defaults]\nmodel = "pocket"\n')
    options = ["--model", "pocket"] if where == "command line" else []
    env = {"MDTOOL_MODEL": "pocket"} if where == "environment" else {}
    outcome = run("caption", SCENE, "--length", "short", *options, cwd=tmp_path, env=env)
    assert (outcome.code, outcome.out, outcome.err) == (0, b"A purple star.\n", "")
