"""Hashes of the tokens of texts, straight from Arrow's string buffers.

Tokens, the same for English and Chinese and mixtures of both:
    a run of letters and digits of any alphabetic script is one token, ASCII letters in lower case;
    fullwidth letters, digits and signs count as their ASCII forms;
    every CJK ideograph, kana, emoji or other symbol is a token of its own, and so are `+ / = < ^ % $ & @`,
    without which "3 + 4" and "3 = 4" would be one text;
    whitespace and all other punctuation separate tokens and leave no trace.

A token's hash is over its folded UTF-8 bytes, 16 at a time (the last chunk has the 0 to 15 that are left).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from raysft.algorithms.compiled import njit

# multipliers of splitmix64's finaliser (Steele, Lea & Flood 2014)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)
# of a token's chunks: further digits of pi, the last one set
FIRST_PRIME = np.uint64(0x13198A2E03707345)
LAST_PRIME = np.uint64(0xA4093822299F31D1)

# the same byte eight times, for arithmetic on eight characters at once
SIGN_BITS = np.uint64(0x8080808080808080)
CASE_BITS = np.uint64(0x2020202020202020)  # eight blanks, too
# added to a byte below 128, these set its highest bit from "a", "{", "0" and ":" on
FROM_A = np.uint64(0x1F1F1F1F1F1F1F1F)
PAST_Z = np.uint64(0x0505050505050505)
FROM_0 = np.uint64(0x5050505050505050)
PAST_9 = np.uint64(0x4646464646464646)
# times eight bytes of 0 or 1, the highest byte has them as bits
BITS_OF_BYTES = np.uint64(0x0102040810204080)
# a de Bruijn sequence: times 1 << k, the highest six bits are different for each k
DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
BIT_NUMBERS = np.zeros(64, np.int64)
BIT_NUMBERS[(DE_BRUIJN << np.arange(64, dtype=np.uint64)) >> np.uint64(58)] = np.arange(64)

BLOCK = 64  # bytes of text that are looked at together, a bit for each
CHUNK = 16  # bytes of a token that are hashed together
# of a chunk of which 0 to 15 bytes count: those bytes of its first eight and of its last eight
FIRST_EIGHT = np.array([(1 << 8 * min(n, 8)) - 1 for n in range(CHUNK)], np.uint64)
LAST_EIGHT = np.array([(1 << 8 * max(n - 8, 0)) - 1 for n in range(CHUNK)], np.uint64)

SEPARATOR, WORD, SINGLE, CJK = 0, 1, 2, 3


def string_buffers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(data uint8, offsets int64 [n + 1]) of a string array without nulls; the bytes are not copied.

    Raises:
        ValueError: there are nulls, which have no text.
    """
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} texts are null")
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, offsets, data = texts.buffers()
    nothing = np.frombuffer(b"", np.uint8)
    if offsets is None or len(texts) == 0:
        return nothing, np.zeros(len(texts) + 1, np.int64)
    starts = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1]
    raw = np.frombuffer(data, np.uint8) if data is not None and data.size else nothing
    raw.flags.writeable = False  # always, so that kernels are compiled once
    return raw, starts.astype(np.int64)


