"""Where a network starts: as what the token vectors compute, inside the prompts that it will read.

Started at random, a network this small stays at chance for longer than it can be trained (LAB.md).
So the first weights are written by hand. The first block notes at each token whether `Query` or
`<Document` stands before it. The last block reads at the last token: in the embedder the mean of the
text's token vectors, projected, with the instruction left out; in the reranker that of the query and
that of the document, and its feed-forward layer multiplies the two, which makes their cosine the
answer. Every other branch starts at zero and opens as training finds use for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from lingxi import prompts
from lingxi.errors import InputError
from lingxi.model.decoder import Attention, Block, Decoder
from lingxi.model.sizes import Size
from lingxi.model.tokens import Tokens
from lingxi.train.lexicon import REACH, RESERVED, Lexicon

# The reserved components, counted from the end of a token's vector: always one; one at a mark of the
# template; one after it; the answer; the token's weight as an angle, so that its key has one length.
_ONE, _QUERY_MARK, _DOCUMENT_MARK, _IN_QUERY, _IN_DOCUMENT, _ANSWER, _SINE, _COSINE = range(-RESERVED, 0)
# Attention logits of what is looked for, and of the rest below zero: exp(2 · 9) apart.
_SHARPNESS = 9.0
# Queries are this much longer where they ask for a mark and a weight at once, of keys √2 long.
_LENGTH = math.hypot(_SHARPNESS, REACH) * math.sqrt(2)
# Queries and keys that are not set begin with a little noise: two zeros would have no gradient.
_NOISE = 1e-3
# The pooled vectors against the last token's own, which is the same for every text.
_LOUDNESS = 32.0
# The answer's logit is about this much of the cosine; the state beside it is nearly muted.
_STEEPNESS, _MUTED = 1.0, 0.02


@dataclass(frozen=True, slots=True)
class Marks:
    """Ids that the templates are built of: what stands before queries and documents, and what is silent."""

    query: frozenset[int]
    document: frozenset[int]
    silent: frozenset[int]


def read_marks(tokens: Tokens) -> Marks:
    """Find the marks of the templates; raises InputError where the tokenizer does not keep them apart."""
    query = {tokens.prompt("\nQuery")[-1], tokens.prompt("<Query")[-1]}
    document = {tokens.prompt("<Document")[-1]}
    before = {*tokens.prompt(prompts.RERANK_PREFIX), *tokens.prompt(prompts.query_prefix())[:-2]}
    if (query | document) & before or query & document:
        raise InputError(
            "the tokenizer writes `Query` and `<Document` with tokens that stand elsewhere in the prompt",
            "train it with a larger train.tokenizer.vocab",
        )
    between = "\nQuery:", "\n<Query>: ", "\n<Document>: ", prompts.RERANK_SUFFIX
    frame = {i for text in between for i in tokens.prompt(text)}
    return Marks(frozenset(query), frozenset(document), frozenset(frame | set(tokens.specials.values())))


def check_size(size: Size) -> None:
    """Raise InputError for a shape that cannot start from token vectors."""
    halves = size.heads % 2 == 0 and size.kv_heads == size.heads
    if not halves or size.heads * size.head_dim != size.hidden or size.layers < 2:
        raise InputError(
            f"a network {size.hidden} wide with {size.layers} layers and {size.heads} heads"
            f" ({size.kv_heads} for keys) of {size.head_dim} cannot start as an average of token vectors",
            "choose a width in steps of two heads, as many key–value heads as heads, and two layers or more",
        )


@torch.no_grad()
def as_embedder(lexicon: Lexicon, marks: Marks) -> Decoder:
    """A decoder that gives a text the lexicon's vector, with or without an instruction before it."""
    decoder, first, last = _opened(lexicon, marks)
    _note(first, 0, _QUERY_MARK, _IN_QUERY, _loudness_of(decoder, marks.query))
    heads = range(lexicon.size.heads)
    # Documents have no mark: all keys have it alike, and the mean is that of the whole text.
    _weigh(last, heads, {_ONE: -1.0, _IN_QUERY: 2.0})
    _carry(last, lexicon.projection.weight)
    last.o_proj.weight.copy_(_LOUDNESS * torch.eye(lexicon.size.hidden))
    return decoder


@torch.no_grad()
def as_reranker(lexicon: Lexicon, marks: Marks, tokens: Tokens) -> Decoder:
    """A decoder whose answer follows the cosine of the lexicon's vectors of the query and the document."""
    decoder, first, last = _opened(lexicon, marks)
    _note(first, 0, _QUERY_MARK, _IN_QUERY, _loudness_of(decoder, marks.query))
    _note(first, 1, _DOCUMENT_MARK, _IN_DOCUMENT, _loudness_of(decoder, marks.document))
    half = lexicon.size.heads // 2
    _weigh(last, range(half), {_ONE: -1.0, _IN_QUERY: 2.0, _IN_DOCUMENT: -4.0})
    _weigh(last, range(half, 2 * half), {_ONE: -1.0, _IN_DOCUMENT: 2.0})
    middle = lexicon.size.hidden // 2
    leading = lexicon.projection.weight[:middle]
    _carry(last, torch.cat((leading, leading)))
    # The leading components of both, side by side below the reserved ones.
    width = middle - RESERVED
    for side in (0, 1):
        rows = torch.arange(width)
        last.o_proj.weight[side * width + rows, side * middle + rows] = _LOUDNESS
    _multiply(decoder, width)
    decoder.embed_tokens.weight[tokens.answer("yes"), _ANSWER] = 0.5
    decoder.embed_tokens.weight[tokens.answer("no"), _ANSWER] = -0.5
    decoder.norm.weight.fill_(_MUTED)
    decoder.norm.weight[_ANSWER] = 1.0
    return decoder


