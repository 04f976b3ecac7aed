import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from raysft.acquire.instructions import FileSource
from raysft.acquire.source import expand, read
from raysft.curate.contamination import CONTAMINATION
from raysft.curate.decontaminate import Config, annotate, embed_items, index, report
from raysft.executor import run_local
from raysft.recipe import RecipeError, parse
from raysft.runtime.plan import cut_steps, make_plan, semantic
from raysft.sample import SCHEMA, samples
from raysft.stage import Context, Fitted, load, unwritten
from tests.fixtures.fake_models import HashEmbedder

STAGE = "curate.decontaminate"
DATA = Path(__file__).parents[2].parent / "shared" / "data"
ENGLISH = (
    "A gardener plants seven rows of tulips with nineteen bulbs in every single row and then gives away "
    "thirty bulbs to her neighbour before counting what is left in the shed"
)  # 31 words
CHINESE = (
    "一位园丁种了七行郁金香每行十九个球茎后来又送给邻居三十个请问仓库里最后还剩下多少个球茎"  # 43 characters
)
SHORT = "Name the longest river that crosses the whole continent"  # 9 words
SHORT_CHINESE = "请说出横穿整个大陆的最长河流"  # 14 characters
REPLY = " ".join(f"step{i}" for i in range(15))
ITEMS = [
    {"question": ENGLISH, "answer": "103"},
    {"question": CHINESE, "answer": "103"},
    {"question": SHORT, "answer": REPLY},
    {"question": SHORT_CHINESE, "answer": "B"},
    {"question": "Yes or no?", "answer": "yes"},
    {"question": "是吗？", "answer": "是"},
]


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def quiz(tmp_path: Path) -> str:
    return write(tmp_path / "quiz.jsonl", ITEMS)


def table_of(*texts: str | tuple[str, ...]) -> pa.Table:
    roles = ("user", "assistant")
    turns = [(text,) if isinstance(text, str) else text for text in texts]
    return samples(
        {
            "id": f"{i:02d}",
            "messages": [{"role": roles[k % 2], "content": t} for k, t in enumerate(own)],
        }
        for i, own in enumerate(turns)
    )


def run(table: pa.Table, quiz: str, **fields: Any) -> list[dict[str, Any]]:
    return run_local(STAGE, table, Config(**{"sets": {"quiz": quiz}} | fields)).to_pylist()


def hits(row: dict[str, Any]) -> list[tuple[int, str, str, float]]:
    return [(h["item"], h["part"], h["kind"], round(h["share"], 6)) for h in row["contamination"]]


def fitted(config: Config) -> Context:
    return Context(STAGE, "f", 0, fitted=index(samples([]), config, Context(STAGE, "f", 0)))


def without(text: str, at: int, instead: str) -> str:
    tokens = text.split() if " " in text else list(text)
    return (" " if " " in text else "").join([*tokens[:at], instead, *tokens[at + 1 :]])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (f"Please: {ENGLISH}. Thanks!", [(0, "question", "ngram", 1.0)]),
        (f"请回答：{CHINESE}？谢谢", [(1, "question", "ngram", 1.0)]),
        (ENGLISH.upper() + " ?", [(0, "question", "ngram", 1.0)]),
        # one word changed: what is left and right of it is covered where it is as long as an n-gram
        (without(ENGLISH, 14, "fourteen"), [(0, "question", "ngram", round(30 / 31, 6))]),
        (without(ENGLISH, 5, "few"), [(0, "question", "ngram", round(25 / 31, 6))]),
        (without(CHINESE, 20, "很"), [(1, "question", "ngram", round(42 / 43, 6))]),
        (without(CHINESE, 8, "很"), [(1, "question", "ngram", round(34 / 43, 6))]),
        (without(without(ENGLISH, 9, "x"), 19, "x"), []),
        (" ".join(ENGLISH.split()[:16]), [(0, "question", "ngram", round(16 / 31, 6))]),
        (" ".join(ENGLISH.split()[:15]), []),
        (f"Well. {SHORT}, please.", [(2, "question", "ngram", 1.0)]),
        (without(SHORT, 4, "which"), []),
        (f"好的。{SHORT_CHINESE}。", [(3, "question", "ngram", 1.0)]),
        (without(SHORT_CHINESE, 4, "跨"), []),
        ("yes or no?", [(4, "question", "exact", 1.0)]),
        ("Tell me: yes or no?", []),
        ("是吗？", [(5, "question", "exact", 1.0)]),
        ("你说是吗？", []),
        (("Go.", f"First {REPLY} done."), [(2, "answer", "ngram", 1.0)]),
        (("What is the answer?", "103"), []),
        (("Is it?", "yes"), []),
        ("", []),
    ],
)
def test_row_is_annotated_with_the_items_that_stand_in_it(quiz: str, row: Any, expected: Any) -> None:
    (got,) = run(table_of(row), quiz)
    assert hits(got) == expected
    assert got["drop_rule"] == ("contaminated" if expected else None)


