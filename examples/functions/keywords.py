"""keywords: what a text is about: its words that come most, leaving out those that every text has.

Input: {"text": "…", "limit": 10, "also_leave_out": ["word", …]}, in English, Portuguese or another language that
puts spaces between words. Output: keywords with count and share, pairs of words that stand together more than once,
and the text's statistics.

Try it:  loglineos function test keywords.py --input @keywords.input.json
"""

import re

LETTERS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
SENTENCE = re.compile(r"[.!?…]+(?=\s|$)")
COMMON_WORDS = """
a about after all also am an and any are as at be because been but by can could did do does for from had has have he
her here him his how i if in into is it its just like more most my no not of on one only or other our out over she so
some such than that the their them then there these they this those through to too under up very was we were what
when where which while who why will with would you your
ao aos as até com como da das de dele dela do dos e é ela ele eles em entre era essa esse esta este eu foi há isso
isto já mais mas me mesmo muito na nas não nem no nos nós num numa o os ou para pela pelo por qual quando que quem se
sem ser seu sua são só também te tem um uma você
"""
COMMON = set(COMMON_WORDS.split())


def main(input):
    text = input["text"]
    words = [word.lower().replace("’", "'").removesuffix("'s") for word in LETTERS.findall(text)]
    left_out = COMMON | {word.lower() for word in input.get("also_leave_out", [])}
    counts, pairs = {}, {}
    previous = None
    for word in words:
        if len(word) < 3 or word in left_out:
            previous = None
            continue
        counts[word] = counts.get(word, 0) + 1
        if previous is not None:
            pair = previous + " " + word
            pairs[pair] = pairs.get(pair, 0) + 1
        previous = word
    meaningful = sum(counts.values())
    limit = input.get("limit", 10)
    return {
        "keywords": [
            {"word": word, "count": number, "share": round(number / meaningful, 3)}
            for word, number in ordered(counts)[:limit]
        ],
        "pairs": [{"words": pair, "count": number} for pair, number in ordered(pairs)[:limit] if number > 1],
        "statistics": {
            "words": len(words),
            "different_words": len(set(words)),
            "sentences": len(SENTENCE.findall(text)),
            "reading_minutes": round(len(words) / 220, 1),
        },
    }


def ordered(counts):
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