def _opened(lexicon: Lexicon, marks: Marks) -> tuple[Decoder, Attention, Attention]:
    """A decoder with the lexicon's token vectors and every branch at zero; its first and last attention."""
    check_size(lexicon.size)
    decoder = Decoder(lexicon.size)
    vectors = decoder.embed_tokens.weight
    vectors.zero_()
    ids = torch.arange(lexicon.size.vocab)
    vectors[:, :-RESERVED] = lexicon.heard(ids)
    vectors[:, _ONE] = 1.0
    vectors[:, _SINE] = lexicon.sines(ids)
    vectors[:, _COSINE] = torch.sqrt(1 - vectors[:, _SINE] ** 2)
    vectors[sorted(marks.query), _QUERY_MARK] = 1.0
    vectors[sorted(marks.document), _DOCUMENT_MARK] = 1.0
    blocks = [layer for layer in decoder.layers if isinstance(layer, Block)]
    for block in blocks:
        _close(block)
    first, last = blocks[0].self_attn, blocks[-1].self_attn
    for attention in (first, last):
        attention.q_norm.weight.fill_(_SHARPNESS / lexicon.size.head_dim**0.5)
        nn.init.normal_(attention.q_proj.weight, std=_NOISE)
        nn.init.normal_(attention.k_proj.weight, std=_NOISE)
    return decoder, first, last


def _close(block: Block) -> None:
    attention = block.self_attn
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        nn.init.eye_(projection.weight)
    # Small query norms make the attention nearly uniform; equal tokens still draw each other a little.
    attention.q_norm.weight.fill_(0.1)
    nn.init.zeros_(attention.o_proj.weight)
    nn.init.zeros_(block.mlp.down_proj.weight)


def _loudness_of(decoder: Decoder, ids: frozenset[int]) -> float:
    """The root mean square of marks' vectors, by which the norm before attention divides them."""
    vectors = decoder.embed_tokens.weight[sorted(ids)]
    return float(vectors.square().mean().sqrt())


def _note(attention: Attention, head: int, mark: int, after: int, loudness: float) -> None:
    """One head finds `mark` among the tokens so far and writes 1 to the component `after` where it is.

    Exactly 1, since keys are made of it: what is louder would drown the weights of the tokens.
    """
    _look_for(attention, (head,), {_ONE: -1.0, mark: 2.0})
    row = head * attention.head_dim
    attention.v_proj.weight[row] = 0.0
    attention.v_proj.weight[row, mark] = loudness
    attention.o_proj.weight[after, row] = 1.0


def _look_for(attention: Attention, heads: range | tuple[int, ...], key: dict[int, float]) -> None:
    """Heads attend where the sum of components times the key's factors is positive, evenly among those."""
    for head in heads:
        # The slowest rotary pair hardly turns within the longest text, so it knows no distance.
        slot = head * attention.head_dim + attention.head_dim // 2 - 1
        attention.q_proj.weight[slot, _ONE] = 1.0
        for component, factor in key.items():
            attention.k_proj.weight[slot, component] = factor


def _weigh(attention: Attention, heads: range, key: dict[int, float]) -> None:
    """Heads attend where the sum is positive (it must be 1 or −1 there), each token by its weight.

    A key is (sum, sine, cosine) of one length, so its norm leaves the weight alone; logits are
    SHARPNESS · sum + REACH · sine.
    """
    _look_for(attention, heads, key)
    attention.q_norm.weight.fill_(_LENGTH / attention.head_dim**0.5)
    for head in heads:
        slot = head * attention.head_dim + attention.head_dim // 2 - 1
        # The next slowest pairs turn by less than a fifth of a right angle in 8,192 tokens.
        attention.q_proj.weight[slot - 1, _ONE] = REACH / _SHARPNESS
        attention.k_proj.weight[slot - 1, _SINE] = 1.0
        attention.k_proj.weight[slot - 2, _COSINE] = 1.0


def _carry(attention: Attention, projection: torch.Tensor) -> None:
    """Values are the projected token vectors."""
    attention.v_proj.weight.zero_()
    attention.v_proj.weight[:, :-RESERVED] = projection


def _multiply(decoder: Decoder, width: int) -> None:
    """The last feed-forward layer sums a·b over two stretches of components: b·silu(a) − b·silu(−a) = b·a."""
    block = decoder.layers[-1]
    assert isinstance(block, Block)
    gate, up, down = (p.weight for p in (block.mlp.gate_proj, block.mlp.up_proj, block.mlp.down_proj))
    rows = torch.arange(width)
    for start, sign in ((0, 1.0), (width, -1.0)):
        gate[start + rows] = 0.0
        up[start + rows] = 0.0
        gate[start + rows, rows] = sign
        up[start + rows, width + rows] = sign
        down[_ANSWER, start + rows] = _STEEPNESS


def fresh_decoder(size: Size, seed: int) -> Decoder:
    """A decoder that has learnt nothing, which is what the language-model phase begins with.

    Matrices are N(0, 0.02), those that are added to the residual smaller by √(2 · layers): the scheme of
    GPT-2 (Radford et al. 2019, section 2.3), with Qwen3's `initializer_range`.
    """
    decoder = Decoder(size)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in decoder.named_parameters():
        if parameter.dim() == 2:
            added = name.endswith(("o_proj.weight", "down_proj.weight"))
            deviation = 0.02 / math.sqrt(2 * size.layers) if added else 0.02
            torch.nn.init.normal_(parameter, std=deviation, generator=generator)
    return decoder
