"""OpenAI's chat/completions, streamed or whole: for aider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving import Answer, Asked, document, events, serve

EDIT = """\
{last_words}

work.txt
```
<<<<<<< SEARCH
=======
{word}
>>>>>>> REPLACE
```
"""


class Chat:
    """aider edits by the text of an answer, and commits itself; it asks its weak model for the message."""

    def model(self, path: str, body: Mapping[str, Any]) -> str:
        return str(body.get("model", ""))

    def answer(self, asked: Asked) -> Answer:
        is_for_message = "commit message" in str(asked.body["messages"][0]["content"])[:2000]
        text = asked.word if is_for_message else EDIT.format(last_words=asked.last_words, word=asked.word)
        usage = {"prompt_tokens": 2000, "completion_tokens": 30, "total_tokens": 2030}
        common = {"id": "chatcmpl-1", "created": 1, "model": asked.body["model"], "usage": usage}
        if not asked.body.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            return document({**common, "object": "chat.completion", "choices": [choice]})
        length = len(text) // 4 + 1
        pieces = [*(text[at : at + length] for at in range(0, len(text), length)), ""]
        return events(
            (
                {
                    **common,
                    "object": "chat.completion.chunk",
                    "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None if piece else "stop"}],
                }
                for piece in pieces
            ),
            named=False,
            end=b"data: [DONE]\n\n",
        )

    def refusal(self, asked: Asked) -> Answer:
        match asked.mode:
            case "cap":
                message = (
                    "Rate limit reached for gpt-4o in organization org-none on requests per day (RPD): Limit 200, "
                    f"Used 200, Requested 1. Please try again in {asked.wait_seconds // 60}m{asked.wait_seconds % 60}s."
                )
                return _error(429, "rate_limit_exceeded", message)
            case "rate":
                message = f"Rate limit reached. Please try again in {asked.wait_seconds}s."
                return _error(429, "rate_limit_exceeded", message, {"retry-after": str(asked.wait_seconds)})
            case "overloaded":
                return _error(503, "server_error", "The server is overloaded.")
            case _:
                return _error(401, "invalid_api_key", "Incorrect API key provided.")


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    return document({"error": {"message": message, "type": code, "code": code, "param": None}}, status, headers)


if __name__ == "__main__":
    serve(Chat())
