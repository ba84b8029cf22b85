"""Where a network starts: as what the token vectors compute, inside the prompts that it will read.

Started at random, a network this small stays at chance for longer than it can be trained (LAB.md).
So the first weights are written by hand. The first block notes at each token whether `Query` or
`<Document` stands before it. The last block reads at the last token: in the embedder the weighted mean of
the text's token vectors, projected, with the instruction left out. In the reranker the block before it finds
for each token of the document the nearest one of the query, and the last reads three means: of the query, of
the document, and of what matches in it; its feed-forward layer multiplies the first with the others. Every
other branch starts at zero and opens as training finds use for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
# The first block alone reads the mark of the query; after it, this says how near the query a token is.
_MATCH = _QUERY_MARK
# Attention logits between equal tokens; how far those of the query stand out, in components of a token.
_NEARNESS, _APART = 30.0, 3.0
# Rotary pairs of a head that turn by less than a quarter radian in 300 tokens (at a base of 1e5).
_STILL = 12
# Attention logits of a match, where documents are pooled by what matches.
_FOCUS, _SLIGHT = 16.0, 0.2
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


def check_size(size: Size, *, judge: bool = False) -> None:
    """Raise InputError for a shape that cannot start from token vectors, or (`judge`) not as a reranker."""
    alike = size.kv_heads == size.heads and size.heads * size.head_dim == size.hidden
    if not alike or size.layers < 2:
        raise InputError(
            f"a network {size.hidden} wide with {size.layers} layers and {size.heads} heads"
            f" ({size.kv_heads} for keys) of {size.head_dim} cannot start as an average of token vectors",
            "choose a width in steps of heads, as many key–value heads as heads, and two layers or more",
        )
    if judge and (size.layers < 3 or size.heads % 3 or size.head_dim < 2 * (_STILL + 1)):
        raise InputError(
            f"a network of {size.layers} layers and {size.heads} heads of {size.head_dim} cannot start as a "
            "reranker of token vectors",
            "choose three layers or more and a multiple of three heads (a width in steps of 192), or name a "
            "model as train.reranker.start",
        )


@torch.no_grad()
def as_embedder(lexicon: Lexicon, marks: Marks) -> Decoder:
    """A decoder that gives a text the lexicon's vector, with or without an instruction before it."""
    decoder, last = _opened(lexicon, marks)
    _note(decoder, 0, _QUERY_MARK, _IN_QUERY)
    heads = range(lexicon.size.heads)
    # Documents have no mark: all keys have it alike, and the mean is that of the whole text.
    _weigh(last, heads, {_ONE: -1.0, _IN_QUERY: 2.0})
    _carry(last, lexicon.projection.weight)
    last.o_proj.weight.copy_(_LOUDNESS * torch.eye(lexicon.size.hidden))
    return decoder


@torch.no_grad()
def as_reranker(lexicon: Lexicon, marks: Marks, tokens: Tokens) -> Decoder:
    """A decoder that answers by two cosines of lexicon vectors: of query and document, and of what matches.

    The second pools the document by how near each of its tokens is to a token of the query, a late
    interaction (ColBERT, arXiv 2004.12832) that a causal network can compute: the query stands first.
    """
    check_size(lexicon.size, judge=True)
    decoder, last = _opened(lexicon, marks)
    _shorten(decoder, lexicon)
    _note(decoder, 0, _QUERY_MARK, _IN_QUERY)
    _note(decoder, 1, _DOCUMENT_MARK, _IN_DOCUMENT)
    middle = decoder.layers[-2]
    assert isinstance(middle, Block)
    width = _matched_width(lexicon.size)
    _match(middle, width)
    third = lexicon.size.heads // 3
    query = {_ONE: -1.0, _IN_QUERY: 2.0, _IN_DOCUMENT: -4.0}
    document = {_ONE: -1.0, _IN_DOCUMENT: 2.0}
    _weigh(last, range(third), query)
    _weigh(last, range(third, 2 * third), document)
    _weigh(last, range(2 * third, 3 * third), document)
    _look_at_matches(last, range(2 * third, 3 * third))
    _carry_side_by_side(last, third * lexicon.size.head_dim, width)
    _multiply(decoder, third * lexicon.size.head_dim)
    decoder.embed_tokens.weight[tokens.answer("yes"), _ANSWER] = 0.5
    decoder.embed_tokens.weight[tokens.answer("no"), _ANSWER] = -0.5
    decoder.norm.weight.fill_(_MUTED)
    decoder.norm.weight[_ANSWER] = 1.0
    return decoder


def _matched_width(size: Size) -> int:
    """Components of a token's own vector; as many stand beside it for the one that it matches."""
    return (size.hidden - RESERVED) // 2


def _shorten(decoder: Decoder, lexicon: Lexicon) -> None:
    """Token vectors become their leading components, projected; what their length said, weights say."""
    width = _matched_width(lexicon.size)
    ids = torch.arange(lexicon.size.vocab)
    leading = lexicon.heard(ids) @ lexicon.projection.weight[:width].T
    lengths = leading.norm(dim=1, keepdim=True)
    vectors = decoder.embed_tokens.weight
    vectors[:, :-RESERVED] = 0.0
    vectors[:, :width] = leading / lengths.clamp(min=1e-6) * width**0.5
    heard = lengths[:, 0] > 0
    logs = REACH * lexicon.sines(ids) + torch.where(heard, lengths[:, 0].clamp(min=1e-6).log(), 0.0)
    sines = ((logs - logs[heard].mean()) / REACH).clamp(-0.999, 0.999)
    vectors[:, _SINE] = sines
    vectors[:, _COSINE] = torch.sqrt(1 - sines**2)


