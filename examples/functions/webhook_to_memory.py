"""webhook_to_memory: makes a memory of what a service's webhook says, ready for memory_store_kernel.

Input: {"headers": {"X-GitHub-Event": "issues"}, "body": {…}} for GitHub's events issues, issue_comment, push and
pull_request, or {"body": {"type": "invoice.paid", "data": {"object": {…}}}} as Stripe sends it. Output: the kernel's
input (action, content, tags, memory_type, session_id), or {"skipped": "why"} for what is not worth remembering.

Try it:  loglineos function test webhook_to_memory.py --input @webhook_to_memory.input.json
"""

LONGEST = 2000  # characters of a text that somebody wrote


def main(input):
    headers = {name.lower(): value for name, value in input.get("headers", {}).items()}
    body = input["body"]
    if "x-github-event" in headers:
        return of_github(headers["x-github-event"], body)
    if isinstance(body.get("type"), str) and "data" in body:
        return of_stripe(body)
    return {"skipped": "neither GitHub's X-GitHub-Event nor Stripe's type is there"}


def of_github(event, body):
    repository = body["repository"]["full_name"]
    tags = ["github", event, repository]
    sender = body["sender"]["login"]
    match event:
        case "issues" | "pull_request":
            kind = "issue" if event == "issues" else "pull_request"
            thing = body[kind]
            if body["action"] not in ("opened", "closed", "reopened"):
                return {"skipped": kind + " " + body["action"]}
            title = f"{sender} {body['action']} {kind.replace('_', ' ')} #{thing['number']}: {thing['title']}"
            labels = [label["name"] for label in thing.get("labels", [])]
            return memory(title, thing.get("body"), tags + labels, f"{repository}#{thing['number']}")
        case "issue_comment":
            number = body["issue"]["number"]
            title = f"{sender} commented on #{number}: {body['issue']['title']}"
            return memory(title, body["comment"]["body"], tags, f"{repository}#{number}")
        case "push":
            branch = body["ref"].removeprefix("refs/heads/")
            messages = ["- " + commit["message"].splitlines()[0] for commit in body["commits"]]
            if not messages:
                return {"skipped": "a push without commits"}
            return memory(f"{sender} pushed {len(messages)} to {branch}", "\n".join(messages), tags, repository)
        case _:
            return {"skipped": "GitHub's event " + event}


def of_stripe(body):
    thing = body["data"]["object"]
    amount = thing.get("amount_paid", thing.get("amount"))
    if amount is None:
        return {"skipped": body["type"] + " has no amount"}
    # Stripe counts in the smallest unit of the currency.
    title = f"{body['type']}: {amount / 100:.2f} {thing['currency'].upper()} of {thing.get('customer', 'nobody')}"
    return memory(title, thing.get("description"), ["stripe", body["type"]], thing["id"])


def memory(title, text, tags, session_id):
    text = (text or "").strip()
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    return {
        "action": "store",
        "content": title + ("\n\n" + text if text else ""),
        "tags": [tag[:200] for tag in tags],
        "memory_type": "event",
        "session_id": session_id[:200],
    }
