"""Options for many machines, on a Ray cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mdtool.errors import UsageError

if TYPE_CHECKING:
    from mdtool.cluster.pool import Pool

RETRIES = 2


@dataclass(frozen=True)
class ClusterOptions:
    """Which cluster runs the model, and how."""

    ray: Annotated[
        str | None,
        typer.Option(
            help="Run the model on a Ray cluster: address of its head node, or auto (RAY_ADDRESS, else the one that "
            "runs here, else one started for this run).",
            metavar="auto|ADDRESS",
        ),
    ] = None
    actors: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --ray: processes that load the model. Default: one for each GPU, else node.", metavar="N"
        ),
    ] = None
    retries: Annotated[
        int | None,
        typer.Option(
            min=0,
            help=f"With --ray: how often an input is run again whose process was lost. Default: {RETRIES}.",
            metavar="N",
        ),
    ] = None

    def check(self) -> None:
        """Raise UsageError for options that need --ray."""
        for name, value in (("--actors", self.actors), ("--retries", self.retries)):
            if value is not None and self.ray is None:
                raise UsageError(f"{name}: needs --ray; add it, or leave {name} out")

    @contextmanager
    def connected(self, device: str) -> Iterator["Pool"]:
        """Connect to the cluster while the context lasts; yields its actors. device: as in `--device`."""
        from mdtool.cluster.connection import connected
        from mdtool.cluster.pool import Pool

        assert self.ray
        with connected(self.ray, self.actors, device.startswith(("auto", "cuda"))) as share:
            yield Pool(share, RETRIES if self.retries is None else self.retries)


@dataclass(frozen=True)
class FilesOnClusterOptions(ClusterOptions):
    """Which cluster works on many files, and how."""

    split: Annotated[
        bool, typer.Option("--split", help="With --ray: divide long videos into parts, which actors work on together.")
    ] = False

    def check(self) -> None:
        """Raise UsageError for options that need --ray."""
        super().check()
        if self.split and self.ray is None:
            raise UsageError("--split: needs --ray; add it, or leave --split out")
