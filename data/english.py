"""English forms: plurals, articles, verbs and the auxiliaries of each tense.

Persons are numbered as in `french`: 0 I, 1 he/she, 2 we, 3 you, 4 they.
"""

from __future__ import annotations

from dataclasses import dataclass

IRREGULAR_PLURALS = {
    "man": "men",
    "woman": "women",
    "child": "children",
    "foot": "feet",
    "tooth": "teeth",
    "mouse": "mice",
    "sheep": "sheep",
    "fish": "fish",
    "knife": "knives",
    "leaf": "leaves",
    "wolf": "wolves",
    "wife": "wives",
    "shelf": "shelves",
    "thief": "thieves",
    "scarf": "scarves",
    "policeman": "policemen",
    "fireman": "firemen",
    "postman": "postmen",
    "fisherman": "fishermen",
    "loaf": "loaves",
    "hero": "heroes",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "passer-by": "passers-by",
    "stomach": "stomachs",
}


def plural(noun: str) -> str:
    """Gives the plural of a noun; only the last word of a compound changes."""
    lead, _, last = noun.rpartition(" ")
    if last in IRREGULAR_PLURALS:
        last = IRREGULAR_PLURALS[last]
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{lead} {last}" if lead else last


# "a" before a vowel letter that sounds as a consonant, "an" before a mute h.
SOUNDS_CONSONANT = ("useful", "useless", "uniform", "university", "European", "unique", "one")
SOUNDS_VOWEL = ("honest", "hour", "8", "11", "18")


def with_article(phrase: str) -> str:
    """Gives the phrase after "a" or "an"."""
    vowel = phrase[0].lower() in "aeiou" and not phrase.startswith(SOUNDS_CONSONANT)
    return ("an " if vowel or phrase.startswith(SOUNDS_VOWEL) else "a ") + phrase


# base: (past, participle)
IRREGULAR = {
    "be": ("was", "been"),
    "have": ("had", "had"),
    "do": ("did", "done"),
    "go": ("went", "gone"),
    "come": ("came", "come"),
    "become": ("became", "become"),
    "get": ("got", "got"),
    "see": ("saw", "seen"),
    "know": ("knew", "known"),
    "meet": ("met", "met"),
    "hear": ("heard", "heard"),
    "find": ("found", "found"),
    "forgive": ("forgave", "forgiven"),
    "give": ("gave", "given"),
    "send": ("sent", "sent"),
    "show": ("showed", "shown"),
    "lend": ("lent", "lent"),
    "sell": ("sold", "sold"),
    "bring": ("brought", "brought"),
    "tell": ("told", "told"),
    "say": ("said", "said"),
    "write": ("wrote", "written"),
    "read": ("read", "read"),
    "sleep": ("slept", "slept"),
    "sing": ("sang", "sung"),
    "run": ("ran", "run"),
    "swim": ("swam", "swum"),
    "speak": ("spoke", "spoken"),
    "win": ("won", "won"),
    "lose": ("lost", "lost"),
    "leave": ("left", "left"),
    "fall": ("fell", "fallen"),
    "eat": ("ate", "eaten"),
    "drink": ("drank", "drunk"),
    "buy": ("bought", "bought"),
    "make": ("made", "made"),
    "cut": ("cut", "cut"),
    "break": ("broke", "broken"),
    "take": ("took", "taken"),
    "put": ("put", "put"),
    "wear": ("wore", "worn"),
    "throw": ("threw", "thrown"),
    "keep": ("kept", "kept"),
    "hide": ("hid", "hidden"),
    "choose": ("chose", "chosen"),
    "build": ("built", "built"),
    "draw": ("drew", "drawn"),
    "drive": ("drove", "driven"),
    "steal": ("stole", "stolen"),
    "pay": ("paid", "paid"),
    "forget": ("forgot", "forgotten"),
    "begin": ("began", "begun"),
    "feed": ("fed", "fed"),
    "catch": ("caught", "caught"),
    "understand": ("understood", "understood"),
    "teach": ("taught", "taught"),
    "think": ("thought", "thought"),
    "wake": ("woke", "woken"),
    "sit": ("sat", "sat"),
    "stand": ("stood", "stood"),
    "feel": ("felt", "felt"),
    "spend": ("spent", "spent"),
}

