"""Fixtures and hooks for all tests."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything reads them, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENCV_FOR_THREADS_NUM"] = "1"  # as many as there are cores work on tests
os.environ["OMP_WAIT_POLICY"] = "passive"  # threads that spin while they wait would keep others from their cores
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
os.environ["XDG_CONFIG_HOME"] = str(Path(__file__).parent / "no-settings")  # the person's own don't count
for name in [name for name in os.environ if name.startswith("MDTOOL_")]:
    del os.environ[name]

# How long an example takes says more of what else the machine is doing than of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3-VL whose answers end only where something ends them."""
    from answering_qwen import write_answering

    return write_answering(tmp_path_factory.mktemp("endless"), ["and ", "on "], endless=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs CUDA")
    for marker in item.iter_markers("posix"):
        [reason] = marker.args
        if sys.platform == "win32":
            pytest.skip(f"needs POSIX: {reason}")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(config))


class FailuresAtOnce:
    """Names each failure as it happens, so that a run that is cut off has told of those before."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = crash.message.splitlines()[0] if crash and crash.message else ""
            line = f"\n{report.nodeid} ({report.when}, {report.duration:.0f} s): {reason}"
            self.config.get_terminal_writer().line(line)
