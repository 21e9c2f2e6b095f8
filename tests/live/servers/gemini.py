"""Gemini's generateContent and streamGenerateContent: for Gemini CLI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from serving import Answer, Asked, document, events, serve

TYPES = "type.googleapis.com/google.rpc."
QUOTA = """\
You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: \
https://ai.google.dev/gemini-api/docs/rate-limits.
* Quota exceeded for metric: generativelanguage.googleapis.com/generate_requests_per_model, limit: 250
Please retry in {seconds}s."""


class Gemini:
    """The model stands in the path."""

    def model(self, path: str, body: Mapping[str, Any]) -> str:
        found = re.search(r"/models/([^:/?]+):(?:stream)?[gG]enerateContent", path)
        return found[1] if found else ""

    def answer(self, asked: Asked) -> Answer:
        if "enerateContent" not in asked.path:
            return document({"totalTokens": 100})
        usage = {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110}
        chunks = [
            {"candidates": [{"index": 0, "content": {"role": "model", "parts": [_part(asked)]}}]},
            {
                "candidates": [{"index": 0, "content": {"role": "model", "parts": []}, "finishReason": "STOP"}],
                "usageMetadata": usage,
            },
        ]
        if "stream" in asked.path:
            return events(chunks, named=False)
        return document(
            {"candidates": [{**chunks[0]["candidates"][0], "finishReason": "STOP"}], "usageMetadata": usage}
        )

    def refusal(self, asked: Asked) -> Answer:
        match asked.mode:
            case "cap":
                return _error(429, "RESOURCE_EXHAUSTED", QUOTA.format(seconds=asked.wait_seconds), _quota(asked))
            case "rate":
                return _error(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")
            case "overloaded":
                return _error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
            case _:
                reason = {"@type": f"{TYPES}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
                return _error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [reason])


def _part(asked: Asked) -> dict[str, Any]:
    """What the model says: its last words after a tool's result, else the tool call."""
    tools = {one.get("name") for tool in asked.body.get("tools", []) for one in tool.get("functionDeclarations", [])}
    last = asked.body["contents"][-1]
    is_told = any("functionResponse" in part for part in last["parts"])
    if "run_shell_command" not in tools or not asked.word or is_told:
        return {"text": asked.last_words}
    arguments = {"command": asked.command, "description": "Write the word and commit it"}
    return {"functionCall": {"name": "run_shell_command", "args": arguments}}


def _quota(asked: Asked) -> list[dict[str, Any]]:
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_requests_per_model",
        "quotaId": "GenerateRequestsPerHourPerProjectPerModel",
        "quotaValue": "250",
    }
    return [
        {"@type": f"{TYPES}QuotaFailure", "violations": [violation]},
        {"@type": f"{TYPES}RetryInfo", "retryDelay": f"{asked.wait_seconds}s"},
    ]


def _error(status: int, name: str, message: str, details: list[dict[str, Any]] | None = None) -> Answer:
    error = {"code": status, "message": message, "status": name, "details": details or []}
    return document({"error": error}, status)


if __name__ == "__main__":
    serve(Gemini())
