"""The neural network of a built-in model: it looks its answer up in a table, by position.

Token *i* of every answer is entry *i* of the script, whatever was asked. The rest of the graph is what a decoder must
have to be one: a key-value cache that grows by a row a token, and logits over the vocabulary.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from resilient_foundry._extras import require
from resilient_foundry.foundry.runtime.tokenizer import END, PROMPT_TOKENS

HEAD_SIZE: Final = 8  # the smallest cache row that ONNX Runtime GenAI is known to take
HIDDEN_SIZE: Final = 16  # numbers in an embedding
_WORK_SIDE: Final = 512  # one unit of effort multiplies two square matrices of this side: 268 million operations
_OPSET: Final = 17
_IR_VERSION: Final = 9  # what the ONNX Runtime of both SDK generations reads


class Ending(Enum):
    """What happens when the script of a model is over."""

    STOP = "stop"
    """The answer ends, as answers do."""

    FAIL = "fail"
    """The next token cannot be computed: generation fails when part of the answer has been sent already."""

    REPEAT = "repeat"
    """The script begins again, until `max_tokens`, the context or the client's patience is exhausted."""


def decoder(script: Sequence[int], *, vocabulary: int, ending: Ending, effort: int, embeds: bool) -> bytes:
    """The serialized ONNX model that says the tokens of `script`.

    `effort` is the number of matrix products that each token costs on top, about a millisecond of one core each.
    `embeds` adds the output `hidden_states`, which makes an embedding model of it: running sums of one fixed
    pseudo-random vector a token, so that equal texts are equal and similar texts are near.

    Raises `MissingExtraError` where numpy or onnx is not installed.
    """
    # Any: neither package is imported by this library before a model is written, so neither can be named in a type.
    np: Any = require("numpy", extra="foundry")
    onnx: Any = require("onnx", extra="foundry")
    node, info, array = onnx.helper.make_node, onnx.helper.make_tensor_value_info, onnx.numpy_helper.from_array
    int64, float32 = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT

    constants = {
        "script": np.array([*script, END] if ending is Ending.STOP else script, np.int64),
        "first": np.array(PROMPT_TOKENS - 1, np.int64),  # the last token of the prompt predicts the first of the answer
        "last": np.array(len(script), np.int64),
        "length": np.array(len(script), np.int64),
        "vocabulary": np.array(vocabulary, np.int64),
        "off_on": np.array([-10, 10], np.float32),
        "cache_rows": np.zeros((vocabulary, HEAD_SIZE), np.float32),
        "axis_1": np.array([1], np.int64),
    }
    past_the_end = {
        Ending.STOP: node("Min", ["offset", "last"], ["place"]),
        Ending.FAIL: node("Identity", ["offset"], ["place"]),
        Ending.REPEAT: node("Mod", ["offset", "length"], ["place"]),
    }
    nodes = [
        node("Sub", ["position_ids", "first"], ["offset"]),
        past_the_end[ending],
        node("Gather", ["script", "place"], ["next"]),
        node("OneHot", ["next", "vocabulary", "off_on"], ["choice" if effort else "logits"], axis=-1),
        node("Gather", ["cache_rows", "input_ids"], ["row"]),
        node("Unsqueeze", ["row", "axis_1"], ["rows"]),
        node("Concat", ["past_key_values.0.key", "rows"], ["present.0.key"], axis=2),
        node("Concat", ["past_key_values.0.value", "rows"], ["present.0.value"], axis=2),
    ]
    inputs = [
        *(info(name, int64, ["b", length]) for name, length in (("input_ids", "s"), ("attention_mask", "t"))),
        info("position_ids", int64, ["b", "s"]),
        *(info(f"past_key_values.0.{half}", float32, ["b", 1, "p", HEAD_SIZE]) for half in ("key", "value")),
    ]
    outputs = [
        info("logits", float32, ["b", "s", vocabulary]),
        *(info(f"present.0.{half}", float32, ["b", 1, "t", HEAD_SIZE]) for half in ("key", "value")),
    ]
    if effort:
        constants["effort"] = np.array(effort, np.int64)
        constants["side"] = np.array([_WORK_SIDE, _WORK_SIDE], np.int64)
        nodes += _work(onnx)
    if embeds:
        vectors = np.random.default_rng(0).standard_normal((vocabulary, HIDDEN_SIZE))
        constants["vectors"] = vectors.astype(np.float32)
        constants["along"] = np.array(1, np.int64)
        nodes.append(node("Gather", ["vectors", "input_ids"], ["vector"]))
        nodes.append(node("CumSum", ["vector", "along"], ["hidden_states"]))
        outputs.append(info("hidden_states", float32, ["b", "s", HIDDEN_SIZE]))

    graph = onnx.helper.make_graph(
        nodes, "script", inputs, outputs, [array(value, name) for name, value in constants.items()]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized


def _work(onnx: Any) -> list[Any]:
    """Nodes that multiply matrices of zeros `effort` times and add the outcome, nothing, to the logits.

    They start from the position, which is not a constant: work on constants alone is done once, when a model is loaded.
    """
    node, info, kind = onnx.helper.make_node, onnx.helper.make_tensor_value_info, onnx.TensorProto
    square = [_WORK_SIDE, _WORK_SIDE]
    body = onnx.helper.make_graph(
        [
            node("MatMul", ["before", "zeros"], ["after"]),
            node("Identity", ["go_on"], ["go_on_after"]),
        ],
        "one_product",
        [info("turn", kind.INT64, []), info("go_on", kind.BOOL, []), info("before", kind.FLOAT, square)],
        [info("go_on_after", kind.BOOL, []), info("after", kind.FLOAT, square)],
    )
    return [
        node("ConstantOfShape", ["side"], ["zeros"]),
        node("ReduceMax", ["position_ids"], ["latest"], keepdims=0),
        node("Cast", ["latest"], ["seed"], to=kind.FLOAT),
        node("Mul", ["zeros", "seed"], ["start"]),
        node("Loop", ["effort", "", "start"], ["worked"], body=body),
        node("ReduceMax", ["worked"], ["nothing"], keepdims=0),
        node("Add", ["choice", "nothing"], ["logits"]),
    ]
