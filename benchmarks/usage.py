"""What people do with the ledger, done for real, and the same once more with other ids, as often as it takes.

Booting a million times takes an hour. So each kind of use is carried out through the loader a few times, and what it
left in the ledger becomes the pattern of many more spans: other ids, owners, times and texts, sealed and signed anew.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, TextIO
from uuid import UUID, uuid4

import orjson
from aws_lambda_powertools import Logger
from nacl.signing import SigningKey

from ledger.connection import Connection
from ledger.database import Identity
from ledger.ids import derived_id, new_id
from ledger.proof import seal
from ledger.read import span_of
from ledger.span import Span
from stage0_loader.boot import Loader
from stage0_loader.handler import handle, make_loader
from stage0_loader.settings import Settings

RUN_CODE, OBSERVER, WORKER, AGENT, PROMPT, MEMORY = (f"00000000-0000-4000-8000-{n:012}" for n in (1, 2, 3, 4, 6, 7))
WELCOME = "00000000-0000-4000-8000-000000000101"
CODE = """def main(input):
    total = sum(item["price"] * item["count"] for item in input["items"])
    print("items:", len(input["items"]))
    return {"total": round(total, 2)}
"""
ORDER = {"items": [{"name": f"article {n}", "price": 9.9, "count": n} for n in range(1, 6)]}
# How often of a hundred uses: an assumption, and the one that the mean size of a span hangs on.
WEIGHTS: Final = {"store": 30, "search": 25, "prompt": 10, "run": 10, "request": 10, "note": 15}
MEAN_WORDS: Final = 60  # of a memory
INDEXED: Final = 3  # letters of a word, for the search's index to know it
TENANTS: Final = 100
USERS: Final = 10  # of each tenant
SPANS_OF = "SELECT * FROM ledger.universal_registry WHERE trace_id = %s ORDER BY era, position"


@dataclass(frozen=True)
class Texts:
    """Sentences of the words of this project's own pages, as often as they stand there."""

    words: list[str] = field(repr=False)
    vocabulary: list[str] = field(repr=False)
    random: random.Random = field(default_factory=lambda: random.Random(0), repr=False)

    @classmethod
    def of_docs(cls) -> Texts:
        """Reads `docs/`."""
        pages = sorted((Path(__file__).parent.parent / "docs").rglob("*.md"))
        words = [word for page in pages for word in re.findall(r"\w+", page.read_text(encoding="utf-8"))]
        return cls(words, sorted({word for word in words if len(word) >= INDEXED}))

    def one(self) -> str:
        """One word that an index of trigrams knows, the rare ones as likely as the common."""
        return self.random.choice(self.vocabulary)

    def commonest(self, least: int = INDEXED, most: int = 100) -> str:
        """Of words of so many letters, the one that stands in most texts."""
        counted = Counter(word for word in self.words if least <= len(word) <= most)
        return counted.most_common(1)[0][0]

    def some(self, count: int | None = None) -> str:
        """So many words, or about `MEAN_WORDS`, many texts shorter and a few much longer."""
        count = count or min(1000, 1 + round(self.random.expovariate(1 / MEAN_WORDS)))
        return " ".join(self.random.choices(self.words, k=count))


@dataclass
class Usage:
    """Somebody who uses the ledger through a loader, as the Python client does: each boot with a request id."""

    loader: Loader
    texts: Texts
    identity: Identity
    functions: dict[Identity, str] = field(default_factory=dict)

    def send(self, event: dict[str, Any], identity: Identity | None = None) -> dict[str, Any]:
        """One invocation; the body of its answer."""
        who = identity or self.identity
        answer = handle(self.loader, {"user_id": who.user_id, "tenant_id": who.tenant_id, **event}, None)
        if answer["statusCode"] != 200:
            raise RuntimeError(answer)
        body: dict[str, Any] = orjson.loads(answer["body"])
        return body

    def boot(self, kernel: str, given: dict[str, Any], trace_id: str | None = None) -> dict[str, Any]:
        """Boot a kernel."""
        event = {"action": "boot", "boot_function_id": kernel, "input": given, "request_id": str(uuid4())}
        return self.send(event | {"trace_id": trace_id or new_id().hex})

    def append(self, trace_id: str | None = None, **span: Any) -> UUID:
        """Append a span; its id."""
        body = self.send({"action": "append", "trace_id": trace_id or new_id().hex, "span": span})
        return UUID(body["spans"][0]["id"])

    def store(self, trace_id: str | None = None) -> None:
        """Store a memory."""
        given = {"action": "store", "content": self.texts.some(), "tags": ["work"], "visibility": "tenant"}
        self.boot(MEMORY, given, trace_id)

    def search(self, trace_id: str | None = None, words: str = "") -> None:
        """Search memories for a word, any that is known; the page that was found stands in the execution."""
        given = {"action": "search", "search_query": words or self.texts.one(), "limit": 5}
        self.boot(MEMORY, given, trace_id)

    def prompt(self, trace_id: str | None = None) -> None:
        """Render a prompt."""
        self.boot(PROMPT, {"prompt_id": WELCOME, "variables": {"user_name": self.texts.some(2)}}, trace_id)

    def run(self, trace_id: str | None = None) -> None:
        """Run a function."""
        self.boot(RUN_CODE, {"function_id": self._function(), "input": ORDER}, trace_id)

    def request(self, trace_id: str | None = None) -> None:
        """Leave a request, and have a worker carry it out."""
        values = {"entity_type": "request", "did": "requested", "this": "run_code", "status": "scheduled"}
        self.append(trace_id, **values, parent_id=self._function(), input=ORDER)
        event = {"action": "boot", "boot_function_id": WORKER, "input": {"limit": 1}}
        self.send(event, Identity("edge:stage0", "system"))

    def note(self, trace_id: str | None = None) -> None:
        """Append a span of one's own type."""
        self.append(
            trace_id, entity_type="note", did="said", this="note", visibility="tenant",
            metadata={"text": self.texts.some(), "source": "a device"},
        )  # fmt: skip

    def by_schedule(self, kernel: str) -> dict[str, Any]:
        """Boot a kernel as its schedule does; its output."""
        event = {"action": "boot", "boot_function_id": kernel, "input": {}}
        output: dict[str, Any] = self.send(event, Identity("edge:stage0", "system"))["output"]
        return output

    def minute(self) -> None:
        """What the schedules boot every minute."""
        for kernel in (OBSERVER, WORKER, AGENT):
            self.by_schedule(kernel)

    def caught_up(self) -> None:
        """Let the policies see everything."""
        while any(policy.get("more") for policy in self.by_schedule(AGENT)["policies"]):
            pass

    def kinds(self) -> dict[str, Callable[[str | None], None]]:
        """All kinds of use, by the names of `WEIGHTS`."""
        return {
            "store": self.store, "search": self.search, "prompt": self.prompt,
            "run": self.run, "request": self.request, "note": self.note,
        }  # fmt: skip

    def _function(self) -> str:
        if self.identity not in self.functions:
            values = {"entity_type": "function", "did": "wrote", "this": "function", "name": "total", "code": CODE}
            self.functions[self.identity] = str(self.append(**values))
        return self.functions[self.identity]


