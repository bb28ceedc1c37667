"""next_business_day: the date that is some business days after another, for deadlines, payments and deliveries.

Input: {"date": "2026-12-23", "days": 2, "holidays": ["2026-12-25", "01-01"], "weekend": ["saturday", "sunday"]}:
a holiday with a year is that day alone, one without comes every year. "days" may be 0 (the date itself, or the next
business day) or negative (before the date). Output: the date, its weekday, and the days that were passed over.

Try it:  loglineos function test next_business_day.py --input @next_business_day.input.json
"""

from datetime import date, timedelta

WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
FARTHEST = 1000  # business days
LONGEST = 60  # days in a row without a business day


def main(input):
    start = date.fromisoformat(input["date"])
    days = input.get("days", 1)
    if type(days) is not int or abs(days) > FARTHEST:
        raise ValueError(f"days: expected a whole number from -{FARTHEST} to {FARTHEST}")
    weekend = [name.lower() for name in input.get("weekend", WEEKDAYS[5:])]
    unknown = [name for name in weekend if name not in WEEKDAYS]
    if unknown:
        raise ValueError("weekend: no weekday is called " + ", ".join(unknown))
    holidays = set(input.get("holidays", []))
    step = timedelta(days=-1 if days < 0 else 1)
    day, passed_over = start, []
    for _ in range(abs(days)):
        day = day + step
        day = business_day(day, step, weekend, holidays, passed_over)
    if days == 0:
        day = business_day(day, step, weekend, holidays, passed_over)
    return {"date": day.isoformat(), "weekday": WEEKDAYS[day.weekday()], "passed_over": passed_over}


def business_day(day, step, weekend, holidays, passed_over):
    """The day itself, or the first business day after it in the direction of the step."""
    for _ in range(LONGEST):
        reason = closed(day, weekend, holidays)
        if reason is None:
            return day
        passed_over.append({"date": day.isoformat(), "reason": reason})
        day = day + step
    raise ValueError(f"no business day in {LONGEST} days: look at weekend and holidays")


def closed(day, weekend, holidays):
    if WEEKDAYS[day.weekday()] in weekend:
        return "weekend"
    text = day.isoformat()
    return "holiday" if text in holidays or text[5:] in holidays else None
