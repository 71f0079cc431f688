"""Text encoder: unit vectors, the word vectors that come with the package, and that any encoder will do."""

import json
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lever_ray.errors import InvalidValue
from lever_ray.library.search.text import TextEncoder, WordLlamaEncoder

ROOT = Path(__file__).parents[2]


class WordBag:
    """An encoder without a model: a word has a random direction, a text the sum of its words'."""

    name, version, dimension = "word-bag", "1", 512

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.split():
                row += np.random.default_rng(zlib.crc32(word.encode())).standard_normal(self.dimension)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def run_python(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# The encoder.


@pytest.mark.parametrize("encoder", [WordLlamaEncoder(), WordBag()], ids=lambda encoder: encoder.name)
def test_an_encoder_gives_unit_rows_of_its_dimension(encoder: TextEncoder) -> None:
    assert isinstance(encoder, TextEncoder)
    vectors = encoder.encode(["gold", "Reach the exit as fast as possible.", "lava"])
    assert vectors.shape == (3, encoder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-6)
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_a_text_has_one_vector_whatever_it_is_encoded_with() -> None:
    encoder = WordLlamaEncoder()
    alone = encoder.encode(["gold"])[0]
    beside = encoder.encode(["a far longer text with a good many more tokens", "gold"])[1]
    np.testing.assert_array_equal(alone, beside)


def test_vectors_are_those_of_wordllama_to_the_last_bit() -> None:
    texts = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.strip()][:150]
    script = """
import json, sys
from pathlib import Path
import numpy as np, wordllama
model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, dim=256, disable_download=True)
vectors = model.embed(json.loads(sys.stdin.read()))
sys.stdout.write((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).tobytes().hex())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    assert WordLlamaEncoder().encode(texts).tobytes().hex() == done.stdout


def test_word_vectors_know_likeness() -> None:
    quick, fast, pizza = WordLlamaEncoder().encode(["quickly", "fast", "pizza"])
    assert quick @ fast > 0.5 > 0.3 > quick @ pizza


def test_encoders_of_one_model_are_equal_and_name_the_version_of_the_weights() -> None:
    assert WordLlamaEncoder() == WordLlamaEncoder()
    assert hash(WordLlamaEncoder()) == hash(WordLlamaEncoder())
    assert WordLlamaEncoder().version[0].isdigit()


def test_blank_texts_and_bare_strings_are_refused_by_the_encoder() -> None:
    with pytest.raises(InvalidValue, match=r"text 1 is blank \('  '\)"):
        WordLlamaEncoder().encode(["gold", "  "])
    with pytest.raises(InvalidValue, match=r"give a sequence of strings"):
        WordLlamaEncoder().encode("gold")


def test_the_encoder_opens_no_socket_and_leaves_logging_alone() -> None:
    script = """
import logging, socket
class Closed(socket.socket):
    def __init__(self, *args, **kwargs):
        raise AssertionError("a socket was opened")
socket.socket = Closed
from lever_ray.library.search.text import WordLlamaEncoder
print(WordLlamaEncoder().encode(["gold"]).shape, logging.getLogger().level, logging.getLogger().handlers)
"""
    assert run_python(script) == "(1, 256) 30 []"


def test_reading_a_query_loads_no_word_vectors() -> None:
    loaded = "'tokenizers' in sys.modules, 'safetensors' in sys.modules, 'lever_ray.library.search.text' in sys.modules"
    script = f"import sys; from lever_ray.query.parse import parse_query; parse_query('grab the gold'); print({loaded})"
    assert run_python(script) == "False False False"
