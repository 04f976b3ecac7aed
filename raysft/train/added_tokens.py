"""Tokens that a model does not have yet: in its tokenizer, in its embeddings, and what of them is trained.

A new token's rows, in the input embedding and in the output layer, begin as the mean of the rows of all
tokens known before, plus noise: with the mean alone a new token takes little probability from others
(Hewitt 2021, https://nlp.stanford.edu/~johnhew/vocab-expansion.html), and the noise tells the new ones apart.
A named token that the tokenizer has already, such as a reserved one, keeps its rows. Either way its rows are
trained; all other rows are, only where the method trains the whole matrix:

- `full`: rows like all others.
- LoRA and QLoRA: PEFT's `trainable_token_indices`, for the output layer too where it is not tied. vLLM cannot
  load such an adapter, so it is exported with a merged model beside it (token_config.needs_merging).
- `partial` and `freeze`: the new rows are parameters of their own (`AddedRows`), which take the place of the
  matrices' in the forward pass. So frozen rows cannot change, whatever decays weights.

A tokenizer may have fewer tokens than the model has rows; new ones then take rows that nobody used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import torch
from peft import PeftModel
from tokenizers import AddedToken as TokenizerToken
from torch import nn

from raysft.sample import digest64
from raysft.train.config import TrainConfig
from raysft.train.token_config import ADAPTERS, AddedToken, named_tokens

NOISE = 0.1
"""Of the new rows, in standard deviations of the old ones in each direction; docs/new_tokens.md has "
"trials."""
ROWS_AT_ONCE = 16_384
NEW = "is_newly_added"
"""Set on parameters that the model was not loaded with."""
HAVE_ROWS = ("full", *ADAPTERS)
"""Kinds of methods that train rows of the model's own matrices, or have an adapter for them."""
ADDED_ROWS = "added_rows"
"""Name of the module, of a model that is otherwise frozen, that holds the rows of added tokens."""


def extend_tokenizer(tokenizer: Any, tokens: Sequence[str | AddedToken]) -> Any:
    """The tokenizer, which from now on takes each of these tokens as one.

    Raises:
        ValueError: a token is an ordinary piece of the vocabulary, or has another standing already.
    """
    known = tokenizer.added_tokens_decoder
    vocabulary = tokenizer.get_vocab() if tokens else {}
    for added in named_tokens(tokens):
        is_special = not added.in_content
        if added.token in vocabulary:
            there = known.get(vocabulary[added.token])
            if there is None:
                raise ValueError(
                    f"added_tokens: {added.token!r} is an ordinary piece of this tokenizer's vocabulary "
                    f"(id {vocabulary[added.token]}); choose a text that it does not have"
                )
            if there.special and not is_special:
                raise ValueError(
                    f"added_tokens: {added.token!r} is a special token of this tokenizer already, which no "
                    "content may spell out; remove in_content, or choose another text"
                )
            continue
        token = TokenizerToken(added.token, special=is_special, normalized=False)
        tokenizer.add_tokens([token], special_tokens=is_special)
    return tokenizer


def ids_of(tokenizer: Any, tokens: Sequence[str | AddedToken]) -> list[int]:
    """The ids of these tokens in an extended tokenizer, in ascending order."""
    return sorted(tokenizer.convert_tokens_to_ids(added.token) for added in named_tokens(tokens))


def added_in(input_ids: Any, tokenizer: Any, tokens: Sequence[str | AddedToken]) -> pa.Array:
    """list<int32> [rows]: the ids of added tokens in each row of `input_ids`, a column of lists."""
    wanted = pa.array(ids_of(tokenizer, tokens), pa.int32())
    is_added = pc.is_in(pc.list_flatten(input_ids), value_set=wanted)
    rows = pc.list_parent_indices(input_ids).filter(is_added).to_pylist()
    found: list[set[int]] = [set() for _ in range(len(input_ids))]
    for row, id in zip(rows, pc.list_flatten(input_ids).filter(is_added).to_pylist(), strict=True):
        found[row].add(id)
    return pa.array([sorted(ids) for ids in found], pa.list_(pa.int32()))


def check_seen(added: Any, tokenizer: Any, tokens: Sequence[str | AddedToken]) -> None:
    """Every added token stands somewhere in the rows that are trained on; `added` is a column of `added_in`.

    Raises:
        ValueError: names those that do not; nothing could be learnt of them.
    """
    seen = set(pc.unique(pc.list_flatten(added)).to_pylist())
    unseen = [t.token for t in named_tokens(tokens) if tokenizer.convert_tokens_to_ids(t.token) not in seen]
    if unseen:
        raise ValueError(
            f"added_tokens: {', '.join(unseen)} {'stands' if len(unseen) == 1 else 'stand'} in none of "
            f"{len(added):,} training rows, so that nothing would be learnt of it; use the token in the "
            "chat template, set in_content: true if messages spell it out, or remove it"
        )