def new_loader(url: str, row_key: SigningKey, loader_key: SigningKey, log: TextIO) -> Loader:
    """A loader that signs and logs as staging's and prod's do."""
    environment = {
        "DATABASE_URL": url,
        "SIGNING_KEY_HEX": bytes(loader_key).hex(),
        "TRUSTED_ROW_KEYS": bytes(row_key.verify_key).hex(),
        "MEMORY_KEY_HEX": "ab" * 32,
    }
    return make_loader(Settings.from_environment(environment), Logger(service="benchmark", level="INFO", stream=log))


Pattern = list[Span]


def patterns(usage: Usage, readonly: Connection, each: int) -> dict[str, list[Pattern]]:
    """Use the ledger in every way, so many times each; the spans that each left, those of policies among them."""
    for _ in range(each):
        usage.store()  # so that the first searches find something too
    traces = {name: [new_id().hex for _ in range(each)] for name in WEIGHTS}
    for number in range(each):
        for name, use in usage.kinds().items():
            use(traces[name][number])
    usage.caught_up()
    return {
        name: [[span_of(row) for row in readonly.execute(SPANS_OF, [trace]).fetchall()] for trace in given]
        for name, given in traces.items()
    }


def uses(
    found: dict[str, list[Pattern]], texts: Texts, key: SigningKey, identities: Sequence[Identity]
) -> Iterator[list[Span]]:
    """Uses without end, each as its sealed spans: kinds by `WEIGHTS`, the n-th tenant 1/n as busy as the first."""
    names, chance = list(WEIGHTS), texts.random
    weights = list(accumulate(1 / (1 + n // USERS) for n in range(len(identities))))
    while True:
        kind = chance.choices(names, weights=[WEIGHTS[name] for name in names])[0]
        owner = chance.choices(identities, cum_weights=weights)[0]
        yield _again(chance.choice(found[kind]), owner, texts, key)


def everybody() -> list[Identity]:
    """All users of all tenants, the tenant of the first ones being the busiest."""
    return [Identity(f"user{n % USERS}", f"tenant{n // USERS}") for n in range(TENANTS * USERS)]


def _again(pattern: Pattern, owner: Identity, texts: Texts, key: SigningKey) -> list[Span]:
    """The same spans once more, of another owner: ids are as random or as ordered in time as they were."""
    trace_id, now = new_id().hex, datetime.now(UTC)
    ids = {span.id: new_id() if span.id.version == 7 else derived_id(trace_id, str(span.id)) for span in pattern}
    heads: dict[UUID, str] = {}
    made: list[Span] = []
    for span in pattern:
        values: dict[str, Any] = {
            "id": ids[span.id], "at": now, "trace_id": trace_id,
            "owner_id": owner.user_id, "tenant_id": owner.tenant_id,
            "parent_id": ids.get(span.parent_id, span.parent_id) if span.parent_id else None,
            "prev_hash": heads.get(span.id) if span.seq else None,
        }  # fmt: skip
        if span.entity_type == "memory" and span.metadata:
            count = len(str(span.metadata["content"]).split())
            values["metadata"] = {**span.metadata, "content": texts.some(count)}
        sealed = seal(span.with_values(**values), key)
        heads[span.id] = str(sealed.curr_hash)
        made.append(sealed)
    return made
