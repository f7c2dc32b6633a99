"""300 different texts: languages, code, symbols, short and long."""

import random

_SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "How do I reset my password?",
    "Der Vertrag endet am 31. Dezember, falls ihn niemand verlängert.",
    "¿Dónde está la biblioteca más cercana?",
    "Où est passée la clé de l'hôtel ?",
    "東京は日本の首都です。",
    "人工智能正在改变世界",
    "Быстрая коричневая лиса",
    "مرحبا بالعالم",
    "def add(a, b):\n    return a + b",
    "SELECT name FROM users WHERE id = 7;",
    '{"json": [1, 2.5, null], "escaped": "\\"\\u00e9\\n"}',
    "İstanbul, Straße, ﬁnance, naïve café",
    "🎉 party 👩‍👩‍👧 emoji",
    "[MASK] [SEP] <s> </s> <|endoftext|>",
    "line\u2028separator\tand\r\nbreaks",
    "  spaces around  ",
    "https://example.org/path?query=1#fragment",
    "3.14159 % of $1,000,000 — or 2⁵",
    "the stock fell 3.2 % after the announcement",
)
_WORDS = ("river", "market", "engine", "letter", "winter", "doctor", "signal", "garden", "copper")


def varied(count: int = 300) -> list[str]:
    """Return texts that every engine here tokenizes alike.

    No Hangul, no word over 100 letters, no text over 256 tokens: test_differences.py has those.
    """
    rng = random.Random(4)
    texts = list(_SENTENCES)
    while len(texts) < count:
        words = rng.choices(_WORDS, k=rng.choice((0, 1, 4, 12, 30)))
        texts.append(f"{rng.choice(_SENTENCES)} {len(texts)} {' '.join(words)}")
    rng.shuffle(texts)
    return texts
