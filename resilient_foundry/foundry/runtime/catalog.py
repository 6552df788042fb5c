"""What the catalogue of models says when there is no network: the built-in models and nothing else.

The runtime shows over HTTP only what a catalogue lists, and asks the catalogue of its maker unless it is given another.
"""

import json
from collections.abc import Sequence

from resilient_foundry.foundry.runtime.model import BuiltinModel
from resilient_foundry.foundry.runtime.tokenizer import THINK_OPEN, TOOL_CLOSE, TOOL_OPEN


def answer(models: Sequence[BuiltinModel]) -> str:
    """The JSON text to answer every question to the catalogue with.

    2.x reads the list under `value`; 1.x and 2.0 read it under `indexEntitiesResponse`.
    """
    entities = [_entity(model) for model in models]
    nested = {"totalCount": len(entities), "value": entities, "nextSkip": 0, "continuationToken": ""}
    return json.dumps({"indexEntitiesResponse": nested, "value": entities, "models": entities})


def _entity(model: BuiltinModel) -> object:
    tool_markers = {"toolCallStart": TOOL_OPEN, "toolCallEnd": TOOL_CLOSE}  # 1.x has them from here
    registry = "azureml://registries/azureml/models"
    return {
        "assetId": f"{registry}/{model.name}/versions/1",
        "entityId": model.name,
        "annotations": {
            "tags": {
                "alias": model.alias,
                "foundryLocal": "",
                "task": "embeddings" if model.embeds else "chat-completion",
                "supportsToolCalling": _yes(TOOL_OPEN in model.script),
                "supportsReasoning": _yes(THINK_OPEN in model.script),
                "promptTemplate": json.dumps({"prompt": "{Content}", "assistant": "{Content}"}),
                **(tool_markers if TOOL_OPEN in model.script else {}),
            },
            "systemCatalogData": {"publisher": "local", "displayName": model.name, "maxOutputTokens": 2048},
        },
        "properties": {
            "id": model.id,
            "name": model.name,
            "version": 1,
            "creationContext": {"createdTime": "2026-01-01T00:00:00Z"},
            "variantInfo": {
                "parents": [{"assetId": f"{registry}/{model.alias}/versions/1"}],
                "variantMetadata": {
                    "modelType": "ONNX",
                    "device": "cpu",
                    "executionProvider": "CPUExecutionProvider",
                    "fileSizeBytes": 50_000,
                },
            },
        },
    }


def _yes(fact: bool) -> str:
    return "true" if fact else "false"
