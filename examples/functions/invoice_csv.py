"""invoice_csv: checks the lines of an invoice, given as CSV, and brings them into one form.

Input: {"csv": "…"}, a line of headings (description, quantity, unit_price, vat_percent, in any order) and a line for
each item; commas, semicolons or tabs between them, numbers as 1,234.50 or 1.234,50. Output: the items with numbers as
text of fixed decimals, net, VAT and total by the cent, and each problem with its line and column; "valid" says that
there is none.

Try it:  loglineos function test invoice_csv.py --input @invoice_csv.input.json
"""

import csv
import re
from decimal import ROUND_HALF_UP, Decimal

COLUMNS = ["description", "quantity", "unit_price", "vat_percent"]
CENT = Decimal("0.01")


def main(input):
    lines = [line for line in input["csv"].splitlines() if line.strip()]
    if not lines:
        raise ValueError("csv: expected a line of headings and at least one line below it")
    rows = list(csv.reader(lines, delimiter=delimiter_of(lines[0])))
    headings = [heading.strip().lower().replace(" ", "_") for heading in rows[0]]
    missing = [name for name in COLUMNS if name not in headings]
    if missing:
        raise ValueError("csv: the headings lack " + ", ".join(missing))
    items, problems = [], []
    for number, row in enumerate(rows[1:], 2):
        given = dict(zip(headings, row, strict=False))
        item = item_of(given, number, problems)
        if item is not None:
            items.append(item)
    net = sum([Decimal(item["net"]) for item in items], Decimal(0))
    vat = sum([Decimal(item["vat"]) for item in items], Decimal(0))
    totals = {"net": money(net), "vat": money(vat), "total": money(net + vat)}
    return {"valid": not problems, "items": items, "totals": totals, "problems": problems}


def delimiter_of(line):
    return max(";\t,", key=lambda mark: line.count(mark))


def item_of(given, number, problems):
    """The line in one form; None, and what is wrong with it among the problems, if it cannot be read."""
    description = " ".join(given.get("description", "").split())
    values = {name: number_of(given.get(name, "")) for name in COLUMNS[1:]}
    wrong = [name for name in values if values[name] is None]
    wrong += [] if description else ["description"]
    if values["quantity"] is not None and values["quantity"] <= 0:
        wrong.append("quantity")
    if values["vat_percent"] is not None and not 0 <= values["vat_percent"] <= 100:
        wrong.append("vat_percent")
    for name in wrong:
        problems.append({"line": number, "column": name, "value": given.get(name, "")})
    if wrong:
        return None
    net = rounded(values["quantity"] * values["unit_price"])
    return {
        "description": description,
        "quantity": str(values["quantity"]),
        "unit_price": str(values["unit_price"]),
        "vat_percent": str(values["vat_percent"]),
        "net": money(net),
        "vat": money(net * values["vat_percent"] / 100),
    }


def number_of(text):
    """1234.5, 1,234.50 and 1.234,50 alike; None for what is no number. A lone comma is a decimal one."""
    text = text.strip().replace(" ", "")
    mark = "," if text.rfind(",") > text.rfind(".") else "."
    text = text.replace("." if mark == "," else ",", "").replace(mark, ".")
    return Decimal(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else None


def rounded(value):
    return value.quantize(CENT, ROUND_HALF_UP)


def money(value):
    return str(rounded(value))