def test_exact_and_ngram_both_tell_of_a_question_that_is_a_turn(quiz: str) -> None:
    for text in (ENGLISH, CHINESE):
        (got,) = run(table_of(("Well?", f" {text.upper()} ")), quiz)
        assert [kind for _, _, kind, _ in hits(got)] == ["exact", "ngram"]


def test_drop_detail_names_set_item_part_kind_and_share_and_counts_the_rest(quiz: str) -> None:
    both = f"{without(ENGLISH, 5, 'few')} {CHINESE} {SHORT}"
    rows = run(table_of(both, "harmless", without(ENGLISH, 5, "few")), quiz)
    assert [row["drop_detail"] for row in rows] == [
        "quiz item 1, question: ngram 1.00; and 2 more",
        None,
        "quiz item 0, question: ngram 0.81",
    ]
    assert {row["drop_stage"] for row in rows} == {STAGE, None}


def test_drop_false_annotates_alone(quiz: str) -> None:
    (row,) = run(table_of(ENGLISH), quiz, drop=False)
    assert row["drop_rule"] is None
    assert len(row["contamination"]) == 2


def test_on_instruction_looks_at_the_first_user_turn_alone(quiz: str) -> None:
    table = table_of(("Hello.", ENGLISH, "是吗？"), (ENGLISH, "Hello."), ("Yes or no?",))
    found = [[item for item, *_ in hits(row)] for row in run(table, quiz, on="instruction")]
    assert found == [[], [0, 0], [4]]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"match": ["ngram"]}, [["ngram"], [], ["ngram"]]),
        ({"match": ["exact"]}, [["exact"], ["exact"], []]),
        ({"parts": ["question"]}, [["exact", "ngram"], ["exact"], []]),
        ({"parts": ["answer"]}, [[], [], ["ngram"]]),
        ({"min_share": 1.0}, [["exact", "ngram"], ["exact"], ["ngram"]]),
        ({"min_words": 32, "ngram": 32}, [["exact"], ["exact"], []]),
    ],
)
def test_settings_decide_what_is_looked_for(quiz: str, fields: Any, found: Any) -> None:
    table = table_of(ENGLISH, "YES OR NO?", ("Go.", f"{REPLY}!!! and more"))
    assert [[kind for _, _, kind, _ in hits(row)] for row in run(table, quiz, **fields)] == found


def test_shorter_ngrams_find_items_with_several_words_changed(quiz: str) -> None:
    changed = without(without(ENGLISH, 9, "x"), 19, "x")
    (row,) = run(table_of(changed), quiz, ngram=8)
    assert hits(row) == [(0, "question", "ngram", round(29 / 31, 6))]


def test_characters_of_an_ngram_follow_from_its_words_unless_they_are_given(quiz: str) -> None:
    lengths = [Config(sets={"q": quiz}, **f).ngram_lengths for f in ({}, {"ngram": 8}, {"ngram_cjk": 30})]
    assert lengths == [(13, 20), (8, 12), (13, 30)]


def test_hits_of_two_instances_of_an_item_are_one(tmp_path: Path) -> None:
    task = {
        "instruction": ENGLISH,
        "instances": [{"input": "", "output": "1"}, {"input": "x", "output": "2"}],
    }
    (row,) = run(table_of(f"Now {ENGLISH}"), write(tmp_path / "tasks.jsonl", [task]))
    assert hits(row) == [(0, "question", "ngram", 1.0)]


