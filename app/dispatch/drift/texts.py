"""The probe texts: fixed, so that vectors of different times and deployments can be compared.

They are chosen so that a change shows in one of them: of the model, its tokenizer, its limit of
tokens, its normalisation of text, its prompt, its pooling or its precision. A change of them makes
every recorded reference useless: it has to be recorded anew.
"""

from __future__ import annotations

from hashlib import sha256

#: Name → text. In all about 300 tokens of four bytes; 432 of wordllama's tokenizer (Llama).
TEXTS = {
    "word": "cat",
    "question": "How do I reset my password?",
    "sentence": "The quick brown fox jumps over the lazy dog.",
    "capitals": "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG.",
    "near-duplicate": "The quick brown fox jumped over the lazy dogs.",
    "negation": "The quick brown fox never jumps over the lazy dog.",
    "numbers": "Revenue fell 3.2 % to $1,048.50 in Q3 2024, after 17 quarters of growth.",
    "German": "Der Vertrag endet am 31. Dezember; für Änderungen genügt die Textform.",
    "Japanese": "東京は日本の首都です。",
    "Chinese": "机器学习模型把文字变成向量。",
    "Korean": "한국어 문장도 같은 벡터여야 합니다.",
    "Arabic": "السلام عليكم ورحمة الله",
    "Hindi": "यह एक परीक्षण वाक्य है।",
    "Russian": "Свет превращается в энергию.",
    "code": "def add(a, b):\n    return a + b  # sum\n\nassert add(2, 2) == 4\n",
    "markup": '<p class="x">Tom &amp; Jerry</p>',
    "white space": "  a \t b\n\n\n c  ",
    "emoji": "\U0001f600\U0001f680 caf\u00e9 cafe\u0301 \U0001f469\u200d\U0001f4bb",
    "long word": "pneumonoultramicroscopicsilicovolcanoconiosis",
    "long": (
        "Photosynthesis turns light into chemical energy. Plants take in carbon dioxide through "
        "their leaves and water through their roots; in the chloroplasts, chlorophyll absorbs "
        "light, splits water and releases oxygen. The energy is stored in sugars, which feed the "
        "plant and, in the end, nearly everything that eats."
    ),
}
NAMES, PROBES = tuple(TEXTS), tuple(TEXTS.values())
#: Names this set of texts: vectors of another one cannot be compared.
TEXTS_ID = sha256("\0".join(PROBES).encode()).hexdigest()[:16]
