"""The beginnings of conversations that are kept, so that the next turn computes only what is new."""

from dataclasses import dataclass, field

from engine.generation.vlm_decoder import Pieces
from engine.layers.kv_cache import PrefixCache
from engine.layers.lora import LoraAdapter


@dataclass(frozen=True, eq=False)
class Conversation:
    """What a model has read of a conversation, and written.

    Attributes:
        pieces: Inputs of the model.
        prompt: How many of them are not of its last answer.
        cache: Of all of them.
        model_key: Of the model.
        adapter: With which they were computed.
    """

    pieces: Pieces
    prompt: int
    cache: PrefixCache
    model_key: str
    adapter: LoraAdapter | None

    def common_length(self, pieces: Pieces) -> int:
        """Return how many pieces another conversation begins with too; its last one does not count."""
        limit = min(len(self.pieces), len(pieces) - 1)
        return next((index for index in range(limit) if self.pieces[index] != pieces[index]), limit)

    def continues(self, other: "Conversation") -> bool:
        """Whether it begins as another one up to its last answer, whose tokens a client may split otherwise."""
        same = (self.model_key, self.adapter) == (other.model_key, other.adapter)
        return same and self.pieces[: other.prompt] == other.pieces[: other.prompt]


@dataclass
class KeptConversations:
    """The content of a `ChatCache`.

    Attributes:
        conversations: The one that was used the longest ago first.
    """

    conversations: list[Conversation] = field(default_factory=list)

    def beginnings(self, pieces: Pieces, model_key: str, adapter: LoraAdapter | None) -> list[tuple[int, Conversation]]:
        """Return the conversations that begin as another one, and how many pieces they have in common; most first."""
        same = [each for each in self.conversations if (each.model_key, each.adapter) == (model_key, adapter)]
        found = [(length, each) for each in same if (length := each.common_length(pieces))]
        return sorted(found, key=lambda one: one[0], reverse=True)

    def keep(self, conversation: Conversation, limit_bytes: int) -> None:
        """Keep a conversation in place of those that it continues, and drop old ones.

        Args:
            conversation: The latest.
            limit_bytes: Of all of them; the latest is kept in any case.
        """
        others = [each for each in self.conversations if not conversation.continues(each)]
        kept, total = [conversation], conversation.cache.nbytes
        for each in reversed(others):
            total += each.cache.nbytes
            if total > limit_bytes:
                break
            kept.insert(0, each)
        self.conversations = kept