def test_hits_of_several_sets_are_sorted_by_share_and_name_their_set(quiz: str, tmp_path: Path) -> None:
    other = write(tmp_path / "other.jsonl", [f"{ENGLISH} and one more thing", "nothing"])
    (row,) = run(table_of(f"So {ENGLISH} then"), quiz, sets={"other": other, "quiz": quiz})
    assert [(h["set"], h["item"], round(h["share"], 3)) for h in row["contamination"]] == [
        ("quiz", 0, 1.0),
        ("other", 0, round(31 / 35, 3)),
    ]


def test_hits_of_a_row_are_bounded(tmp_path: Path) -> None:
    rows = [f"{ENGLISH} number {i}" for i in range(1_100)]
    (row,) = run(table_of(f"{ENGLISH} number 1050"), write(tmp_path / "many.jsonl", rows), match=["ngram"])
    assert len(row["contamination"]) == 1_000
    assert hits(row)[0] == (1050, "question", "ngram", 1.0)


def test_row_of_a_hundred_thousand_words_is_searched_whole(quiz: str) -> None:
    filler = " ".join(f"word{i % 991}" for i in range(50_000))
    (row,) = run(table_of((filler, f"{filler} {ENGLISH} {filler[:1000]} {CHINESE}")), quiz)
    assert hits(row) == [(0, "question", "ngram", 1.0), (1, "question", "ngram", 1.0)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_rows_do_not_depend_on_how_the_table_is_split(quiz: str, size: int) -> None:
    table = table_of(ENGLISH, ("x", CHINESE), "", "yes or no?", f"{SHORT} {ENGLISH}", "harmless")
    config = Config(sets={"quiz": quiz})
    context = fitted(config)
    split = [annotate(table.slice(i, size), config, context) for i in range(0, 6, size)]
    whole = annotate(table, config, context)
    assert pa.concat_tables(split).combine_chunks().equals(whole.combine_chunks())


def test_empty_table_and_rows_without_text_have_the_column(quiz: str) -> None:
    config = Config(sets={"quiz": quiz})
    empty = run_local(STAGE, samples([]), config)
    assert empty.schema.names == [*SCHEMA.names, "contamination"]
    assert empty.schema.field("contamination").type == CONTAMINATION
    (row,) = run_local(STAGE, samples([{"id": "a", "messages": []}]), config).to_pylist()
    assert row["contamination"] == []


def test_dropped_rows_are_neither_annotated_nor_counted(quiz: str) -> None:
    table = table_of(ENGLISH)
    gone = table.set_column(table.schema.get_field_index("drop_rule"), "drop_rule", pa.array(["refusal"]))
    (row,) = run(gone, quiz)
    assert (row["contamination"], row["drop_rule"]) == (None, "refusal")


def findings(table: pa.Table, config: Config, context: Context) -> Fitted:
    rows = annotate(table, config, context).select(["id", "contamination"])
    return report(rows, config, context)


def test_findings_count_items_and_rows_and_name_the_items(tmp_path: Path) -> None:
    quiz = write(tmp_path / "quiz.jsonl", [*ITEMS, {"question": " ", "answer": "a"}])
    clean = write(tmp_path / "clean.jsonl", ["no such thing as this in any of the rows"])
    config = Config(sets={"quiz": quiz, "clean": clean}, shown=2)
    table = table_of(ENGLISH, f"Again {without(ENGLISH, 5, 'few')}", "是吗？", f"{SHORT} {ENGLISH}", "fine")
    told = findings(table, config, fitted(config)).values
    summary, items = told["findings"]
    assert summary["columns"][:7] == [
        *(
            "set",
            "items",
            "rows not read",
            "too short for n-grams",
            "items that stand in rows",
            "share",
            "rows",
        )
    ]
    assert summary["rows"] == [
        ["quiz", 6, 1, 2, 3, 0.5, 4, 2, 4, 0],
        ["clean", 1, 0, 0, 0, 0.0, 0, 0, 0, 0],
    ]
    assert items["rows"] == [
        ["quiz", 0, ENGLISH[:80], 3, "00", "question", "exact", 1.0],
        ["quiz", 2, SHORT, 1, "03", "question", "ngram", 1.0],
        ["and 1 more", *[None] * 7],
    ]
    assert told["notes"] == ["4 of 5 rows contain 3 of 6 items of quiz"]


def test_findings_without_hits_are_the_summary_alone(quiz: str) -> None:
    config = Config(sets={"quiz": quiz})
    told = findings(table_of("fine"), config, fitted(config)).values
    assert [f["title"] for f in told["findings"]] == ["Evaluation items that stand in rows"]
    assert told["notes"] == ["no row contains an item"]
    assert len(findings(samples([]), config, fitted(config)).values["findings"]) == 1


def embedded_table(*texts: str | tuple[str, ...], on: str = "instruction") -> pa.Table:
    config = load("curate.embed").Config(engine="e", on=on)
    return run_local("curate.embed", table_of(*texts), config, engines={"e": HashEmbedder()})


def test_embedding_finds_what_is_worded_alike_and_states_the_cosine(quiz: str) -> None:
    near = ENGLISH.replace("tulips", "roses").replace("shed", "barn")
    table = embedded_table(near, "harmless words", CHINESE.replace("园丁", "农民"))
    config = Config(
        sets={"quiz": quiz}, match=["embedding"], engine="e", on="instruction", embedding_threshold=0.8
    )
    rows = run_local(STAGE, table, config, engines={"e": HashEmbedder()}).to_pylist()
    found = [[(item, part, kind) for item, part, kind, _ in hits(row)] for row in rows]
    assert found == [[(0, "question", "embedding")], [], [(1, "question", "embedding")]]
    cosine = float(HashEmbedder().embed([ENGLISH])[0] @ HashEmbedder().embed([near])[0])
    assert rows[0]["contamination"][0]["share"] == pytest.approx(cosine, abs=1e-6)
    assert 0.8 < cosine < 1


def test_embedding_of_conversations_compares_question_and_answer(quiz: str) -> None:
    table = embedded_table((SHORT, REPLY), on="conversation")
    config = Config(sets={"quiz": quiz}, match=["embedding", "exact"], engine="e")
    (row,) = run_local(STAGE, table, config, engines={"e": HashEmbedder()}).to_pylist()
    assert sorted(hits(row)) == [
        (2, "answer", "exact", 1.0),
        (2, "both", "embedding", 1.0),
        (2, "question", "exact", 1.0),
    ]


def test_embedding_passes_over_rows_and_items_that_the_embedder_cannot_read(quiz: str) -> None:
    class EnglishEmbedder(HashEmbedder):
        def embed(self, texts):
            return super().embed(texts) * [[float(t.isascii())] for t in texts]

    config = load("curate.embed").Config(engine="e", on="instruction")
    table = run_local("curate.embed", table_of(CHINESE, ENGLISH), config, engines={"e": EnglishEmbedder()})
    assert pc.is_valid(table["embedding"]).to_pylist() == [False, True]
    config = Config(sets={"quiz": quiz}, match=["embedding"], engine="e", on="instruction")
    rows = run_local(STAGE, table, config, engines={"e": EnglishEmbedder()}).to_pylist()
    assert [hits(row) for row in rows] == [[], [(0, "question", "embedding", 1.0)]]


def test_embedding_with_another_embedder_than_the_rows_is_refused(quiz: str) -> None:
    config = Config(sets={"quiz": quiz}, match=["embedding"], engine="other")
    context = Context(STAGE, "f", 0, engine=HashEmbedder(32))
    with pytest.raises(ValueError, match=r"other gives vectors of 32 numbers.*vectors of 64"):
        embed_items(embedded_table("x"), config, context)


def test_embedding_column_is_needed_only_where_it_is_compared(quiz: str) -> None:
    assert unwritten(STAGE, Config(sets={"q": quiz}), ()) == []
    config = Config(sets={"q": quiz}, match=["embedding"], engine="e")
    assert unwritten(STAGE, config, ()) == ["embedding"]


def test_stage_is_cut_into_a_pass_that_annotates_and_one_that_drops() -> None:
    assert cut_steps(load(STAGE).STEPS) == [((0, 1), (2,)), ((3,), (4,))]


def recipe_tree(tmp_path: Path, sets: Any, **fields: Any) -> dict[str, Any]:
    source = write(tmp_path / "rows.jsonl", [{"instruction": "a", "output": "b"}])
    return {"run": "x", "sources": [{"path": source}], "stages": [{STAGE: {"sets": sets} | fields}]}


def test_content_of_a_set_enters_the_fingerprint_and_its_place_does_not(quiz: str, tmp_path: Path) -> None:
    moved = write(tmp_path / "moved.jsonl", ITEMS)
    changed = write(tmp_path / "changed.jsonl", ITEMS[:2])
    seen = [
        make_plan(parse(recipe_tree(tmp_path, {"quiz": path}))).passes[0].fingerprint
        for path in (quiz, moved, changed)
    ]
    assert seen[0] == seen[1] != seen[2]
    config = Config(sets={"quiz": quiz})
    assert "sets" not in semantic(config)
    assert len(json.dumps(config.model_dump(mode="json"))) < 1_000


def test_kept_recipe_is_held_to_the_content_it_was_run_with(quiz: str, tmp_path: Path) -> None:
    resolved = dict(parse(recipe_tree(tmp_path, {"quiz": quiz})).resolved)
    assert parse(resolved).stages[0].config == Config(sets={"quiz": quiz})
    write(Path(quiz), ITEMS[:3])
    with pytest.raises(RecipeError, match=r"contents.*quiz: the set's content is .* it has changed"):
        parse(resolved)


def test_set_that_changes_after_the_recipe_was_read_ends_the_stage(quiz: str) -> None:
    config = Config(sets={"quiz": quiz})
    write(Path(quiz), ITEMS[:3])
    with pytest.raises(ValueError, match=r"sets\.quiz: .* has changed since the recipe was read"):
        run_local(STAGE, table_of("x"), config)


def test_mistakes_in_sets_are_told_together_with_the_recipe(quiz: str, tmp_path: Path) -> None:
    empty = write(tmp_path / "empty.jsonl", [])
    odd = write(tmp_path / "odd.jsonl", [{"stem": "a", "key": "b"}])
    sets = {
        "missing": str(tmp_path / "none.jsonl"),
        "empty": empty,
        "odd": {"path": odd},
        "typo": {"pat": quiz},
    }
    with pytest.raises(RecipeError) as error:
        parse(recipe_tree(tmp_path, sets))
    told = "\n".join(error.value.problems)
    for name, problem in (
        ("missing", "no file matches"),
        ("empty", "has no item"),
        ("odd", "no known format has the keys"),
        ("typo.pat", "unknown key"),
    ):
        assert f"sets.{name}: " in told
        assert problem in told


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sets": {}}, "sets"),
        ({"contents": {"other": "x"}}, "there is no such set; sets has: quiz"),
        ({"match": []}, "match"),
        ({"match": ["embedding"]}, "belong together"),
        ({"engine": "e"}, "belong together"),
        ({"min_share": 0}, "min_share"),
        ({"ngram": 0}, "ngram"),
        ({"min_words": 0}, "min_words"),
    ],
)
def test_config_that_cannot_be_is_refused_with_the_field(quiz: str, fields: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**{"sets": {"quiz": quiz}} | fields)


