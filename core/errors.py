"""One hierarchy of errors. Each says what happened, with the numbers, and in `hint` what to do next.

The edges (UI, command line, server) catch `PhiresideError` and show both; a person never sees a traceback.
"""


class PhiresideError(Exception):
    """Base of all errors that Phireside raises on purpose.

    Args:
        message: what happened, with the numbers.
        hint: what the person can do next; may be empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class SettingsError(PhiresideError):
    """A setting has a value that cannot be used."""


class LoginError(PhiresideError):
    """Nobody is logged in, or somebody who may not be."""


class ModelError(PhiresideError):
    """Something is wrong with a model."""


class ModelNotFoundError(ModelError):
    """No such model, or its file is not on this machine."""


class ModelDamagedError(ModelError):
    """The file is not the model that it claims to be: truncated, altered, or not a GGUF at all."""


class ModelLoadError(ModelError):
    """llama.cpp could not load the model, or it does not fit into memory."""


class DownloadError(ModelError):
    """A model could not be downloaded."""


class TemplateError(ModelError):
    """The model's chat template is missing, unsafe, too slow, or refuses the messages."""


class EngineError(PhiresideError):
    """The engine could not do what was asked."""


class ContextOverflowError(EngineError):
    """The prompt, with the tokens to generate, does not fit into the context."""


class EngineBusyError(EngineError):
    """Too many requests wait already."""


class EngineClosedError(EngineError):
    """The engine was closed while a request was waiting or running."""


class RequestError(EngineError, ValueError):
    """A request has an argument that cannot be used (a negative temperature, an empty prompt, …)."""


class GrammarError(RequestError):
    """A grammar that does not compile, or whose texts cannot end within the tokens left."""


class NotSupportedError(PhiresideError, NotImplementedError):
    """The model, or this build, lacks the feature."""


class StoreError(PhiresideError):
    """Conversations could not be read or saved."""


class ConversationNotFoundError(StoreError):
    """There is no conversation with that id."""


class TurnRunningError(PhiresideError):
    """A conversation is asked something while its last answer is still being written."""


class DocumentError(PhiresideError):
    """A document could not be read: damaged, of another kind than its name says, protected, or without text."""


class DocumentTooLargeError(DocumentError):
    """A document takes more bytes, memory, seconds or text to read than it may."""


class ToolError(PhiresideError):
    """A tool could not do what it was asked; an agent shows it to the model, which may try otherwise."""


class KnowledgeError(PhiresideError):
    """Something is wrong with a base of documents, or with what is put into it or asked of it."""


class IndexDamagedError(KnowledgeError):
    """What is stored in a base is not what was written: it cannot be searched until it is built anew."""