def extend_model(model: Any, tokenizer: Any, known: Collection[str], config: TrainConfig) -> Any:
    """The model with rows for all tokens of an extended tokenizer, and a note of which to train.

    Args:
        model: pretrained, plain (no adapters yet); quantised layers are left alone.
        known: the tokens that the model knew, which are those of its own tokenizer.
        config: names the tokens; the noise follows from its seed and the token alone.
    """
    if not config.added_tokens:
        return model
    rows_before = model.get_input_embeddings().weight.shape[0]
    known_rows = sorted(i for t, i in tokenizer.get_vocab().items() if t in known and i < rows_before)
    resize(model, len(tokenizer), known_rows, config.pad_vocabulary_to_multiple_of)
    for matrix in _matrices(model):
        mean, deviation = _moments(matrix, known_rows)
        for added in named_tokens(config.added_tokens):
            if added.token not in known:
                generator = torch.Generator().manual_seed(
                    digest64(config.seed, "added token", added.token) >> 1
                )
                noise = torch.randn(len(mean), generator=generator).to(mean) * deviation * NOISE
                _set_row(matrix, tokenizer.convert_tokens_to_ids(added.token), mean + noise)
    _note_rows(model, tokenizer, config)
    return model


def reserve_rows(model: Any, tokenizer: Any, config: TrainConfig) -> None:
    """Give a model without weights (device meta) the rows that `extend_model` would, so that they count."""
    if not config.added_tokens:
        return
    before = model.get_input_embeddings().weight.shape[0]
    rows = _rows(before, len(tokenizer), config.pad_vocabulary_to_multiple_of)
    model.resize_token_embeddings(rows, mean_resizing=False)
    _note_rows(model, tokenizer, config)


def _note_rows(model: Any, tokenizer: Any, config: TrainConfig) -> None:
    """Note which rows are to be trained, as parameters of their own where the method freezes the matrices."""
    model.added_token_ids = ids_of(tokenizer, config.added_tokens)
    if config.method.kind not in HAVE_ROWS:
        hold_new_rows(model)


