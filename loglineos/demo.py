"""The main job, shown on real input: store a memory, find it, and see the spans that prove it."""

from __future__ import annotations

from typing import Any

from loglineos.backend import Backend
from loglineos.output import Output
from loglineos.spans import show_spans

MEMORY_STORE = "00000000-0000-4000-8000-000000000007"
# The same request every time, so that a second `make up` finds the memory instead of storing it again.
REQUEST_ID = "5d1f7a52-6c0b-4c1e-9f43-0c3a3a1e7d01"
CONTENT = "LogLineOS keeps everything, code included, as signed spans."


def show_demo(backend: Backend, output: Output) -> None:
    """Boot `memory_store_kernel` twice and print the timeline with each span's proof."""
    stored = _boot(backend, {"action": "store", "content": CONTENT, "tags": ["demo"]}, request_id=REQUEST_ID)
    again = " (it was there: the same request_id answers the stored result)" if stored.get("replayed") else ""
    memory_id = stored["output"]["memory"]["memory_id"]
    output.line(f"\nmemory_store_kernel stored memory {memory_id}{again}.")
    found = _boot(backend, {"action": "search", "search_query": "signed spans", "tags": ["demo"]})
    contents = [memory["content"] for memory in found["output"]["memories"]]
    output.line(f"Searching for 'signed spans' found: {contents}\n")
    show_spans(output, backend.load({"action": "timeline", "limit": 6})["spans"])
    output.line(NEXT)


def _boot(backend: Backend, given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return backend.load({"action": "boot", "boot_function_id": MEMORY_STORE, "input": given, **more})


NEXT = """
The ledger stays up. Try next:
  . .local/env               (points aws, cdk, psql and loglineos at the local stack, and puts them on the PATH)
  loglineos boot memory_store_kernel --input '{"action":"store","content":"用户偏好深色模式 🌙","tags":["ui"]}'
  loglineos boot memory_store_kernel --input '{"action":"search","search_query":"深色模式"}'
  loglineos query 'SELECT entity_type, count(*) FROM ledger.visible_timeline GROUP BY 1 ORDER BY 2 DESC'
  loglineos timeline --follow
  aws lambda invoke --function-name loglineos-stage0-loader --payload '{"action":"health"}' response.json
  curl $LOGLINEOS_URL/health
  aws cloudformation describe-stacks --query 'Stacks[].[StackName,StackStatus]' --output text
  psql                       (as readonly, if it is installed)
  make down"""
