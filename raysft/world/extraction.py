"""Kinds that ask for one fact of a little text, which stands before or after the question."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from raysft.world.kind import Kind, Slots
from raysft.world.passages import facts, passage, slots_of

LAYOUTS = {
    "en": (
        "[Read this text|Read carefully|Here is a short text|Text|Look at these facts]: {text} QUESTION",
        "{text} [Question|Now tell me|From this text|One question about it]: QUESTION",
        "QUESTION [The text|Here is what we know|Look it up here|Find it here|Information]: {text}",
        "[Use the text to answer|Answer from the text|Find the answer in the text]. QUESTION {text}",
        "{text} QUESTION",
    ),
    "zh": (
        "[阅读短文|读一读|看下面的话|短文|请看材料]：“{text}”QUESTION",
        "{text}[问题|请问|提问|根据上文回答]：QUESTION",
        "QUESTION[短文|材料|请看|根据这段话回答]：{text}",
        "[根据短文回答|请从文中找答案|读短文并作答]。QUESTION{text}",
        "[有这样一段话|书上写着|文中说]：“{text}”[读完请回答|看了这些，请问]：QUESTION",
    ),
}
"""Where the question stands; QUESTION is one of the kind's questions."""


def asked_about(lang: str, questions: tuple[str, ...]) -> tuple[str, ...]:
    """Phrasings: every question in every layout."""
    return tuple(layout.replace("QUESTION", one) for one in questions for layout in LAYOUTS[lang])


@dataclass(frozen=True)
class Question:
    """One fact asked for: `answer` is over the slots `needs`, `keys` tell whose fact it is.

    `told` is the answer as a sentence, over the keys and `answer`.
    """

    name: str
    lang: str
    scene: str
    keys: tuple[str, ...]
    answer: str
    questions: tuple[str, ...]
    told: str

    @property
    def needs(self) -> frozenset[str]:
        return slots_of(self.answer) | frozenset(self.keys)

    def sample(self, rng: Random, level: int) -> Slots:
        """A text of as many sentences as the level, and whose fact is wanted."""
        text, found = passage(self.lang, self.scene, rng, level, self.needs)
        wanted = rng.choice(found)
        return {"text": text, **{key: wanted[key] for key in self.keys}}

    def solve(self, slots: Slots) -> str | None:
        found = facts(self.lang, slots["text"]) or ()
        told = [one for one in found if all(one.get(key) == slots[key] for key in self.keys)]
        answers = {self.answer.format_map(one) for one in told if self.needs <= one.keys()}
        return answers.pop() if len(answers) == 1 else None

    def kind(self) -> Kind:
        phrasings = asked_about(self.lang, self.questions)
        return Kind(
            self.name,
            "extraction",
            self.scene,
            self.lang,
            phrasings,
            self.sample,
            self.solve,
            self.told,
            levels=(1, 2, 3),
        )


