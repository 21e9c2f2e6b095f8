"""OpenAI's Responses, streamed: for Codex."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from serving import Answer, Asked, document, events, serve


class Responses:
    """The tool's name and arguments differ by version and model."""

    def model(self, path: str, body: Mapping[str, Any]) -> str:
        return str(body.get("model", ""))

    def answer(self, asked: Asked) -> Answer:
        return events(_stream(asked), named=True)

    def refusal(self, asked: Asked) -> Answer:
        match asked.mode:
            case "cap":
                error = {
                    "type": "usage_limit_reached",
                    "message": "The usage limit has been reached",
                    "plan_type": "plus",
                    "resets_at": int(asked.until),
                    "resets_in_seconds": asked.wait_seconds,
                }
                headers = {
                    "x-codex-primary-used-percent": "100.0",
                    "x-codex-primary-window-minutes": "300",
                    "x-codex-primary-reset-at": str(int(asked.until)),
                }
                return document({"error": error}, 429, headers)
            case "rate":
                error = {"type": "rate_limit_exceeded", "message": "Rate limit reached."}
                return document({"error": error}, 429, {"retry-after": str(asked.wait_seconds)})
            case "overloaded":
                error = {"type": "server_error", "code": "server_is_overloaded", "message": "Overloaded."}
                return document({"error": error}, 503)
            case _:
                return document({"error": {"type": "invalid_request_error", "message": "Incorrect API key."}}, 401)


def _stream(asked: Asked) -> Iterator[dict[str, Any]]:
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 110,
    }
    identity = f"resp_{time.time_ns()}"
    yield {"type": "response.created", "response": {"id": identity, "status": "in_progress"}}
    yield {"type": "response.output_item.done", "output_index": 0, "item": _item(asked)}
    yield {"type": "response.completed", "response": {"id": identity, "status": "completed", "usage": usage}}


def _item(asked: Asked) -> dict[str, Any]:
    """What the model says: its last words after a tool's result, else the tool call."""
    tools = {one.get("name"): one for one in asked.body.get("tools", [])}
    arguments: dict[str, dict[str, Any]] = {
        "exec_command": {"cmd": asked.command, "yield_time_ms": 30000},
        "shell_command": {"command": asked.command},
        "shell": {"command": ["bash", "-c", asked.command]},
    }
    tool = next((name for name in arguments if name in tools), "")
    last = (asked.body.get("input") or [{}])[-1]
    if not tool or not asked.word or last.get("type") == "function_call_output":
        content = [{"type": "output_text", "text": asked.last_words, "annotations": []}]
        return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": f"call_{time.time_ns()}",
        "name": tool,
        "arguments": json.dumps(arguments[tool]),
    }


if __name__ == "__main__":
    serve(Responses())