def _rows(before: int, tokens: int, multiple: int | None) -> int:
    """The rows of embeddings that had `before`, with room for the tokens, in a multiple; never fewer."""
    return -(-max(before, tokens) // (multiple or 1)) * (multiple or 1)


def resize(
    model: Any, tokens: int, known_rows: Sequence[int] | None = None, multiple: int | None = None
) -> None:
    """Make room for `tokens` tokens, in a number of rows that is a multiple; never take a row away.

    New rows, those that no token will use included, are the mean of the known ones (all, if None).
    """
    before = model.get_input_embeddings().weight.shape[0]
    rows = _rows(before, tokens, multiple)
    if rows == before:
        return
    model.resize_token_embeddings(rows, mean_resizing=False)
    known = range(before) if known_rows is None else known_rows
    for matrix in _matrices(model):
        mean, _ = _moments(matrix, known)
        for row in range(before, rows):
            _set_row(matrix, row, mean)
    bias = getattr(model.get_output_embeddings(), "bias", None)
    if bias is not None:
        with torch.no_grad():
            bias[before:] = bias[:before].mean()


def _matrices(model: Any) -> list[torch.Tensor]:
    """The input embedding and, where it is another one, the output layer: [rows, hidden] each."""
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    return list({id(layer.weight): layer.weight for layer in layers if layer is not None}.values())


@torch.no_grad()
def _moments(matrix: torch.Tensor, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation [hidden] of these rows, in float32, some rows at a time."""
    index = torch.tensor(list(rows), device=matrix.device)
    total = torch.zeros(matrix.shape[1], dtype=torch.float64, device=matrix.device)
    squares = torch.zeros_like(total)
    for part in index.split(ROWS_AT_ONCE):
        values = matrix[part].double()
        total += values.sum(0)
        squares += values.square().sum(0)
    mean = total / len(index)
    return mean.float(), (squares / len(index) - mean.square()).clamp(min=0).sqrt().float()


@torch.no_grad()
def _set_row(matrix: torch.Tensor, row: int, values: torch.Tensor) -> None:
    matrix[row] = values.to(matrix.dtype)


def added_ids(model: Any) -> list[int]:
    """The ids of tokens whose rows are to be trained, as `extend_model` noted them; none for other models."""
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    return list(getattr(plain, "added_token_ids", []))


def is_tied(model: Any) -> bool:
    """Whether input embedding and output layer are one matrix."""
    return model.get_input_embeddings().weight is model.get_output_embeddings().weight


def trainable_token_indices(model: Any) -> dict[str, list[int]] | None:
    """PEFT's setting for a model that `extend_model` made: the added tokens by the layer's full name.

    Raises:
        ValueError: the output layer has a bias, which PEFT 0.21 would leave out.
    """
    ids = added_ids(model)
    if not ids:
        return None
    layers = [model.get_input_embeddings()]
    if not is_tied(model):
        layers.append(model.get_output_embeddings())
        if getattr(layers[-1], "bias", None) is not None:
            raise ValueError(
                "added_tokens with an adapter: this model's output layer has a bias, which PEFT leaves out "
                "where it trains tokens; train with method full, or without added_tokens"
            )
    names = {id(module): name for name, module in model.named_modules()}
    return {names[id(layer)]: ids for layer in layers}


class AddedRows(nn.Module):
    """The rows of added tokens, [tokens, hidden] in float32 as parameters `input` and, if it is not tied,
    `output`. While the model lives they take the place of its own rows."""

    def __init__(self, model: Any, ids: Sequence[int]) -> None:
        super().__init__()
        embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
        self.ids = list(ids)
        place = torch.full((embedding.weight.shape[0],), -1)
        place[self.ids] = torch.arange(len(self.ids))
        self.register_buffer("place", place.to(embedding.weight.device), persistent=False)
        self.input = nn.Parameter(embedding.weight.detach()[self.ids].float())
        self.output = None if is_tied(model) else nn.Parameter(head.weight.detach()[self.ids].float())
        embedding.register_forward_hook(self._embed)
        head.register_forward_hook(self._predict)

    def _embed(self, module: nn.Module, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        place = cast(torch.Tensor, self.place)[args[0]]
        rows = nn.functional.embedding(place.clamp(min=0), self.input)
        scale = getattr(module, "embed_scale", None)
        return torch.where(
            (place >= 0).unsqueeze(-1), (rows if scale is None else rows * scale).to(out.dtype), out
        )

    def _predict(self, module: nn.Module, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        rows = self.input if self.output is None else self.output
        bias = getattr(module, "bias", None)
        new = nn.functional.linear(args[0], rows.to(args[0].dtype), None if bias is None else bias[self.ids])
        return out.index_copy_(-1, torch.tensor(self.ids, device=out.device), new.to(out.dtype))


def hold_new_rows(model: Any) -> None:
    """Give a model parameters for the rows of its added tokens, marked as new (`NEW`), so that a method can
    train them and nothing else."""
    rows = AddedRows(model, added_ids(model))
    for parameter in rows.parameters():
        setattr(parameter, NEW, True)
    model.add_module(ADDED_ROWS, rows)


def train_added_rows(model: Any) -> None:
    """Whatever else a method froze, train the rows of added tokens that `hold_new_rows` gave the model."""
    rows = getattr(model, ADDED_ROWS, None)
    if rows is not None:
        rows.requires_grad_(True)


def whole_state(model: Any) -> Mapping[str, torch.Tensor]:
    """The model's state as transformers knows it: with the trained rows where they belong."""
    state = model.state_dict()
    rows: AddedRows | None = getattr(model, ADDED_ROWS, None)
    if rows is None:
        return state
    state = {name: tensor for name, tensor in state.items() if not name.startswith(f"{ADDED_ROWS}.")}
    filled: dict[int, torch.Tensor] = {}
    for layer, values in (
        (model.get_input_embeddings(), rows.input),
        (model.get_output_embeddings(), rows.input if rows.output is None else rows.output),
    ):
        at = layer.weight.data_ptr()
        if at not in filled:
            filled[at] = layer.weight.detach().clone()
            filled[at][rows.ids] = values.detach().to(filled[at].dtype)
    return {name: filled.get(tensor.data_ptr(), tensor) for name, tensor in state.items()}


def rows_of(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """[2, tokens, hidden]: the rows of these tokens in the input embedding and the output layer, as used."""
    index = torch.tensor(list(ids))
    found = []
    added = getattr(model, ADDED_ROWS, None)
    for layer, name in ((model.get_input_embeddings(), "input"), (model.get_output_embeddings(), "output")):
        rows = layer.weight.detach()[index.to(layer.weight.device)].float().clone()
        if added is not None:
            own = added.input if added.output is None or name == "input" else added.output
            place = added.place[index.to(own.device)]
            rows[place >= 0] = own.detach()[place[place >= 0]]
        found.append(rows)
    return torch.stack(found)
