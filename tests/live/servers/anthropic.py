"""Anthropic's Messages, streamed: for Claude Code, and for opencode."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from serving import Answer, Asked, document, events, serve

OVERLOADED = 529


class Messages:
    """The tool is called `Bash` by Claude Code and `bash` by opencode; what has no such tool is a side call."""

    def model(self, path: str, body: Mapping[str, Any]) -> str:
        return "" if "count_tokens" in path else str(body.get("model", ""))

    def answer(self, asked: Asked) -> Answer:
        if "count_tokens" in asked.path:
            return document({"input_tokens": 100})
        block = _block(asked)
        if not asked.body.get("stream"):
            return document(_message(asked, [block]))
        return events(_stream(asked, block), named=True)

    def refusal(self, asked: Asked) -> Answer:
        until = str(int(asked.until))
        match asked.mode:
            case "cap":
                headers = {
                    "retry-after": str(asked.wait_seconds),
                    "anthropic-ratelimit-unified-status": "rejected",
                    "anthropic-ratelimit-unified-reset": until,
                    "anthropic-ratelimit-unified-representative-claim": "five_hour",
                    "anthropic-ratelimit-unified-overage-status": "rejected",
                    "anthropic-ratelimit-unified-overage-disabled-reason": "org_level_disabled",
                    "anthropic-ratelimit-unified-5h-status": "rejected",
                    "anthropic-ratelimit-unified-5h-reset": until,
                    "anthropic-ratelimit-unified-5h-utilization": "1",
                }
                return _error(429, "rate_limit_error", "This request would exceed your account's rate limit.", headers)
            case "rate":
                return _error(429, "rate_limit_error", "Too many requests.", {"retry-after": str(asked.wait_seconds)})
            case "overloaded":
                return _error(OVERLOADED, "overloaded_error", "Overloaded", {})
            case _:
                return _error(401, "authentication_error", "invalid x-api-key", {})


def _error(status: int, kind: str, message: str, headers: Mapping[str, str]) -> Answer:
    return document({"type": "error", "error": {"type": kind, "message": message}}, status, headers)


def _block(asked: Asked) -> dict[str, Any]:
    """What the model says: its last words after a tool's result, else the tool call."""
    tool = next((one["name"] for one in asked.body.get("tools", []) if one.get("name", "").lower() == "bash"), "")
    if not tool or not asked.word or _has_result(asked.body):
        return {"type": "text", "text": asked.last_words}
    return {
        "type": "tool_use",
        "id": f"toolu_{len(asked.body['messages'])}",  # Claude Code takes two of one id for one
        "name": tool,
        "input": {"command": asked.command, "description": "Write the word and commit it", "timeout": 600000},
    }


def _has_result(body: Mapping[str, Any]) -> bool:
    for message in reversed(body["messages"]):
        if message["role"] == "assistant":
            return False
        content = message["content"]
        if isinstance(content, list) and any(block["type"] == "tool_result" for block in content):
            return True
    return False


def _message(asked: Asked, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked.body["model"],
        "content": content,
        "stop_reason": "tool_use" if content and content[0]["type"] == "tool_use" else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 100, "output_tokens": 10},
    }


def _stream(asked: Asked, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    whole = _message(asked, [block])
    yield {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}}
    if block["type"] == "text":
        start, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        start = {**block, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    yield {"type": "content_block_start", "index": 0, "content_block": start}
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
        "usage": {"output_tokens": 10},
    }
    yield {"type": "message_stop"}


if __name__ == "__main__":
    serve(Messages())
