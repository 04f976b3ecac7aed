"""Keys of MinHash bands: texts that share most of their shingles have some key in common.

Broder 1997, "On the resemblance and containment of documents": the smallest value of a set of shingles
under a random permutation is that of another set with probability J, their Jaccard similarity. Banding
(Indyk & Motwani 1998) takes `rows` such minima together: with b bands of r rows two texts share a band with
probability 1 - (1 - J^r)^b, which turns steep about J = (1/b)^(1/r).

Keys have 64 bits, as shingle hashes have (raysft.algorithms.shingles). Among the 1.6 billion keys of 100
million texts, 0.07 pairs are expected to be equal by chance; with 32 bits each text would meet 6 strangers.
In between, minima of 32 bits will do. A permutation maps the halves of a hash, low and high, to
low × m + high modulo 2^32, with an odd m of its own. Two shingles that meet under one permutation (about
1 chance in 2^31) stay apart under the others, and two sets of n shingles have equal minima of different
shingles with a chance of about n / 2^32. Vectors hold twice as many numbers of 32 bits as of 64, and AVX2 has
no multiplication of the latter.
`make bench NAME=minhash_recall` measures that pairs are found as often as the formula says.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from llvmlite import ir

from raysft.algorithms.compiled import cgutils, intrinsic, njit, types
from raysft.algorithms.shingles import SHINGLE_PRIME, shingle_hashes, working_memory
from raysft.algorithms.token_hashes import mix64, string_buffers

# of the integrals in `bands_for`: at most a thousandth of a similarity apart
POINTS = 1001
LANES = 16  # numbers of 32 bits in a vector of AVX-512


def multipliers(num_perm: int, seed: int) -> np.ndarray:
    """uint32 [num_perm]: odd, drawn from `seed`."""
    drawn = np.random.Generator(np.random.PCG64(seed)).integers(0, 1 << 32, num_perm, np.uint32)
    return drawn | np.uint32(1)


def band_keys(
    texts: pa.Array, *, bands: int, rows: int, n: int, n_cjk: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The band keys of strings without nulls, `bands` of `rows` permutations each.

    Args:
        n, n_cjk: tokens of a shingle, see raysft.algorithms.shingles
        seed: of the permutations

    Returns:
        uint64 [texts, bands]: a hash of each band's minima and its number; 0 for a text without shingles
        int32 [texts]: number of shingles, repeats included; 0 for a text without any token
    """
    data, offsets = string_buffers(texts)
    return _band_keys(data, offsets, multipliers(bands * rows, seed), bands, n, n_cjk)


