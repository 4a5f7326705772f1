"""The parts of OpenAI's requests: messages, tools, forms of the answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RequestPart(BaseModel):
    """JSON of exactly these fields and types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TextPart(RequestPart):
    """One part of a message that comes in parts."""

    type: Literal["text", "refusal"] = "text"
    text: str = ""
    refusal: str | None = None


class CalledFunction(RequestPart):
    """What was called, its arguments as JSON text."""

    name: str = Field(min_length=1, max_length=256)
    arguments: str


class ToolCall(RequestPart):
    """A call that the assistant made earlier."""

    id: str = Field(max_length=256)
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(RequestPart):
    """One message; parts that are not text are refused."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | tuple[TextPart, ...] | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = Field(None, max_length=256)
    refusal: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ChatMessage:
        if self.content is None and self.role != "assistant":
            raise ValueError("content is missing")
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only an assistant's message has tool_calls")
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise ValueError("tool_call_id belongs to a message of role tool, which needs one")
        return self

    @property
    def text(self) -> str:
        """The text; parts are joined without a separator."""
        if isinstance(self.content, str):
            return self.content
        parts = self.content or ()
        return "".join(part.text or part.refusal or "" for part in parts) or self.refusal or ""

    def for_engine(self) -> dict[str, Any]:
        """The message as chat templates know it."""
        message: dict[str, Any] = {"role": self.role, "content": self.text}
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        return message


class StreamOptions(RequestPart):
    """`include_usage`: a last chunk with the tokens."""

    include_usage: bool | None = False
    include_obfuscation: Literal[False] | None = None


class JsonSchema(RequestPart):
    """A schema that answers must fit."""

    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class ResponseFormat(RequestPart):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> ResponseFormat:
        if (self.json_schema is not None) != (self.type == "json_schema"):
            raise ValueError("json_schema goes with type json_schema, which needs one")
        return self


class Function(RequestPart):
    """A function that the model may call."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(RequestPart):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function
