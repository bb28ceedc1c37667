"""access_log: sums up a web server's access log (combined log format, as nginx and Apache write it).

Input: {"lines": ["…", …], "top": 5}, or {"text": "…"} with the lines in one text. Output: how many
requests and bytes, requests by status class and hour, the paths and clients that come most, what answered with an
error, and the lines that are no log lines.

Try it:  loglineos function test access_log.py --input @access_log.input.json
"""

import re

LINE = re.compile(r'^(\S+) \S+ \S+ \[([^\]]+)\] "(\S+) (\S+)[^"]*" (\d{3}) (\d+|-)')
KEPT = 3  # lines that could not be read, as examples


def main(input):
    lines = input["lines"] if "lines" in input else input["text"].splitlines()
    requests, size = 0, 0
    classes, hours, paths, clients, failures = {}, {}, {}, {}, {}
    unread = []
    for line in lines:
        found = LINE.match(line)
        if not found:
            if line.strip():
                unread.append(line)
            continue
        client, at, method, target, status, sent = found.groups()
        path = target.split("?")[0]
        requests += 1
        size += 0 if sent == "-" else int(sent)
        count(classes, status[0] + "xx")
        count(hours, at.split(":")[1])
        count(paths, path)
        count(clients, client)
        if status >= "400":
            count(failures, status + " " + method + " " + path)
    if unread:
        print(len(unread), "lines are in another format")
    top = input.get("top", 5)
    return {
        "requests": requests,
        "bytes": size,
        "by_status": {key: classes[key] for key in sorted(classes)},
        "by_hour": {key: hours[key] for key in sorted(hours)},
        "top_paths": most(paths, top),
        "top_clients": most(clients, top),
        "failures": most(failures, top),
        "unread": {"lines": len(unread), "examples": [line[:200] for line in unread[:KEPT]]},
    }


def count(counts, key):
    counts[key] = counts.get(key, 0) + 1


def most(counts, limit):
    """The keys that were counted most, in the order of the alphabet where they were counted equally."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"name": key, "count": number} for key, number in ordered[:limit]]