# Verbs of one stressed syllable, or stressed on the last, that double their consonant.
DOUBLING = (
    "stop",
    "cut",
    "put",
    "run",
    "swim",
    "win",
    "get",
    "forget",
    "begin",
    "sit",
    "plan",
    "travel",
    "cancel",
    "chat",
    "shop",
    "hug",
    "prefer",
)


@dataclass(frozen=True)
class Verb:
    """An English verb: its head, which is inflected, and the particle or complement that follows it."""

    base: str
    particle: str = ""

    def third(self) -> str:
        """Gives the present of "he"."""
        if self.base in ("be", "have"):
            return {"be": "is", "have": "has"}[self.base]
        if self.base.endswith(("s", "x", "ch", "sh", "o")):
            return self.base + "es"
        if self.base.endswith("y") and self.base[-2] not in "aeiou":
            return self.base[:-1] + "ies"
        return self.base + "s"

    def past(self) -> str:
        """Gives the simple past."""
        return IRREGULAR[self.base][0] if self.base in IRREGULAR else self._regular_past()

    def participle(self) -> str:
        """Gives the past participle."""
        return IRREGULAR[self.base][1] if self.base in IRREGULAR else self._regular_past()

    def ing(self) -> str:
        """Gives the present participle."""
        if self.base in DOUBLING:
            return self.base + self.base[-1] + "ing"
        if self.base in ("lie", "die"):
            return self.base[:-2] + "ying"
        if self.base.endswith("e") and not self.base.endswith("ee") and self.base != "be":
            return self.base[:-1] + "ing"
        return self.base + "ing"

    def _regular_past(self) -> str:
        if self.base.endswith("e"):
            return self.base + "d"
        if self.base.endswith("y") and self.base[-2] not in "aeiou":
            return self.base[:-1] + "ied"
        if self.base in DOUBLING:
            return self.base + self.base[-1] + "ed"
        return self.base + "ed"


def to_be(person: int, past: bool = False) -> str:
    """Gives the form of "be" for a person."""
    return ("was", "was", "were", "were", "were")[person] if past else ("am", "is", "are", "are", "are")[person]


def split_verb(verb: Verb, person: int, tense: str, support: bool) -> tuple[str, str]:
    """Gives the auxiliary and the rest of the verb, without its particle.

    With `support`, the simple tenses take "do", as questions and negations need; otherwise their auxiliary is empty.
    """
    he = person == 1
    if tense in ("present", "past") and verb.base == "be":
        return to_be(person, tense == "past"), ""
    if tense == "present":
        return ("does" if he else "do", verb.base) if support else ("", verb.third() if he else verb.base)
    if tense == "past":
        return ("did", verb.base) if support else ("", verb.past())
    if tense == "progressive":
        return to_be(person), verb.ing()
    if tense == "past_progressive":
        return to_be(person, past=True), verb.ing()
    if tense == "used_to":
        return ("did", "use to " + verb.base) if support else ("", "used to " + verb.base)
    if tense == "perfect":
        return ("has" if he else "have"), verb.participle()
    if tense == "pluperfect":
        return "had", verb.participle()
    if tense == "going_to":
        return to_be(person), "going to " + verb.base
    modal = {"future": "will", "conditional": "would"}.get(tense)
    if modal:
        return modal, verb.base
    if tense == "past_conditional":
        return "would", "have " + verb.participle()
    raise ValueError(f"no English tense called {tense!r}")


def predicate(verb: Verb, person: int, tense: str, negation: str = "", adverb: str = "") -> str:
    """Gives the verb with its auxiliaries and particle; `negation` is not, never, no longer or "not yet"."""
    auxiliary, rest = split_verb(verb, person, tense, support=negation == "not")
    words = [auxiliary, negation, adverb, rest, verb.particle]
    return " ".join(word for word in words if word)


def question(verb: Verb, person: int, tense: str, subject: str) -> str:
    """Gives the verb around its subject, as a question orders them."""
    auxiliary, rest = split_verb(verb, person, tense, support=True)
    return " ".join(word for word in (auxiliary, subject, rest, verb.particle) if word)
