import pytest

from mdtool.cluster.share import Node, Share, choose_share
from mdtool.errors import UsageError

SMALL, LARGE, GPUS = Node(2), Node(16), Node(32, 4)


@pytest.mark.parametrize(
    ("nodes", "wanted", "share"),
    [
        ([SMALL], None, Share(1, 2)),
        ([SMALL], 2, Share(2, 1)),
        ([SMALL, LARGE], None, Share(2, 8)),
        ([SMALL, LARGE], 9, Share(9, 2)),
        ([LARGE, LARGE], 3, Share(3, 8)),
        ([Node(0), LARGE], None, Share(1, 16)),
        ([SMALL, GPUS], None, Share(4, 8, 1)),
        ([SMALL, GPUS, GPUS], 2, Share(2, 32, 1)),
        ([Node(2, 4)], None, Share(2, 1, 1)),
    ],
)
def test_all_actors_have_room(nodes: list[Node], wanted: int | None, share: Share) -> None:
    assert choose_share(nodes, wanted, use_gpus=True) == share


def test_gpus_are_left_alone_without_use() -> None:
    assert choose_share([GPUS], None, use_gpus=False) == Share(1, 32)


@pytest.mark.parametrize(
    ("nodes", "wanted", "room"), [([SMALL, SMALL], 5, 4), ([GPUS], 5, 4), ([Node(0)], None, 0), ([], 1, 0)]
)
def test_what_has_no_room_is_refused(nodes: list[Node], wanted: int | None, room: int) -> None:
    with pytest.raises(UsageError, match=rf"the cluster has room for {room}\b"):
        choose_share(nodes, wanted, use_gpus=True)
