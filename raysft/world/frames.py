"""What people write around a task without changing it: greetings, thanks, a word of explanation."""

from __future__ import annotations

from random import Random

from raysft.world.kind import TASK_SLOT, fill, read

PLAIN_SHARE = 0.7
"""Instructions without a frame."""
FRAMES = {
    "en": (
        "[Please answer|Please solve|Answer|Solve] this [question|task|exercise]: {task}",
        "[Here is|This is] a [small|quick|short] [question|task] for you: {task}",
        "[Can|Could] you help me with this [one|question|task]? {task}",
        "I [need help with|am stuck on|cannot solve] this: {task}",
        "My [teacher|friend|sister|brother] [asks|wants to know] this: {task}",
        "{task} [Thank you.|Thanks.|Thanks a lot.]",
        "{task} [Please be brief.|Keep it short.|A short answer is enough.]",
    ),
    "zh": (
        "请[回答|解答|完成]下面[的问题|的任务|这道题]：{task}",
        "[这里有|给你]一个[小|简单的|短]问题：{task}",
        "[请|能|可以]帮我[看一下|做一下]这道题吗？{task}",
        "我[不会做|做不出|卡在]这道题：{task}",
        "[老师|朋友|姐姐|弟弟][问我|想知道]：{task}",
        "{task}[谢谢。|多谢。|谢谢你。]",
        "{task}[请简短回答。|回答要简短。|简单回答就行。]",
    ),
}


def framed(instruction: str, lang: str, rng: Random) -> str:
    """The instruction, in a frame or as it is."""
    if rng.random() < PLAIN_SHARE:
        return instruction
    return fill(rng.choice(FRAMES[lang]), {TASK_SLOT: instruction}, rng)


def unframed(instruction: str, lang: str) -> str | None:
    """What stands in the instruction's frame, or None where it has none."""
    for frame in FRAMES[lang]:
        slots = read(frame, instruction)
        if slots is not None:
            return slots[TASK_SLOT]
    return None