def _match(block: Block, width: int) -> None:
    """Each token finds the nearest token of the query, and writes how near it is to `_MATCH`.

    Every head compares the leading components, at the rotary pairs that turn least, and carries a part of the
    vector found to the right of the token's own; the feed-forward layer sums their products.
    """
    attention = block.self_attn
    heads, half = attention.heads, attention.head_dim // 2
    attention.q_norm.weight.fill_(_NEARNESS / attention.head_dim**0.5)
    attention.v_proj.weight.zero_()
    still = [place + side for side in (0, half) for place in range(half - _STILL, half - 1)]
    for head in range(heads):
        start = head * attention.head_dim
        mark = start + half - 1
        attention.q_proj.weight[mark, _ONE] = _APART
        for component, factor in {_ONE: -1.0, _IN_QUERY: 2.0, _IN_DOCUMENT: -4.0}.items():
            attention.k_proj.weight[mark, component] = _APART * factor
        # All heads compare the same leading components, so that what they carry is of one token.
        compared = torch.arange(min(width, len(still)))
        rows = start + torch.tensor(still)[: len(compared)]
        attention.q_proj.weight[rows, compared] = 1.0
        attention.k_proj.weight[rows, compared] = 1.0
        carried = torch.arange(head, width, heads)
        places = start + torch.arange(len(carried))
        attention.v_proj.weight[places, carried] = 1.0
        attention.o_proj.weight[width + carried, places] = 1.0
    pairs = [(i, width + i, 1.0 / width) for i in range(width)]
    _sum_products(block, pairs, _MATCH)


def _look_at_matches(attention: Attention, heads: range) -> None:
    """Heads attend the more to a token, the nearer it is to one of the query.

    Small in query and key, so that their lengths stay, and made large by the norm's factor.
    """
    slot = attention.head_dim // 2 - 1
    for head in heads:
        row = head * attention.head_dim + slot - 3
        # Without the noise, which the factor would make loud.
        attention.q_proj.weight[row] = 0.0
        attention.k_proj.weight[row] = 0.0
        attention.q_proj.weight[row, _ONE] = _SLIGHT
        attention.k_proj.weight[row, _MATCH] = _SLIGHT
    query = math.hypot(1.0, REACH / _SHARPNESS)
    attention.q_norm.weight[slot - 3] = _FOCUS * query * math.sqrt(2) / (attention.head_dim**0.5 * _SLIGHT**2)


def _carry_side_by_side(attention: Attention, width: int, own: int) -> None:
    """Three thirds of the heads carry the leading components of the tokens' own vectors, side by side."""
    attention.v_proj.weight.zero_()
    count = min(width, own)
    places = torch.arange(count)
    for third in range(3):
        attention.v_proj.weight[third * width + places, places] = 1.0
    rows = torch.arange(attention.o_proj.weight.shape[0] - RESERVED)
    attention.o_proj.weight[rows, rows] = _LOUDNESS


def _opened(lexicon: Lexicon, marks: Marks) -> tuple[Decoder, Attention]:
    """A decoder with the lexicon's token vectors and every branch at zero; its last attention."""
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
    return decoder, last


def _close(block: Block) -> None:
    attention = block.self_attn
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        nn.init.eye_(projection.weight)
    # Small query norms make the attention nearly uniform; equal tokens still draw each other a little.
    attention.q_norm.weight.fill_(0.1)
    nn.init.zeros_(attention.o_proj.weight)
    nn.init.zeros_(block.mlp.down_proj.weight)


def _note(decoder: Decoder, head: int, mark: int, after: int) -> None:
    """One head of the first block finds `mark` among the tokens so far and writes 1 to `after`."""
    block = decoder.layers[0]
    assert isinstance(block, Block)
    attention = block.self_attn
    _look_for(attention, (head,), {_ONE: -1.0, mark: 2.0})
    row = head * attention.head_dim
    attention.v_proj.weight[row] = 0.0
    attention.v_proj.weight[row, mark] = 1.0
    # The norm before the block makes much of a mark, whose vector has few components; this is undone.
    vectors = decoder.embed_tokens.weight
    marked = vectors[vectors[:, mark] == 1.0]
    attention.o_proj.weight[after, row] = (marked**2).mean().sqrt()


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
    """The answer is the sum of the products of the query with the document and with what of it matches."""
    block = decoder.layers[-1]
    assert isinstance(block, Block)
    room = decoder.size.hidden - RESERVED
    pairs = [
        (i, part * width + i, _STEEPNESS) for part in (1, 2) for i in range(width) if part * width + i < room
    ]
    _sum_products(block, pairs, _ANSWER)


def _sum_products(block: Block, pairs: Sequence[tuple[int, int, float]], out: int) -> None:
    """The feed-forward layer writes Σ factor · a · b over pairs: b·silu(a) − b·silu(−a) = b·a."""
    gate, up, down = (p.weight for p in (block.mlp.gate_proj, block.mlp.up_proj, block.mlp.down_proj))
    # What does not fit is left out: the leading components say most.
    for number, (a, b, factor) in enumerate(pairs[: gate.shape[0] // 2]):
        for row, sign in ((2 * number, 1.0), (2 * number + 1, -1.0)):
            gate[row] = 0.0
            up[row] = 0.0
            gate[row, a] = sign
            up[row, b] = sign
            down[out, row] = factor


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
