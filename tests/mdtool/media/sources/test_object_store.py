"""Objects in an S3 store, which moto serves on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runner import run
from make_images import encode_image, smooth
from make_media import make_video

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    s3fs = pytest.importorskip("s3fs")
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        files = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
        files.mkdir("photos")
        for name in ("a.png", "sub/b c.png", ".hidden.png", "notes.txt"):
            files.pipe(f"photos/in/{name}", encode_image(smooth(), "png"))
        files.pipe("photos/in/broken.jpg", b"no photo")
        video = tmp_path_factory.mktemp("video") / "v.mp4"
        make_video(video, 12, size=(64, 48))
        files.put(str(video), "photos/clips/v.mp4")
        yield
    server.stop()


def inputs(path: Path) -> list[str]:
    return [json.loads(line)["input"] for line in path.read_text().splitlines()]


@pytest.mark.usefixtures("store")
def test_a_prefix_is_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    caption = ("caption", "s3://photos/in", "--model", "pocket", "--jsonl", out)
    done = run(*caption)
    assert done.code == 1
    assert sorted(inputs(out)) == ["s3://photos/in/a.png", "s3://photos/in/broken.jpg", "s3://photos/in/sub/b c.png"]
    assert "0 processed, 1 failed, 2 already done" in run(*caption).err
    shards = [run(*caption[:-1], tmp_path / f"{index}.jsonl", "--shard", f"{index}/2").code for index in (1, 2)]
    assert sorted(shards) in ([0, 1], [1, 1])
    assert run("merge", tmp_path / "all.jsonl", tmp_path / "1.jsonl", tmp_path / "2.jsonl").code == 1
    assert sorted(inputs(tmp_path / "all.jsonl")) == sorted(inputs(out))


@pytest.mark.usefixtures("store")
def test_a_video_and_an_image_are_read(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    caption = ("caption", "s3://photos/clips/v.mp4", "s3://photos/in/a.png", "--model", "pocket", "--sample", "4")
    assert run(*caption, "--jsonl", out).code == 0
    assert inputs(out).count("s3://photos/clips/v.mp4") == 4
    assert "0 processed, 2 already done" in run(*caption, "--jsonl", out).err
    redacted = tmp_path / "redacted"
    done = run("redact", "s3://photos/clips/", "-o", redacted, "--preset", "ultrafast")
    assert done.code == 0, done.err
    assert (redacted / "v.mp4").stat().st_size


@pytest.mark.usefixtures("store")
def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    done = run("caption", "s3://photos/in/none.png", "--model", "pocket", "--jsonl", tmp_path / "a.jsonl")
    assert done.code == 1
    assert "s3://photos/in/none.png: can't be read: there is no such object" in done.err
    assert run("caption", "s3://photos/empty/", "--model", "pocket", "--jsonl", tmp_path / "b.jsonl").code == 3
    done = run("caption", "gs://photos/a.png", "--model", "pocket", "--jsonl", tmp_path / "c.jsonl")
    assert "gs:// needs: pip install gcsfs" in done.err