def share_band(similarity: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """float64: the probability that two texts of this Jaccard similarity have a key in common."""
    return 1 - (1 - similarity**rows) ** bands


@cache
def bands_for(num_perm: int, threshold: float) -> tuple[int, int]:
    """(bands, rows), bands × rows ≤ num_perm, that suit a similarity threshold best.

    Least is the area above the curve `share_band` from the threshold to 1 (pairs that are missed) plus the
    area below it from 0 to the threshold (pairs that meet in vain): the rule of datasketch's MinHashLSH with
    equal weights. Of equal ones, the fewest bands.
    """
    below, above = np.linspace(0, threshold, POINTS), np.linspace(threshold, 1, POINTS)

    def error(bands: int, rows: int) -> float:
        in_vain = np.trapezoid(share_band(below, bands, rows), below)
        missed = np.trapezoid(1 - share_band(above, bands, rows), above)
        return float(in_vain + missed)

    choices = [(b, r) for b in range(1, num_perm + 1) for r in range(1, num_perm // b + 1)]
    return min(choices, key=lambda choice: error(*choice))


@intrinsic
def _lower(typing: Any, signature: Any, multiply: Any, at: Any, lows: Any, highs: Any) -> Any:
    """Lowers signature[at:at + LANES] to low × multiply[at:at + LANES] + high, for several lows and highs.

    Written in vectors: with a plain loop, which LLVM vectorises by itself, band keys take 8 % longer. Where
    the processor's vectors are shorter than these, it splits them.
    """

    def generate(context: Any, builder: Any, call: Any, args: Any) -> Any:
        number = ir.IntType(32)
        vector = ir.VectorType(number, LANES)
        undefined = ir.Constant(vector, ir.Undefined)

        def pointer(array: int) -> Any:
            data = context.make_array(call.args[array])(context, builder, args[array]).data
            return builder.bitcast(builder.gep(data, [args[2]]), vector.as_pointer())

        def spread(value: Any) -> Any:
            first = builder.insert_element(undefined, value, ir.Constant(number, 0))
            return builder.shuffle_vector(first, undefined, ir.Constant(vector, [0] * LANES))

        smallest, multipliers = (builder.load(pointer(array), align=4) for array in (0, 1))
        pairs = zip(*(cgutils.unpack_tuple(builder, args[i]) for i in (3, 4)), strict=True)
        for low, high in pairs:
            value = builder.add(builder.mul(multipliers, spread(low)), spread(high))
            smallest = builder.select(builder.icmp_unsigned("<", value, smallest), value, smallest)
        builder.store(smallest, pointer(0), align=4)
        return context.get_dummy_value()

    return types.void(signature, multiply, at, lows, highs), generate


@njit(cache=True, nogil=True)
def _minima(hashes: np.ndarray, count: int, multiply: np.ndarray, signature: np.ndarray) -> None:
    """Writes the smallest value of `count` hashes under each permutation, of which there is a multiple of
    LANES. There must be at least one hash, and room behind the last for three copies of it."""
    halves = hashes.view(np.uint32)
    while count % 4:
        hashes[count] = hashes[count - 1]
        count += 1
    signature[:] = np.uint32(0xFFFFFFFF)
    for i in range(0, 2 * count, 8):
        lows = (halves[i], halves[i + 2], halves[i + 4], halves[i + 6])
        highs = (halves[i + 1], halves[i + 3], halves[i + 5], halves[i + 7])
        for at in range(0, len(signature), LANES):
            _lower(signature, multiply, at, lows, highs)


@njit(cache=True, nogil=True)
def _hash_bands(signature: np.ndarray, keys: np.ndarray) -> None:
    """Writes a hash of each band, which has every len(keys)-th minimum; two of them at a time are 64 bits."""
    bands = len(keys)
    for band in range(bands):
        keys[band] = np.uint64(band + 1)
    for start in range(0, len(signature) - bands, 2 * bands):
        for band in range(bands):
            low, high = np.uint64(signature[start + band]), np.uint64(signature[start + bands + band])
            keys[band] = keys[band] * SHINGLE_PRIME + (low | high << np.uint64(32))
    if len(signature) // bands % 2:
        for band in range(bands):
            keys[band] = keys[band] * SHINGLE_PRIME + np.uint64(signature[len(signature) - bands + band])
    for band in range(bands):
        keys[band] = mix64(keys[band])


@njit(cache=True, nogil=True)
def _band_keys(
    data: np.ndarray, offsets: np.ndarray, multiply: np.ndarray, bands: int, n: int, n_cjk: int
) -> tuple[np.ndarray, np.ndarray]:
    texts = len(offsets) - 1
    keys = np.zeros((texts, bands), np.uint64)
    counts = np.zeros(texts, np.int32)
    memory = working_memory(offsets)
    num_perm = len(multiply)
    multiply = np.concatenate((multiply, np.zeros(-num_perm % LANES, np.uint32)))
    signature = np.empty(len(multiply), np.uint32)
    for text in range(texts):
        counts[text] = shingle_hashes(data, offsets[text], offsets[text + 1], n, n_cjk, memory)
        if counts[text]:
            _minima(memory[0], counts[text], multiply, signature)
            _hash_bands(signature[:num_perm], keys[text])
    return keys, counts
