"""keywords_of_memories: when a memory that has the tag `summarise` is stored, asks for its keywords.

It asks for a run of the function `keywords` (examples/functions/keywords.py); the request worker carries it out, and
`loglineos function logs keywords` shows what it found. A secret memory has no content to read, and is left alone.

Watches: memory. Input: the span that was appended. Answer: a `run` action, or None.
Put in FUNCTION_ID the id that `loglineos function list` shows, then:  loglineos append @keywords_of_memories.span.json
"""

FUNCTION_ID = "0196f1c0-5b1e-7a52-8c1e-9f430c3a3a01"
TAG = "summarise"


def on(span):
    metadata = span["metadata"] or {}
    content = metadata.get("content")
    # seq 0: a memory that is changed later is not summed up again.
    if span["seq"] != 0 or TAG not in metadata.get("tags", []) or not isinstance(content, str):
        return None
    return {"action": "run", "function_id": FUNCTION_ID, "input": {"text": content, "limit": 5}}
