"""Which language a text is in, told by its script and its commonest words: enough for texts of a sentence or more."""

from __future__ import annotations

import re

# Unicode ranges of the letters; languages that share a script are told apart by letters or words of their own.
_SCRIPTS = {
    "latin": "a-zA-Z\u00c0-\u024f\u1e00-\u1eff", "cyrillic": "\u0400-\u04ff", "greek": "\u0370-\u03ff",
    "arabic": "\u0600-\u06ff\u0750-\u077f", "hebrew": "\u0590-\u05ff", "devanagari": "\u0900-\u097f",
    "bengali": "\u0980-\u09ff", "gurmukhi": "\u0a00-\u0a7f", "gujarati": "\u0a80-\u0aff", "tamil": "\u0b80-\u0bff",
    "telugu": "\u0c00-\u0c7f", "kannada": "\u0c80-\u0cff", "malayalam": "\u0d00-\u0d7f", "thai": "\u0e00-\u0e7f",
    "hangul": "\uac00-\ud7af", "kana": "\u3040-\u30ff", "han": "\u4e00-\u9fff",
}  # fmt: skip
_LETTERS = {name: re.compile(f"[{letters}]") for name, letters in _SCRIPTS.items()}
_SCRIPT_OF = {
    **dict.fromkeys("en de fr es it pt nl fi sv da no pl tr vi sw id".split(), "latin"),
    **dict.fromkeys("ru bg uk".split(), "cyrillic"), **dict.fromkeys("ar fa ur".split(), "arabic"),
    **dict.fromkeys("hi mr ne".split(), "devanagari"), "el": "greek", "he": "hebrew", "bn": "bengali",
    "pa": "gurmukhi", "gu": "gujarati", "ta": "tamil", "te": "telugu", "kn": "kannada", "ml": "malayalam",
    "th": "thai", "ko": "hangul", "ja": "kana", "zh": "han", "zh-cn": "han",
}  # fmt: skip
# Words that hardly a sentence of the language does without, and hardly one of its neighbours has.
_WORDS = {
    "en": "the and of to is in that it for with you are was this be on not have",
    "de": "der die und das ist nicht ein eine zu mit auf für den ich sie dem von sich",
    "fr": "le les et des est une que dans pour pas qui sur avec vous ce il au je",
    "es": "el los las que y en un una por con para es del no se su como más",
    "it": "il che di è un una per non con sono della gli le nel più anche questo",
    "pt": "o os que e do da em um uma não para com por mais dos das você é",
    "nl": "de het een en van is dat niet op te zijn voor met die ook aan",
    "fi": "ja on ei se että hän oli ovat mutta kun myös joka tämä olla voi",
    "sv": "och att det som en är på för av med inte den till har om", "tr": "ve bir bu için ile da de çok olarak daha",
    "vi": "là và của có không được cho một những các trong này với người",
    "sw": "na ya wa kwa ni katika la za kuwa hii yake watu cha",
    "id": "dan yang di untuk dengan ini itu dari tidak pada", "pl": "i w na nie się z do jest że to jak po",
    "da": "og at det er en til på af som ikke de med", "no": "og å det er en",
    "ru": "и в не на что с как это по из", "bg": "и на да е се за от не са ще", "uk": "і та в не на що з як це до",
    "ar": "في من على إلى أن هذا التي مع ما", "fa": "و در به از که این را است با", "ur": "کے میں کی اور سے ہے کا کو نے",
    "hi": "के है में की और से का को पर हैं", "mr": "आहे आणि या च्या मध्ये होते ते हे", "ne": "छ र को मा हो छन् गर्न भएको",
}  # fmt: skip
_TOKENS = re.compile(r"[^\W\d_]+(?:[\u0900-\u0dff]+[^\W\d_]*)*")
ENOUGH = 3  # words of a language in a text before it is taken to be in it


def speaks(text: str, language: str) -> bool | None:
    """Whether a text is in a language (ISO 639-1). None where neither its script nor its words can tell."""
    counts = {name: len(letters.findall(text)) for name, letters in _LETTERS.items()}
    script = _SCRIPT_OF.get(language)
    if script is None or not any(counts.values()):
        return None
    main = max(counts, key=lambda name: counts[name])
    if script == "kana" or (script == "han" and counts["kana"]):
        return counts["kana"] > 0 if script == "kana" and main in ("kana", "han") else False
    if main != script:
        return False
    rivals = [other for other, theirs in _SCRIPT_OF.items() if theirs == script and other in _WORDS]
    if len(rivals) < 2:
        return True
    words = [word.lower() for word in _TOKENS.findall(text)]
    scores = {rival: sum(word in known for word in words) for rival in rivals for known in [set(_WORDS[rival].split())]}
    best = max(scores.values())
    if best < ENOUGH:
        return None
    return scores.get(language, 0) == best
