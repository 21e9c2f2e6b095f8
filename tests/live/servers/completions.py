"""OpenAI's chat/completions with tools, streamed: for the models of an OpenClaw gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from serving import Answer, Asked, document, events, serve

YIELD_MS = 3_600_000  # after so long a command is no longer waited for; by itself after 10 s


class Completions:
    """The tool is called `exec`; what has no such tool is a side call."""

    def model(self, path: str, body: Mapping[str, Any]) -> str:
        return str(body.get("model", ""))

    def answer(self, asked: Asked) -> Answer:
        delta, reason = _said(asked)
        usage = {"prompt_tokens": 2000, "completion_tokens": 30, "total_tokens": 2030}
        common = {"id": "chatcmpl-1", "created": 1, "model": asked.body["model"]}
        if not asked.body.get("stream"):
            choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", **delta}}
            return document({**common, "object": "chat.completion", "choices": [choice], "usage": usage})
        chunk = {**common, "object": "chat.completion.chunk"}
        said = [
            {"index": 0, "delta": {"role": "assistant", **piece}, "finish_reason": None} for piece in _pieces(delta)
        ]
        end = {"index": 0, "delta": {}, "finish_reason": reason}
        chunks = [{**chunk, "choices": [choice]} for choice in (*said, end)]
        return events([*chunks, {**chunk, "choices": [], "usage": usage}], named=False, end=b"data: [DONE]\n\n")

    def refusal(self, asked: Asked) -> Answer:
        headers = {"retry-after": str(asked.wait_seconds)}
        match asked.mode:
            case "cap":
                return _error(429, "usage_limit_reached", "You have hit your usage limit.", headers)
            case "rate":
                return _error(429, "rate_limit_exceeded", "Rate limit reached. Please try again.", headers)
            case "billing":
                return _error(429, "insufficient_quota", "You exceeded your current quota, please check your plan.")
            case "overloaded":
                return _error(503, "server_error", "The server is overloaded.")
            case _:
                return _error(401, "invalid_api_key", "Incorrect API key provided.")


def _said(asked: Asked) -> tuple[dict[str, Any], str]:
    """What the model says, and why it stops: its last words after a tool's result, else the tool call."""
    has_tool = any(one["function"]["name"] == "exec" for one in asked.body.get("tools", []))
    roles = [message["role"] for message in asked.body["messages"]]
    has_result = "tool" in roles and "assistant" not in roles[len(roles) - roles[::-1].index("tool") :]
    if not has_tool or not asked.word or (has_result and asked.mode != "busy"):
        return {"content": asked.last_words}, "stop"
    call = {
        "index": 0,
        "id": f"call_{len(asked.body['messages'])}",
        "type": "function",
        "function": {
            "name": "exec",
            "arguments": json.dumps({"command": asked.command, "yieldMs": YIELD_MS}),
        },
    }
    return {"content": None, "tool_calls": [call]}, "tool_calls"


def _pieces(delta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The same in four parts, so that half a stream has no whole answer."""
    calls = delta.get("tool_calls")
    whole = calls[0]["function"]["arguments"] if calls else delta["content"]
    length = len(whole) // 4 + 1
    for at in range(0, len(whole), length):
        part = whole[at : at + length]
        if not calls:
            yield {"content": part}
        elif at == 0:
            yield {"tool_calls": [{**calls[0], "function": {**calls[0]["function"], "arguments": part}}]}
        else:
            yield {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    return document({"error": {"message": message, "type": code, "code": code, "param": None}}, status, headers)


if __name__ == "__main__":
    serve(Completions())
