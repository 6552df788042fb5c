"""A model that is made here instead of downloaded: it says a text that you choose, in the real runtime."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from resilient_foundry.foundry.runtime.graph import HEAD_SIZE, HIDDEN_SIZE, Ending, decoder
from resilient_foundry.foundry.runtime.tokenizer import (
    BEGIN,
    END,
    PAD,
    SPECIAL,
    THINK_CLOSE,
    THINK_OPEN,
    TOOL_CLOSE,
    TOOL_OPEN,
    Vocabulary,
)

_ALIAS: Final = re.compile(r"[a-z0-9][a-z0-9.-]*")  # what both generations take in a URL without encoding

# Named in the model's configuration, these tokens make the runtime parse tool calls and thinking. 1.x refuses the keys.
MARKERS: Final[Mapping[str, str]] = {
    "bot_token_id": TOOL_OPEN,
    "eot_token_id": TOOL_CLOSE,
    "bor_token_id": THINK_OPEN,
    "eor_token_id": THINK_CLOSE,
}


def words(text: str) -> tuple[str, ...]:
    """The text cut into words, each with the space before it: one chunk of a stream each."""
    return tuple(re.findall(r"\s*\S+", text))


def octets(text: str) -> tuple[bytes, ...]:
    """The text cut into single bytes of UTF-8, so that what is not ASCII is cut within its characters."""
    return tuple(bytes([byte]) for byte in text.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinModel:
    """A model that answers everything with its `script`, one piece a token.

    The tokenizer, the inference engine and the server are the real ones; only the network is a table. So answers are
    known beforehand to the byte, and a model is a few kilobytes that need no download.

    `alias` is what the runtime loads it by. A piece of the `script` is text, or bytes where a token is to hold part of
    a character, or one of the markers `<tool_call>`, `</tool_call>`, `<think>`, `</think>`. `ending` is what comes
    after the script. `effort` slows it down: matrix products for each token, about a millisecond of one core each.
    `context` is the room for prompt and answer, in tokens. With `embeds` it serves `/v1/embeddings` instead of chats.
    With `downloaded=False` the catalogue lists it, but its files are not there.

    Raises `ValueError` where a field cannot be.
    """

    alias: str
    script: tuple[str | bytes, ...] = ()
    ending: Ending = Ending.STOP
    effort: int = 0
    context: int = 4096
    embeds: bool = False
    downloaded: bool = True

    def __post_init__(self) -> None:
        if not _ALIAS.fullmatch(self.alias):
            raise ValueError(f"alias is {self.alias!r}; it takes lower-case letters, digits, dots and dashes")
        if not all(self.script):
            raise ValueError("script has an empty piece; every piece needs at least one character or byte")
        if self.ending is Ending.REPEAT and not self.script:
            raise ValueError("script is empty; a script that repeats needs at least one piece")
        if self.effort < 0:
            raise ValueError(f"effort is {self.effort}; it takes matrix products for each token, none or more")
        if self.context <= len(self.script):
            raise ValueError(f"context is {self.context} tokens; the script alone has {len(self.script)}")

    @property
    def name(self) -> str:
        """The name of the variant that is served, as the real catalogue makes it: alias, then device."""
        return f"{self.alias}-generic-cpu"

    @property
    def id(self) -> str:
        """What a request asks for: the name and its version."""
        return f"{self.name}:1"

    @property
    def text(self) -> str:
        """The whole script as one text, markers included."""
        return b"".join(piece.encode() if isinstance(piece, str) else piece for piece in self.script).decode()

    @property
    def folder(self) -> Path:
        """Where both generations of the runtime look for the model, below their model cache."""
        return Path("local", f"{self.name}-1", "v1")

    def write(self, directory: Path) -> None:
        """Write network, tokenizer and configuration into a directory, which is made if it is missing.

        Raises `MissingExtraError` where numpy or onnx is not installed, and `OSError` where it cannot be written.
        """
        vocabulary = Vocabulary.of(self.script)
        network = decoder(
            [vocabulary.token(piece) for piece in self.script],
            vocabulary=vocabulary.size,
            ending=self.ending,
            effort=self.effort,
            embeds=self.embeds,
        )
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "model.onnx").write_bytes(network)
        files = {
            **vocabulary.files(self.context),
            "genai_config.json": self._configuration(vocabulary.size),
            "inference_model.json": {
                "Name": self.id,
                "PromptTemplate": {"prompt": "{Content}", "assistant": "{Content}"},
            },
        }
        for name, content in files.items():
            (directory / name).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")

    def _configuration(self, vocabulary: int) -> object:
        """What ONNX Runtime GenAI wants to know: names of inputs and outputs, sizes, greedy search."""
        outputs = {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        }
        return {
            "model": {
                "type": "llama",
                "bos_token_id": BEGIN,
                "eos_token_id": END,
                "pad_token_id": PAD,
                "vocab_size": vocabulary,
                "context_length": self.context,
                **{key: SPECIAL[marker] for key, marker in MARKERS.items() if marker in self.script},
                "decoder": {
                    # One thread a session: on small machines the runtime's idle threads spin and slow the others down.
                    "session_options": {"intra_op_num_threads": 1, "provider_options": []},
                    "filename": "model.onnx",
                    "head_size": HEAD_SIZE,
                    "hidden_size": HIDDEN_SIZE if self.embeds else HEAD_SIZE,
                    "num_attention_heads": 1,
                    "num_key_value_heads": 1,
                    "num_hidden_layers": 1,
                    "inputs": {
                        "input_ids": "input_ids",
                        "attention_mask": "attention_mask",
                        "position_ids": "position_ids",
                        "past_key_names": "past_key_values.%d.key",
                        "past_value_names": "past_key_values.%d.value",
                    },
                    "outputs": outputs,
                },
            },
            "search": {
                "max_length": self.context,  # compulsory
                "do_sample": False,
                "past_present_share_buffer": False,
                "temperature": 1.0,
                "top_k": 1,
                "top_p": 1.0,
                "num_beams": 1,
                "repetition_penalty": 1.0,
            },
        }
