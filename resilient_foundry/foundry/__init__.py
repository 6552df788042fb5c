"""A client of Foundry Local, Microsoft's local model server: generations 1.x and 2.x, synchronous and asynchronous."""

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
