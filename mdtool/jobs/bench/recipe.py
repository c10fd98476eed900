"""Times a recipe as a whole process, against a plain transcode and, for redact, deface if it is installed."""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from mdtool.errors import MdtoolError


@dataclass
class CommandTiming:
    """Runs of one command.

    Attributes:
        wall: Wall-clock seconds of each run.
        cpu: CPU seconds of each run, on all cores.
        memory: Peak memory of the largest process of each run, in MB.
    """

    name: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the runs for JSON."""
        return {"name": self.name, "wall_s": self.wall, "cpu_s": self.cpu, "peak_mb": self.memory}


def bench_recipe(
    recipe: str, clip: Path, options: Sequence[str], *, runs: int, frames: int | None
) -> list[CommandTiming]:
    """Run the commands in turn, `runs` times.

    Args:
        recipe: The command of mdtool.
        clip: The video file that is processed.
        options: Further options of the command.
        runs: Number of repetitions.
        frames: Loop the clip to this many frames first; None: the clip unchanged.

    Raises:
        MdtoolError: A command failed.
    """
    with tempfile.TemporaryDirectory(prefix="mdtool-bench-") as folder:
        source = clip
        if frames:
            source = Path(folder, f"longer{clip.suffix}")
            loop_clip(clip, source, frames)
        commands = _commands(recipe, source, Path(folder), options)
        timings = {name: CommandTiming(name) for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                _run(command, timings[name])
                for output in Path(folder).glob("out*"):
                    output.unlink()
    return list(timings.values())


def _commands(recipe: str, source: Path, folder: Path, options: Sequence[str]) -> dict[str, list[str]]:
    target = folder / f"out{source.suffix}"
    commands = {
        f"mdtool {recipe}": [sys.executable, "-m", "mdtool", recipe, str(source), "-o", str(target), "-q", *options],
        "plain transcode": _transcode(source, target),
    }
    deface = shutil.which("deface", path=os.path.dirname(sys.executable))
    if deface and recipe == "redact":
        commands["deface"] = [deface, str(source), "-o", str(target)]
    return commands


def _transcode(source: Path, target: Path) -> list[str]:
    """Return an ffmpeg command with redact's default settings; without an installed ffmpeg, that of imageio-ffmpeg."""
    program = shutil.which("ffmpeg")
    if program is None:
        from imageio_ffmpeg import get_ffmpeg_exe

        program = get_ffmpeg_exe()
    settings = ["-c:v", "libx264", "-preset", "medium", "-crf", "18", "-c:a", "copy"]
    return [program, "-v", "error", "-y", "-i", str(source), *settings, str(target)]


def _run(command: list[str], timing: CommandTiming) -> None:
    if sys.platform == "win32":  # where the command `bench` refuses to run
        raise NotImplementedError
    since = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise MdtoolError(f"{timing.name} failed with exit code {process.returncode}: {' '.join(command)}")
    timing.wall.append(round(time.perf_counter() - since, 3))
    timing.cpu.append(round(usage.ru_utime + usage.ru_stime, 3))
    timing.memory.append(round(usage.ru_maxrss / 1024, 1))


def loop_clip(clip: Path, target: Path, frames: int) -> None:
    """Write the clip's first video stream in a loop until it has `frames` frames, as a stream copy."""
    written = 0
    offset = 0
    with av.open(str(target), "w") as out:
        while written < frames:
            with av.open(str(clip)) as source:
                stream = source.streams.video[0]
                if not out.streams:
                    copy = out.add_stream_from_template(stream, opaque=True)
                    step = max(1, round(1 / (stream.average_rate or 30) / (stream.time_base or Fraction(1, 90000))))
                end = offset
                for packet in source.demux(stream):
                    if packet.dts is None or packet.pts is None or written >= frames:
                        continue
                    end = max(end, packet.pts + offset + step)
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, copy
                    out.mux(packet)
                    written += 1
                offset = end


def machine() -> dict[str, str | int]:
    """Return the machine and software of a measurement."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "python": platform.python_version(),
        "av": av.__version__,
    }


def table(timings: list[CommandTiming]) -> Iterator[str]:
    """Yield medians, and ratios to the first command, as lines of a Markdown table."""
    yield "| command | wall time | CPU time | peak memory | wall time relative to mdtool |"
    yield "|---|---|---|---|---|"
    own = statistics.median(timings[0].wall)
    for timing in timings:
        wall, cpu, memory = (statistics.median(values) for values in (timing.wall, timing.cpu, timing.memory))
        yield f"| {timing.name} | {wall:.1f} s | {cpu:.1f} s | {memory:.0f} MB | {wall / own:.2f}x |"
