"""A client of Foundry Local, Microsoft's local model server: generations 1.x and 2.x, synchronous and asynchronous."""

from typing import TYPE_CHECKING

from resilient_foundry._extras import on_first_use

if TYPE_CHECKING:
    from resilient_foundry.foundry.answers import judge
    from resilient_foundry.foundry.async_client import AsyncChatStream, AsyncFoundryClient
    from resilient_foundry.foundry.client import ChatStream, FoundryClient
    from resilient_foundry.foundry.errors import (
        ContextLengthExceededError,
        EndpointNotFoundError,
        FoundryError,
        InferenceError,
        InvalidRequestError,
        LoadFailedError,
        ModelBusyError,
        ModelNotCachedError,
        ModelNotFoundError,
        ModelNotLoadedError,
        NotFoundryError,
        ProtocolError,
        ServiceBusyError,
        ServiceFailedError,
        ServiceNotFoundError,
        SettingsError,
        StreamInterruptedError,
        UnsupportedError,
    )
    from resilient_foundry.foundry.generations import Generation
    from resilient_foundry.foundry.payloads import (
        ChatChunk,
        ChatResult,
        Embeddings,
        Health,
        LoadResult,
        ModelInfo,
        ToolCall,
        Usage,
    )
    from resilient_foundry.foundry.rules import ChatParameters
    from resilient_foundry.foundry.settings import Settings

__all__ = [
    "AsyncChatStream",
    "AsyncFoundryClient",
    "ChatChunk",
    "ChatParameters",
    "ChatResult",
    "ChatStream",
    "ContextLengthExceededError",
    "Embeddings",
    "EndpointNotFoundError",
    "FoundryClient",
    "FoundryError",
    "Generation",
    "Health",
    "InferenceError",
    "InvalidRequestError",
    "LoadFailedError",
    "LoadResult",
    "ModelBusyError",
    "ModelInfo",
    "ModelNotCachedError",
    "ModelNotFoundError",
    "ModelNotLoadedError",
    "NotFoundryError",
    "ProtocolError",
    "ServiceBusyError",
    "ServiceFailedError",
    "ServiceNotFoundError",
    "Settings",
    "SettingsError",
    "StreamInterruptedError",
    "ToolCall",
    "UnsupportedError",
    "Usage",
    "judge",
]

_HOMES = {
    "AsyncChatStream": "async_client",
    "AsyncFoundryClient": "async_client",
    "ChatChunk": "payloads",
    "ChatParameters": "rules",
    "ChatResult": "payloads",
    "ChatStream": "client",
    "ContextLengthExceededError": "errors",
    "Embeddings": "payloads",
    "EndpointNotFoundError": "errors",
    "FoundryClient": "client",
    "FoundryError": "errors",
    "Generation": "generations",
    "Health": "payloads",
    "InferenceError": "errors",
    "InvalidRequestError": "errors",
    "LoadFailedError": "errors",
    "LoadResult": "payloads",
    "ModelBusyError": "errors",
    "ModelInfo": "payloads",
    "ModelNotCachedError": "errors",
    "ModelNotFoundError": "errors",
    "ModelNotLoadedError": "errors",
    "NotFoundryError": "errors",
    "ProtocolError": "errors",
    "ServiceBusyError": "errors",
    "ServiceFailedError": "errors",
    "ServiceNotFoundError": "errors",
    "Settings": "settings",
    "SettingsError": "errors",
    "StreamInterruptedError": "errors",
    "ToolCall": "payloads",
    "UnsupportedError": "errors",
    "Usage": "payloads",
    "judge": "answers",
}
"""The module of each name. They are imported on first use, so that importing the package costs next to nothing."""

if not TYPE_CHECKING:  # for type checkers the names above are all there is
    __getattr__, __dir__ = on_first_use(__name__, _HOMES)