@njit(cache=True, nogil=True)
def mix64(x: np.uint64) -> np.uint64:
    """A bijection of 64-bit integers in which every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * MIX_1
    x = (x ^ (x >> np.uint64(27))) * MIX_2
    return x ^ (x >> np.uint64(31))


@njit(cache=True, nogil=True)
def _decode(data: np.ndarray, at: int, end: int) -> tuple[int, int]:
    """(code point, bytes it takes) of valid UTF-8; Arrow strings are always valid."""
    first = int(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        size, point = 2, first & 0x1F
    elif first < 0xF0:
        size, point = 3, first & 0x0F
    else:
        size, point = 4, first & 0x07
    for i in range(at + 1, min(at + size, end)):
        point = (point << 6) | (int(data[i]) & 0x3F)
    return point, size


@njit(cache=True, nogil=True)
def _classify_ascii(point: int) -> int:
    if 48 <= point <= 57 or 97 <= point <= 122 or 65 <= point <= 90:
        return WORD
    # + / = < ^ % $ & @; the rest of ASCII's signs mark up text far more often than they carry meaning
    if point in (43, 47, 61, 60, 94, 37, 36, 38, 64):
        return SINGLE
    return SEPARATOR


@njit(cache=True, nogil=True)
def _classify(point: int) -> int:
    """SEPARATOR, WORD, SINGLE or CJK, by Unicode block."""
    if point < 0x80:
        return _classify_ascii(point)
    if point < 0xC0:
        # of Latin-1's signs, ordinals and micro are letters; currency, degree and ± carry meaning
        if point in (0xAA, 0xB5, 0xBA):
            return WORD
        return SINGLE if 0xA2 <= point <= 0xA5 or point in (0xB0, 0xB1) else SEPARATOR
    if point in (0xD7, 0xF7):
        return SINGLE
    if 0x2000 <= point < 0x2070 or point in (0x3000, 0xFEFF):
        return SEPARATOR
    if 0x3001 <= point < 0x3040:
        return CJK if point in (0x3005, 0x3007) else SEPARATOR
    # symbols: superscripts to dingbats, CJK strokes excluded
    if 0x20A0 <= point < 0x20D0 or 0x2100 <= point < 0x2C00:
        return SINGLE
    if 0x2E80 <= point < 0x3001 or 0x3040 <= point < 0xA4D0 or 0xF900 <= point < 0xFB00:
        return CJK
    if 0xFE00 <= point < 0xFE70 or 0xFF61 <= point < 0xFF66:
        return SEPARATOR
    if 0xFF66 <= point < 0xFFA0 or 0x20000 <= point < 0x40000:
        return CJK
    return SINGLE if 0x1F000 <= point < 0x20000 else WORD


@njit(cache=True, nogil=True)
def _fold(point: int) -> int:
    """Fullwidth forms as ASCII, ASCII capitals as small letters, all else as it is."""
    if 0xFF01 <= point <= 0xFF5E:
        point -= 0xFEE0
    return point + 32 if 65 <= point <= 90 else point


@njit(cache=True, nogil=True)
def _eight_bytes(data: np.ndarray, at: np.uint64) -> np.uint64:
    """data[at:at + 8] as one number, the first byte lowest; the compiler makes one load of it."""
    number = np.uint64(data[at])
    for i in range(1, 8):
        number |= np.uint64(data[at + np.uint64(i)]) << np.uint64(8 * i)
    return number


@njit(cache=True, nogil=True)
def _mark(eights: np.ndarray, others: np.ndarray, specials: np.ndarray) -> None:
    """Writes for each eight bytes of text a byte whose bits say which of them are no ASCII letters or digits,
    and one that says which are no blanks either."""
    for i in range(len(eights)):
        plain = eights[i] & ~SIGN_BITS
        lower = plain | CASE_BITS
        is_letter = (lower + FROM_A) & ~(lower + PAST_Z)
        is_digit = (plain + FROM_0) & ~(plain + PAST_9)
        is_other = (~(is_letter | is_digit) | eights[i]) & SIGN_BITS
        # plus 127 a byte has its highest bit unless it is 0, which a blank is after the exclusive or
        is_special = (((plain ^ CASE_BITS) + ~SIGN_BITS) | eights[i]) & is_other
        others[i] = ((is_other >> np.uint64(7)) * BITS_OF_BYTES) >> np.uint64(56)
        specials[i] = ((is_special >> np.uint64(7)) * BITS_OF_BYTES) >> np.uint64(56)


@njit(cache=True, nogil=True)
def _from_bit(mask: np.uint64, first: int) -> np.uint64:
    """The mask without its bits below `first`."""
    if first <= 0:
        return mask
    return (mask >> np.uint64(first)) << np.uint64(first) if first < BLOCK else np.uint64(0)


@njit(cache=True, nogil=True)
def _masks_until(others: np.uint64, specials: np.uint64, end: int) -> tuple[np.uint64, np.uint64]:
    """A block's masks where the text ends at bit `end`: with a blank there, and nothing behind it."""
    if end >= BLOCK:
        return others, specials
    end_bit = np.uint64(1) << np.uint64(end)
    return (others & (end_bit - np.uint64(1))) | end_bit, specials & (end_bit - np.uint64(1))


@njit(cache=True, nogil=True)
def _hash_chunk(state: np.uint64, first: np.uint64, last: np.uint64) -> np.uint64:
    """A hash of the up to 16 bytes behind `state`; no two tokens of up to 8 bytes have the same."""
    spread = (state ^ first) * FIRST_PRIME + last * LAST_PRIME
    return spread ^ (spread >> np.uint64(32))


