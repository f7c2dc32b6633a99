"""The tokenizer of a model: exact counts; token ids are decoded exactly or refused."""

import contextlib
from pathlib import Path

import pytest
import tiktoken
import tokenizers as hugging_face
import wordllama

from app import config
from app.dispatch.deployments.token_estimate import TokenEstimate
from app.tokens import bounded, tokenizers
from tests.api.fake import FakeProvider, app_with, ask, error_of, settings

LLAMA = str(Path(wordllama.__file__).parent / "tokenizers" / "l2_supercat_tokenizer_config.json")
TEXTS = ["hello world", "日本", "😀 naïve", "a" * 50]


@pytest.fixture
def byte_encoding(monkeypatch):
    """A tiktoken encoding that needs no download: one token a byte."""
    ranks = {bytes([value]): value for value in range(256)}
    encoding = tiktoken.Encoding(
        "bytes", pat_str=r"[\s\S]", mergeable_ranks=ranks, special_tokens={}
    )
    monkeypatch.setattr(tiktoken, "get_encoding", {"bytes": encoding}.__getitem__)


def test_tokenizer_json_counts_as_its_library():
    tokenizer = tokenizers.load(LLAMA)
    assert tokenizer.count(["hello world", [1, 2, 3], "hello"]) == [2, 3, 1]
    assert tokenizer.decode([22172, 3186]) == "hello world"


@pytest.mark.parametrize("tokens", [[243], [10**6]], ids=["half a character", "unknown"])
def test_undecodable_tokens_raise(tokens):
    with pytest.raises(tokenizers.Undecodable):
        tokenizers.load(LLAMA).decode(tokens)


def test_a_tiktoken_encoding_counts_and_decodes(byte_encoding):
    tokenizer = tokenizers.load("bytes")
    assert tokenizer.count([*TEXTS, [1, 2]]) == [*(len(t.encode()) for t in TEXTS), 2]
    for text in TEXTS:
        assert tokenizer.decode(list(text.encode())) == text


@pytest.mark.parametrize("tokens", [[0xC3], [300]], ids=["half a character", "unknown"])
def test_undecodable_tiktoken_tokens_raise(byte_encoding, tokens):
    with pytest.raises(tokenizers.Undecodable):
        tokenizers.load("bytes").decode(tokens)


@pytest.fixture
def bert(tmp_path):
    """The path of a tokenizer of BERT's kind: it adds [CLS] and [SEP] to each text."""
    words = ["[UNK]", "[CLS]", "[SEP]", "hello", "world", "ing", "##ing", "#", "end", ","]
    special = words[:3]
    library = hugging_face.Tokenizer(
        hugging_face.models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    library.normalizer = hugging_face.normalizers.BertNormalizer()
    library.pre_tokenizer = hugging_face.pre_tokenizers.BertPreTokenizer()
    library.decoder = hugging_face.decoders.WordPiece()
    library.add_special_tokens(special)
    library.post_processor = hugging_face.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(word, words.index(word)) for word in special[1:]]
    )
    path = tmp_path / "tokenizer.json"
    library.save(str(path))
    return str(path)


CLS, SEP, HELLO, WORLD, ING, PART_ING, END = 1, 2, 3, 4, 5, 6, 8


def test_tokens_that_the_model_adds_itself_are_not_decoded(bert):
    tokenizer = tokenizers.load(bert)
    both = [HELLO, WORLD]
    for tokens in (both, [CLS, *both, SEP], [CLS, *both], [*both, SEP]):
        assert tokenizer.decode(tokens) == "hello world"
    assert tokenizer.decode([END, PART_ING, 9, HELLO]) == "ending, hello"


@pytest.mark.parametrize("tokens", [[CLS, HELLO, SEP, SEP], [HELLO, CLS, WORLD], [CLS, SEP]])
def test_further_special_tokens_are_undecodable(bert, tokens):
    """As where shorter lists of a client are padded."""
    with pytest.raises(tokenizers.Undecodable):
        tokenizers.load(bert).decode(tokens)


def test_the_rest_of_a_word_is_undecodable(bert):
    """It would be the text "##ing", whose tokens are "#", "#" and "ing"."""
    with pytest.raises(tokenizers.Undecodable):
        tokenizers.load(bert).decode([PART_ING, HELLO])
    with pytest.raises(tokenizers.Undecodable):
        tokenizers.load(bert).decode([PART_ING, *[HELLO] * 10_000])


def test_a_long_list_of_tokens_is_compared_at_its_beginning_only(bert, monkeypatch):
    tokenizer, sizes = tokenizers.load(bert), []
    monkeypatch.setattr(tokenizer, "_ids_of", lambda text: sizes.append(len(text)) or [])
    with contextlib.suppress(tokenizers.Undecodable):
        tokenizer.decode([HELLO] * 100_000)
    assert 0 < sum(sizes) < 5000