def gsm8k(name: str) -> pa.Table:
    path = DATA / f"gsm8k_{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not beside the checkout")
    source = FileSource(path=str(path))
    return read(source, expand(source)[0]).table


def test_gsm8k_training_set_holds_a_test_question_with_other_numbers() -> None:
    train = gsm8k("train")
    got = run_local(
        STAGE, train, Config(sets={"gsm8k": str(DATA / "gsm8k_test.jsonl.gz")}, parts=["question"])
    )
    details = got["drop_detail"].drop_null().to_pylist()
    assert details == ["gsm8k item 602, question: ngram 0.76"] * 2


def test_gsm8k_test_questions_with_a_word_changed_are_found_in_the_training_set() -> None:
    train, test = gsm8k("train").slice(0, 500), gsm8k("test").slice(0, 100)
    planted = [m[0]["content"].split() for m in test["messages"].to_pylist()]
    for words in planted:
        words[len(words) // 2] = "something"
    rows = table_of(*(("Solve this. " + " ".join(words), "It is 5.") for words in planted))
    config = Config(sets={"gsm8k": str(DATA / "gsm8k_test.jsonl.gz")})
    got = run_local(STAGE, pa.concat_tables([rows, train]), config).to_pylist()
    found = [row["contamination"][0]["item"] if row["contamination"] else None for row in got]
    # the middle word of a question of fewer than 27 leaves no 13 words on a side
    long = [i for i, words in enumerate(planted) if len(words) >= 28]
    assert [found[i] for i in long] == long
    assert len(long) > 80
    assert set(found[100:]) == {None}