_QUESTIONS = (
    Question(
        "who_age",
        "en",
        "people",
        ("name",),
        "{n}",
        ("How old is {name}?", "[Find|Give|Write] the age of {name}.", "How many years has {name} lived?"),
        "{name} is {answer} years old.",
    ),
    Question(
        "who_age",
        "zh",
        "people",
        ("name",),
        "{n}",
        ("{name}几岁？", "写出{name}的年龄。", "{name}今年多大了？"),
        "{name}{answer}岁。",
    ),
    Question(
        "who_city",
        "en",
        "people",
        ("name",),
        "{city}",
        (
            "Where does {name} live?",
            "[Give|Name|Write] the city of {name}.",
            "In which city can we visit {name}?",
        ),
        "{name} lives in {answer}.",
    ),
    Question(
        "who_city",
        "zh",
        "people",
        ("name",),
        "{city}",
        ("{name}住在哪里？", "{name}家在哪个城市？", "写出{name}所在的城市。"),
        "{name}住在{answer}。",
    ),
    Question(
        "who_food",
        "en",
        "people",
        ("name",),
        "{food}",
        (
            "What does {name} like?",
            "[Which|What] food should I cook for {name}?",
            "Name the favourite food of {name}.",
        ),
        "{name} likes {answer}.",
    ),
    Question(
        "who_food",
        "zh",
        "people",
        ("name",),
        "{food}",
        ("{name}爱吃什么？", "写出{name}喜欢的食物。", "该给{name}做什么菜？"),
        "{name}爱吃{answer}。",
    ),
    Question(
        "who_job",
        "en",
        "people",
        ("name",),
        "{job}",
        ("What is the job of {name}?", "What does {name} do for a living?", "Name the work that {name} has."),
        "{name} works as a {answer}.",
    ),
    Question(
        "who_job",
        "zh",
        "people",
        ("name",),
        "{job}",
        ("{name}做什么工作？", "{name}的职业是什么？", "写出{name}的工作。"),
        "{name}的工作是{answer}。",
    ),
    Question(
        "who_pet",
        "en",
        "people",
        ("name",),
        "{pet}",
        (
            "What pet does {name} have?",
            "[Which|What] animal lives with {name}?",
            "Name the animal that {name} keeps.",
        ),
        "{name} has a {answer}.",
    ),
    Question(
        "who_pet",
        "zh",
        "people",
        ("name",),
        "{pet}",
        ("{name}养了什么动物？", "{name}家的宠物是什么？", "写出{name}养的动物。"),
        "{name}养了一只{answer}。",
    ),
    Question(
        "who_bought",
        "en",
        "purchase",
        ("name",),
        "a {colour} {thing}",
        (
            "What did {name} buy?",
            "[Tell me|Say] what {name} took home.",
            "Which thing is now in the bag of {name}?",
        ),
        "{name} bought {answer}.",
    ),
    Question(
        "who_bought",
        "zh",
        "purchase",
        ("name",),
        "{colour}的{thing}",
        ("{name}买了什么？", "{name}带回家的是什么？", "写出{name}买的东西。"),
        "{name}买了{answer}。",
    ),
    Question(
        "bought_colour",
        "en",
        "purchase",
        ("name", "thing"),
        "{colour}",
        (
            "What colour is the {thing} of {name}?",
            "Think of the {thing} that {name} has: [which|what] colour is it?",
            "Give the colour of the {thing} that belongs to {name}.",
        ),
        "The {thing} of {name} is {answer}.",
    ),
    Question(
        "bought_colour",
        "zh",
        "purchase",
        ("name", "thing"),
        "{colour}",
        ("{name}的{thing}是什么颜色？", "{name}买的{thing}是哪种颜色的？", "写出{name}的那个{thing}的颜色。"),
        "{name}的{thing}是{answer}的。",
    ),
    Question(
        "meet_place",
        "en",
        "meeting",
        ("name", "other"),
        "{place}",
        (
            "Where does {name} meet {other}?",
            "At which place will {name} and {other} be together?",
            "Name the meeting place of {name} and {other}.",
        ),
        "{name} and {other} meet at {answer}.",
    ),
    Question(
        "meet_place",
        "zh",
        "meeting",
        ("name", "other"),
        "{place}",
        ("{name}和{other}在哪里见面？", "{name}要去哪儿见{other}？", "写出{name}与{other}见面的地点。"),
        "{name}和{other}在{answer}见面。",
    ),
    Question(
        "meet_hour",
        "en",
        "meeting",
        ("name", "other"),
        "{b} o'clock",
        (
            "When does {name} meet {other}?",
            "At what time will {name} and {other} be together?",
            "Give the hour at which {name} sees {other}.",
        ),
        "{name} and {other} meet at {answer}.",
    ),
    Question(
        "meet_hour",
        "zh",
        "meeting",
        ("name", "other"),
        "{b}点",
        ("{name}和{other}几点见面？", "{name}什么时间见{other}？", "写出{name}与{other}见面的时间。"),
        "{name}和{other}{answer}见面。",
    ),
    Question(
        "shop_hour",
        "en",
        "shop",
        ("shop",),
        "{b} o'clock",
        (
            "When does the {shop} open?",
            "From what time can I go shopping at the {shop}?",
            "Give the opening hour of the {shop}.",
        ),
        "The {shop} opens at {answer}.",
    ),
    Question(
        "shop_hour",
        "zh",
        "shop",
        ("shop",),
        "{b}点",
        ("{shop}几点开门？", "最早几点能去{shop}？", "写出{shop}的开门时间。"),
        "{shop}{answer}开门。",
    ),
    Question(
        "shop_price",
        "en",
        "shop",
        ("shop", "goods"),
        "{c} dollars",
        (
            "How much are the {goods} at the {shop}?",
            "What do I pay for {goods} in the {shop}?",
            "Give the price that the {shop} asks for {goods}.",
        ),
        "The {goods} cost {answer}.",
    ),
    Question(
        "shop_price",
        "zh",
        "shop",
        ("shop", "goods"),
        "{c}元",
        ("{shop}的{goods}多少钱？", "在{shop}买{goods}要付多少钱？", "写出{goods}在{shop}的价格。"),
        "{goods}{answer}。",
    ),
    Question(
        "shop_goods",
        "en",
        "shop",
        ("shop",),
        "{goods}",
        (
            "What does the {shop} sell?",
            "[Which|What] goods are there in the {shop}?",
            "Name the things that I find at the {shop}.",
        ),
        "The {shop} sells {answer}.",
    ),
    Question(
        "shop_goods",
        "zh",
        "shop",
        ("shop",),
        "{goods}",
        ("{shop}卖什么？", "去{shop}能买到什么？", "写出{shop}出售的东西。"),
        "{shop}卖{answer}。",
    ),
    Question(
        "event_day",
        "en",
        "event",
        ("event",),
        "{day}",
        (
            "On which day is the {event}?",
            "Name the day of the {event}.",
            "When, on what weekday, is there a {event}?",
        ),
        "The {event} is on {answer}.",
    ),
    Question(
        "event_day",
        "zh",
        "event",
        ("event",),
        "{day}",
        ("{event}在星期几？", "哪一天有{event}？", "写出{event}的日子。"),
        "{event}在{answer}。",
    ),
    Question(
        "event_place",
        "en",
        "event",
        ("event",),
        "{place}",
        (
            "Where is the {event}?",
            "To which place do people come for the {event}?",
            "Name the place of the {event}.",
        ),
        "The {event} is at {answer}.",
    ),
    Question(
        "event_place",
        "zh",
        "event",
        ("event",),
        "{place}",
        ("{event}在哪里举行？", "想看{event}该去什么地方？", "写出{event}的地点。"),
        "{event}在{answer}举行。",
    ),
)

KINDS = tuple(question.kind() for question in _QUESTIONS)