@njit(cache=True, nogil=True)
def _hash_word(data: np.ndarray, at: int, stop: int) -> np.uint64:
    """The hash of ASCII letters and digits, data[at:stop]; 16 bytes behind them must be readable."""
    state = np.uint64(0)
    while stop - at >= CHUNK:
        last = _eight_bytes(data, np.uint64(at + 8)) | CASE_BITS
        state = mix64(_hash_chunk(state, _eight_bytes(data, np.uint64(at)) | CASE_BITS, last))
        at += CHUNK
    size = np.uint64(stop - at)
    first = (_eight_bytes(data, np.uint64(at)) | CASE_BITS) & FIRST_EIGHT[size]
    last = (_eight_bytes(data, np.uint64(at + 8)) | CASE_BITS) & LAST_EIGHT[size]
    return _hash_chunk(state, first, last)


@njit(cache=True, nogil=True)
def _read_token(data: np.ndarray, at: int, end: int) -> tuple[int, np.uint64, int]:
    """Read the token or the separator at data[at], character by character.

    Returns:
        where to read on, the token's hash, and its class
    """
    state, first, last = np.uint64(0), np.uint64(0), np.uint64(0)
    size = 0
    while at < end:
        point, width = _decode(data, at, end)
        folded = _fold(point)
        kind = _classify(folded)
        if kind != WORD and size:
            break
        for i in range(at, at + (1 if folded < 0x80 else width)):
            byte = np.uint64(folded) if folded < 0x80 else np.uint64(data[i])
            if size % CHUNK < 8:
                first |= byte << np.uint64(8 * (size % 8))
            else:
                last |= byte << np.uint64(8 * (size % 8))
            size += 1
            if size % CHUNK == 0:
                state, first, last = mix64(_hash_chunk(state, first, last)), np.uint64(0), np.uint64(0)
        at += width
        if kind != WORD:
            return at, _hash_chunk(state, first, last), kind
    return at, _hash_chunk(state, first, last), WORD


# inlined, which makes it a third faster
@njit(cache=True, nogil=True, forceinline=True)
def read_tokens(
    data: np.ndarray, start: int, end: int, masks: np.ndarray, hashes: np.ndarray, is_cjk: np.ndarray
) -> tuple[int, int]:
    """Writes the tokens of data[start:end]; returns how many there are, and how many are CJK.

    Args:
        masks: uint64 [2, blocks of the text + 1], to work with
        hashes: uint64 [bytes of the text + 1]
        is_cjk: bool [bytes of the text + 1], all False; set where a token is CJK
    """
    # whole blocks with a chunk behind them; what is left at the very end of the data is read by characters
    blocks = max(0, min((end - start) // BLOCK + 1, (len(data) - start - CHUNK) // BLOCK))
    # not aligned, which neither x86-64 nor AArch64 minds
    eights = data[start : start + BLOCK * blocks].view(np.uint64)
    _mark(eights, masks[0].view(np.uint8), masks[1].view(np.uint8))
    count, count_cjk, word = 0, 0, start
    for block in range(blocks):
        at = start + BLOCK * block
        others, specials = _masks_until(masks[0, block], masks[1, block], end - at)
        while True:
            others, specials = _from_bit(others, word - at), _from_bit(specials, word - at)
            special = specials & (~specials + np.uint64(1))
            blanks = others & (special - np.uint64(1))
            while blanks:  # words up to the first special character
                lowest = blanks & (~blanks + np.uint64(1))
                blanks ^= lowest
                stop = at + BIT_NUMBERS[(lowest * DE_BRUIJN) >> np.uint64(58)]
                hashes[np.uint64(count)] = _hash_word(data, word, stop)
                count += stop > word
                word = stop + 1
            if not special:
                break
            stop = at + BIT_NUMBERS[(special * DE_BRUIJN) >> np.uint64(58)]
            if data[stop] < 0x80 and stop > word:
                hashes[count] = _hash_word(data, word, stop)
                count += 1
                word = stop
            word, hashes[count], kind = _read_token(data, word, end)
            is_cjk[count] = kind == CJK
            count += kind != SEPARATOR
            count_cjk += kind == CJK
    while word < end:
        word, hashes[count], kind = _read_token(data, word, end)
        is_cjk[count] = kind == CJK
        count += kind != SEPARATOR
        count_cjk += kind == CJK
    return count, count_cjk


@njit(cache=True, nogil=True)
def token_hashes(data: np.ndarray, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """(uint64 hashes, whether each is CJK) of the tokens of data[start:end]."""
    masks = np.empty((2, (end - start) // BLOCK + 1), np.uint64)
    hashes = np.empty(end - start + 1, np.uint64)
    is_cjk = np.zeros(end - start + 1, np.bool_)
    count, _ = read_tokens(data, start, end, masks, hashes, is_cjk)
    return hashes[:count], is_cjk[:count]