def test_tokens_are_undecodable_where_the_file_has_no_decoder(bert):
    """The library then writes the tokens with spaces between them: "end ##ing"."""
    library = hugging_face.Tokenizer.from_file(bert)
    library.decoder = None
    library.save(bert)
    assert tokenizers.load(bert).decode([HELLO, WORLD]) == "hello world"
    with pytest.raises(tokenizers.Undecodable):
        tokenizers.load(bert).decode([END, PART_ING])


@pytest.mark.parametrize("text", TEXTS)
def test_a_part_of_the_tokens_of_a_text_decodes_to_a_part_of_the_text(text):
    """Clients cut long texts. SentencePiece has other tokens for a part, but no other text."""
    library, tokenizer = hugging_face.Tokenizer.from_file(LLAMA), tokenizers.load(LLAMA)
    tokens = library.encode(text, add_special_tokens=False).ids
    for start in range(len(tokens)):
        with contextlib.suppress(tokenizers.Undecodable):  # half of a character
            assert tokenizer.decode(tokens[start:]).strip() in text


def test_special_tokens_of_tiktoken_are_undecodable(monkeypatch):
    """Their names are a text with other tokens."""
    ranks = {bytes([value]): value for value in range(256)}
    special = {"<|endoftext|>": 256}
    encoding = tiktoken.Encoding(
        "bytes", pat_str=r"[\s\S]", mergeable_ranks=ranks, special_tokens=special
    )
    monkeypatch.setattr(tiktoken, "get_encoding", {"bytes": encoding}.__getitem__)
    with pytest.raises(tokenizers.Undecodable):
        tokenizers.load("bytes").decode([*b"text", 256])


def models(tokenizer):
    made = settings()["MODELS"]
    return {**made, "embed": {**made["embed"], "tokenizer": tokenizer}}


def test_tokens_are_decoded_for_providers_that_take_text(monkeypatch, byte_encoding):
    provider = FakeProvider(tokens=False)
    client = app_with(monkeypatch, provider, MODELS=models("bytes"))
    answer = ask(client, input=[list(b"first"), list(b"second")])
    assert answer.status_code == 200
    assert provider.items == ["first", "second"]


def test_undecodable_tokens_are_a_400(monkeypatch, byte_encoding):
    client = app_with(monkeypatch, FakeProvider(tokens=False), MODELS=models("bytes"))
    error = error_of(ask(client, input=[0xC3]))
    assert (error.status, error.param) == (400, "input")


def test_tokens_without_tokenizer_are_refused_for_text_providers(monkeypatch):
    provider = FakeProvider(tokens=False)
    error = error_of(ask(app_with(monkeypatch, provider), input=[1, 2]))
    assert (error.status, error.param) == (400, "input")
    assert "only text" in error.message
    assert provider.calls == []


def test_tokenizer_counts_where_the_provider_does_not(monkeypatch, byte_encoding):
    provider = FakeProvider()
    provider.estimated = True
    answer = ask(app_with(monkeypatch, provider, MODELS=models("bytes")), input=["four", "fiver"])
    assert answer.json["usage"]["prompt_tokens"] == 9
    assert "x-proxy-usage" not in answer.headers


@pytest.mark.parametrize("name", ["no-such-encoding", LLAMA.replace("l2_", "no_")])
def test_missing_tokenizer_is_a_settings_error(monkeypatch, name):
    monkeypatch.setattr(tiktoken, "get_encoding", {}.__getitem__)
    with pytest.raises(config.SettingsError, match=r"MODELS\['embed'\]\['tokenizer'\]: "):
        app_with(monkeypatch, FakeProvider(), MODELS=models(name))


@pytest.mark.parametrize(
    "text", ["many words in a row " * 4000, "a" * 30_000], ids=["words", "one"]
)
def test_a_long_text_is_counted_as_its_library_does(text):
    tokenizer = tokenizers.load(LLAMA)
    whole = tokenizer._tokenizer.encode(text, add_special_tokens=False).ids
    assert len(text) > bounded.MAX_INLINE_SIZE
    assert bounded.BoundedTokenizer(tokenizer).count([text, [1, 2], "hello"]) == [len(whole), 2, 1]


def test_the_tokens_of_a_text_too_long_to_count_are_estimated():
    estimate = TokenEstimate(tokenizers.load(LLAMA))
    text = "a" * (bounded.MAX_COUNTED_SIZE + 1)
    assert estimate.expect([text]) == TokenEstimate().expect([text])
