"""Tell from how an answer opens that it declines, in English or Chinese.

An answer is a refusal only if it says sorry, names itself an AI, or declines one of the things that are
asked of an assistant: "I can't believe it" and 不可以，它是… are answers.
"""

from __future__ import annotations

import re

_SORRY = (
    r"(?:(?:i['’]?m|i am) (?:very |so |really |truly )?sorry|sorry|i apologi[sz]e|my apologies|unfortunately)"
    r"(?:,? (?:but|as))?[,.;:!]?\s*"
)
_AS_AI = r"as an? (?:ai|artificial intelligence|(?:large )?language model)\b[^,.\n]{0,40}[,.]?\s*"
_CANNOT = (
    r"(?:i (?:can ?not|can['’]?t|will not|won['’]?t|must decline)|"
    r"(?:i am|i['’]m) (?:unable|not (?:able|capable|programmed|allowed|comfortable|designed))(?: to| of)?|"
    r"i (?:do not|don['’]?t) (?:have|possess)|it (?:is not|would be in|is in|would not be )appropriate)\b"
)
_ASKED = (
    r" (?:help|assist|provide|answer|fulfil|comply|complete|create|generate|write|produce|perform|process|"
    r"access|browse|retrieve|engage|discuss|support|offer|recommend|do that|do this|with|"
    r"(?:the )?(?:ability|access)\b)"
)
_ZH_SORRY = (
    r"(?:我)?(?:(?:非常|很|十分|实在)?(?:抱歉|对不起|遗憾)|不好意思)[,，。！!]?\s*"
    r"(?:但是?|不过|可是|因为)?[,，]?\s*"
)
_ZH_AI = (
    r"作为(?:一[个名位款种])?[^,，。\n]{0,12}(?:人工智能|ai|语言模型|智能助手|机器人)"
    r"[^,，。\n]{0,12}[,，]?\s*"
)
_ZH_CANNOT = (
    r"(?:目前|暂时|现在)?(?:还)?(?:无法|不能|没办法|没有办法|不便|不可以|拒绝|无权|没有(?:能力|权限|个人))"
)
_ZH_ASKED = r"(?:为您|为你|给您|给你|帮|回答|提供|完成|协助|生成|创作|访问|满足|讨论|处理|执行)"
_REFUSAL = re.compile(
    rf"\s*(?:(?:(?:{_SORRY})?{_AS_AI}|{_SORRY}){_CANNOT}|{_CANNOT}{_ASKED}|"
    rf"(?:(?:{_ZH_SORRY})?{_ZH_AI}|{_ZH_SORRY})我?{_ZH_CANNOT}|我{_ZH_CANNOT}{_ZH_ASKED})",
    re.IGNORECASE,
)


def refusal_opening(text: str) -> str | None:
    """The words by which the text opens as a refusal, or None."""
    found = _REFUSAL.match(text)
    return found.group().strip() if found else None
