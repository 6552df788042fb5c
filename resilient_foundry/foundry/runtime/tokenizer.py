"""The vocabulary of a built-in model: the pieces that it says, and bytes for everything that is said to it.

A byte-level BPE tokenizer without merges, in the file format of Hugging Face's tokenizers, which ONNX Runtime GenAI
reads. Every prompt is accepted, because what is not a special token is spelled in bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

TOOL_OPEN: Final = "<tool_call>"
TOOL_CLOSE: Final = "</tool_call>"
THINK_OPEN: Final = "<think>"
THINK_CLOSE: Final = "</think>"

PAD: Final = 256  # 0 to 255 are the bytes
BEGIN: Final = 257
END: Final = 258
SPECIAL: Final = MappingProxyType(
    {
        "<|pad|>": PAD,
        "<|begin|>": BEGIN,
        "<|end|>": END,
        TOOL_OPEN: 259,
        TOOL_CLOSE: 260,
        THINK_OPEN: 261,
        THINK_CLOSE: 262,
    }
)
FIRST_PIECE: Final = 263

TEMPLATE: Final = "A:"  # whatever is asked, the prompt is this text
PROMPT_TOKENS: Final = 2  # so that an answer always begins at the same position


def _characters() -> Mapping[int, str]:
    """The printable character that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}


_CHARACTER: Final = _characters()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The numbers of the pieces of one script: bytes first, then the special tokens, then each different piece."""

    pieces: tuple[bytes, ...]

    @classmethod
    def of(cls, script: Sequence[str | bytes]) -> "Vocabulary":
        """The vocabulary that a script needs: each piece of more than one byte once, in order of appearance."""
        encoded = (_encoded(piece) for piece in script if piece not in SPECIAL)
        return cls(tuple(dict.fromkeys(piece for piece in encoded if len(piece) > 1)))

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return FIRST_PIECE + len(self.pieces)

    def token(self, piece: str | bytes) -> int:
        """The number of a piece of the script."""
        if isinstance(piece, str) and piece in SPECIAL:
            return SPECIAL[piece]
        encoded = _encoded(piece)
        return encoded[0] if len(encoded) == 1 else FIRST_PIECE + self.pieces.index(encoded)

    def files(self, context: int) -> Mapping[str, object]:
        """The tokenizer's two files by name, for a model with `context` tokens of room."""
        added: list[dict[str, object]] = [
            {
                "id": token,
                "content": text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for text, token in SPECIAL.items()
        ]
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        return {
            "tokenizer.json": {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": added,
                "normalizer": None,
                "pre_tokenizer": byte_level,
                "post_processor": None,
                "decoder": byte_level | {"add_prefix_space": True},
                "model": {
                    "type": "BPE",
                    "dropout": None,
                    "unk_token": None,
                    "continuing_subword_prefix": None,
                    "end_of_word_suffix": None,
                    "fuse_unk": False,
                    "byte_fallback": False,
                    "vocab": self._numbers(),
                    "merges": [],
                },
            },
            "tokenizer_config.json": {
                "tokenizer_class": "GPT2Tokenizer",
                "bos_token": "<|begin|>",
                "eos_token": "<|end|>",
                "pad_token": "<|pad|>",
                "add_bos_token": False,
                "add_prefix_space": False,
                "model_max_length": context,
                "chat_template": TEMPLATE,
                "added_tokens_decoder": {
                    str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in added
                },
            },
        }

    def _numbers(self) -> Mapping[str, int]:
        numbers = {_CHARACTER[byte]: byte for byte in range(256)} | dict(SPECIAL)
        for number, piece in enumerate(self.pieces, FIRST_PIECE):
            numbers["".join(_CHARACTER[byte] for byte in piece)] = number
        return numbers


def _encoded(piece: str | bytes) -> bytes:
    return piece.encode() if isinstance(piece, str) else piece
